package rules

import (
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// classify returns the class of a lone family and what siblings may change.
func (c *Classes) classify(f Family) Classified {
	for i := range c.rules {
		if c.rules[i].matches(f) {
			return c.decided(i, f.Type)
		}
	}
	return c.meant(builtIn(f))
}

// meant is what the table found under the semantics that the policy wants.
func (c *Classes) meant(found Classified) Classified {
	if found.Class != ClassCounter {
		return found
	}
	switch c.semantics {
	case Cumulative, Delta:
		found.Semantics = c.semantics
	case Latest:
		found.Class, found.Semantics, found.Reason = ClassSnapshot, "", "semantics: latest"
	}
	return found
}

// decided is what the i-th rule makes of a family.
func (c *Classes) decided(i int, t dto.MetricType) Classified {
	r := &c.rules[i]
	found := Classified{Class: r.As, Reason: "the policy says so", Rule: i + 1, depends: startsWithCreated(t)}
	if r.As != ClassCounter {
		return found
	}
	found.Semantics = firstOf(r.Semantics, c.semantics, Auto)
	if found.Semantics == Latest {
		found.Class, found.Semantics = ClassSnapshot, ""
	}
	return found
}

// firstOf returns the first that is said.
func firstOf(words ...Semantics) Semantics {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// startsWithCreated is the kinship of a type that clients write a _created for.
func startsWithCreated(t dto.MetricType) kinship {
	switch t {
	case dto.MetricType_COUNTER:
		return beginning | totalling
	case dto.MetricType_HISTOGRAM, dto.MetricType_SUMMARY:
		return beginning
	}
	return 0
}

// builtIn is the table that holds where no rule of the policy does. A declared
// type wins over a name, but for what runtimes say of themselves.
func builtIn(f Family) Classified {
	switch {
	case f.Name == "process_start_time_seconds" && (f.Type == dto.MetricType_GAUGE || f.Type == dto.MetricType_UNTYPED):
		return Classified{Class: ClassEvidence, Reason: "tells one process from another"}
	case isNoise(f.Name):
		return Classified{Class: ClassNoise, Reason: "a runtime's own", depends: startsWithCreated(f.Type)}
	}
	switch f.Type {
	case dto.MetricType_COUNTER:
		return declared(f.Type, "declared a counter")
	case dto.MetricType_HISTOGRAM:
		return declared(f.Type, "declared a histogram")
	case dto.MetricType_SUMMARY:
		return declared(f.Type, "declared a summary: its count and sum add up, its quantiles do not")
	case dto.MetricType_GAUGE:
		return gauge(f.Name)
	case dto.MetricType_UNTYPED:
		return untyped(f.Name)
	}
	return Classified{Class: ClassSnapshot, Reason: "of a type that does not add up"}
}

func declared(t dto.MetricType, reason string) Classified {
	return Classified{Class: ClassCounter, Semantics: Auto, Reason: reason, depends: startsWithCreated(t)}
}

func gauge(name string) Classified {
	found := Classified{Class: ClassSnapshot, Reason: "declared a gauge"}
	switch {
	case strings.HasSuffix(name, total):
		found.Lint = GaugeNamedTotal
	case strings.HasSuffix(name, created):
		found.depends = createdOf
	}
	return found
}

// untyped is a family without a declared type: what its name suggests.
func untyped(name string) Classified {
	found := Classified{Class: ClassSnapshot, Reason: "untyped, and not named as a counter"}
	switch {
	case strings.HasSuffix(name, total):
		return Classified{Class: ClassCounter, Semantics: Auto, Reason: "untyped, named as a total"}
	case countsEvents(name):
		found = Classified{Class: ClassCounter, Semantics: Delta, Reason: "untyped, named as a count of events"}
	case strings.HasSuffix(name, created): // of OpenMetrics, which gives it no type of its own
		found.depends = createdOf
	}
	if suffix := unitSuffix(name); suffix != "" {
		found.depends = partOfUnit
		if suffix == bucket {
			found.depends |= bucketOfOne
		}
	}
	return found
}

// isNoise reports whether a runtime or Prometheus' own machinery says this of
// itself.
func isNoise(name string) bool {
	switch name {
	case "", "up", "push_time_seconds", "push_failure_time_seconds":
		return name != ""
	}
	switch name[0] { // most names are none of these at their first letter
	case 'g':
		return strings.HasPrefix(name, "go_")
	case 'j':
		return strings.HasPrefix(name, "jvm_")
	case 'p':
		return strings.HasPrefix(name, "python_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_")
	case 's':
		return strings.HasPrefix(name, "scrape_")
	}
	return false
}

// countsEvents reports whether the name is that of a count of what happened, such
// as failure_count. A count of what there is, row_count say, is none.
func countsEvents(name string) bool {
	what, ok := strings.CutSuffix(name, "_count")
	if !ok {
		return false
	}
	switch what[strings.LastIndexByte(what, '_')+1:] {
	case "failure", "failures", "error", "errors", "exception", "exceptions", "retry", "retries",
		"timeout", "timeouts", "success", "successes", "reject", "rejects", "drop", "drops",
		"start", "starts", "completion", "completions":
		return true
	}
	return false
}

const (
	created = "_created"
	bucket  = "_bucket"
	total   = "_total"
)

// unitSuffix returns what makes the name a part of a histogram; empty if nothing
// does.
func unitSuffix(name string) string {
	for _, suffix := range [...]string{bucket, "_sum", "_count"} {
		if len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return suffix
		}
	}
	return ""
}
