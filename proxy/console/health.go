package console

import (
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/shared"
)

// health is how something around the guard does.
type health struct {
	Name, State, Text string // the state is good, bad, or off where there is none
}

// health tells how what is around the guard does, by its metrics.
func (c *Console) health(s *snapshot) []health {
	m := s.counts
	out := []health{c.upstream(s), statsd(m)}
	if m.has("pushguard_events_up") {
		out = append(out, events(m))
	}
	if m.has("pushguard_shared_up") {
		out = append(out, fleet(m))
	}
	if m.has("pushguard_state_written") {
		out = append(out, stateDir(m))
	}
	if m.has("pushguard_spool_written") {
		h := health{"Spool", "good", plural(m.sum("pushguard_spool_groups", nil), "group waits", "groups wait") + " for the Pushgateway"}
		if !m.every("pushguard_spool_written") {
			h.State, h.Text = "bad", h.Text+"; the disk takes no more"
		}
		out = append(out, h)
	}
	return append(out, append(memory(m), written(m)...)...)
}

func stateDir(m counts) health {
	h := health{"State", "good", "what changes is written to the state directory"}
	if !m.every("pushguard_state_written") {
		h.State, h.Text = "bad", "the disk takes nothing: changes are in memory alone"
	}
	if n := m.sum("pushguard_state_damages", nil); n > 0 {
		h.State, h.Text = "bad", h.Text+"; "+plural(n, "part", "parts")+" of it could not be read at the start"
	}
	return h
}

// memory tells of the memory that the process may take, once it was short.
func memory(m counts) []health {
	shed := m.sum("pushguard_shed_total", func(m *dto.Metric) bool { return label(m, "reason") == "memory" })
	so := ""
	if shed > 0 {
		so = "; " + plural(shed, "push was", "pushes were") + " answered 503 for it"
	}
	switch level := m.sum("pushguard_memory_pressure", nil); {
	case level >= 2:
		return []health{{"Memory", "bad", "full: no push is taken until there is room" + so}}
	case level >= 1:
		return []health{{"Memory", "bad", "nearly full: no new series are taken" + so}}
	case shed > 0:
		return []health{{"Memory", "good", "there is room again" + so}}
	}
	return nil
}

// written tells of the files that pushes are written down in, once one of them lost some.
func written(m counts) []health {
	var out []health
	for _, f := range []struct{ name, lost, written, what string }{
		{"Audit log", "pushguard_audit_lost_total", "pushguard_audit_written", " records could not be written"},
		{"Recorded pushes", "pushguard_record_lost_total", "pushguard_record_written", " could not be written"},
	} {
		if lost := m.sum(f.lost, nil); lost > 0 && m.every(f.written) {
			out = append(out, health{f.name, "good", "is written again; " + number(lost) + f.what})
		} else if lost > 0 {
			out = append(out, health{f.name, "bad", number(lost) + f.what})
		}
	}
	return out
}

// fleet tells whether the Redis answers in which guards share what they know, and
// whether they understand one another.
func fleet(m counts) health {
	if alone := m.sum("pushguard_shared_alone", nil) > 0; alone || m.sum("pushguard_shared_up", nil) == 0 {
		return health{"Fleet", "bad", shared.Outage(alone)}
	}
	h := health{"Fleet", "good", plural(m.sum("pushguard_shared_guards", nil), "guard by itself", "guards share what they know")}
	if n := m.sum("pushguard_shared_versions", nil); n > 1 {
		h.Text += ", and are of " + number(n) + " versions"
	}
	unread := func(reason string) float64 {
		return m.sum("pushguard_shared_unreadable_total", func(m *dto.Metric) bool { return label(m, "reason") == reason })
	}
	if n := unread("damaged"); n > 0 {
		h.Text += "; passed over " + plural(n, "batch", "batches") + " that the Redis had otherwise than a guard wrote them"
	}
	if n := unread("unknown"); n > 0 {
		h.State, h.Text = "bad", h.Text+"; "+plural(n, "command", "commands")+" that no guard could read, and that none carried out"
	}
	return h
}

func events(m counts) health {
	h := health{"Event log", "good", plural(m.sum("pushguard_events_queued", nil), "record waits", "records wait")}
	if !m.every("pushguard_events_up") {
		h.State = "bad"
	}
	if !m.every("pushguard_events_spool_written") {
		h.State, h.Text = "bad", h.Text+", new ones in memory alone: the disk takes nothing"
	}
	if lost := m.sum("pushguard_events_dropped_total", nil); lost > 0 {
		h.State, h.Text = "bad", h.Text+", "+number(lost)+" dropped"
	}
	return h
}

// upstream is how the Pushgateway behind answers, of late and within the hour.
func (c *Console) upstream(s *snapshot) health {
	if c.cfg.Behind == "" {
		return health{"Pushgateway", "off", "embedded: the guard keeps the snapshots itself"}
	}
	hour, lately := c.history.lastAnswers(s)
	h := health{"Pushgateway", "good", plural(hour.all, "request", "requests") + " within the hour"}
	switch {
	case hour.all == 0:
		h.Text = "no request within the hour"
	case lately.bad > 0:
		h.State, h.Text = "bad", number(lately.bad)+" of the last "+plural(lately.all, "request", "requests")+" without an answer or failed"
	case hour.bad > 0:
		h.Text += ", " + number(hour.bad) + " of them without an answer or failed, none of late"
	default:
		h.Text += ", none failed"
	}
	if away := leftAlone(s.counts); len(away) > 0 {
		h.State, h.Text = "bad", strings.Join(away, " and ")+" does not answer, and is left alone for a while; "+h.Text
	}
	return h
}

// leftAlone are the Pushgateways to which nothing is sent for now; the only one there is
// goes without its name.
func leftAlone(m counts) (out []string) {
	all := m.families["pushguard_upstream_breaker_open"].GetMetric()
	for _, one := range all {
		switch {
		case one.GetGauge().GetValue() == 0:
		case len(all) == 1:
			out = append(out, "it")
		default:
			out = append(out, label(one, "upstream"))
		}
	}
	return out
}

func statsd(m counts) health {
	if !m.has("pushguard_statsd_up") {
		return health{"StatsD", "off", "no StatsD server: the guard keeps the totals itself"}
	}
	h := health{"StatsD", "good", plural(m.sum("pushguard_statsd_lines_total", nil), "line sent", "lines sent")}
	if m.sum("pushguard_statsd_up", nil) == 0 {
		h.State, h.Text = "bad", "it takes nothing: increments of "+number(m.sum("pushguard_statsd_pending_series", nil))+" series wait"
	}
	if dropped := m.sum("pushguard_statsd_dropped_total", nil); dropped > 0 {
		h.Text += ", " + plural(dropped, "increment not taken", "increments not taken")
	}
	return h
}
