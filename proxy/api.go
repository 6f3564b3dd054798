package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
)

const (
	apiPath = "/guard/api/v1"
	// apiShown is how many rows an answer has unless ?limit= says otherwise, and
	// apiMost the most it has.
	apiShown = 100
	apiMost  = 10_000
	// labelsShown is how many labels a job's answer names.
	labelsShown = 50
)

// apiAnswer is the envelope of every answer, as Prometheus' API has it.
type apiAnswer struct {
	Status string `json:"status"` // success or error
	Data   any    `json:"data,omitempty"`
	Error  string `json:"error,omitempty"`
}

// JobsView is the answer of /jobs.
type JobsView struct {
	// Series and Groups are what the Pushgateway behind holds, SeriesLimit and
	// GroupsLimit what it may; 0 is no limit. Lent is how many of the series are
	// beyond what their entries are guaranteed.
	Series      int `json:"series"`
	SeriesLimit int `json:"series_limit,omitempty"`
	Groups      int `json:"groups"`
	GroupsLimit int `json:"groups_limit,omitempty"`
	Lent        int `json:"lent"`
	// Jobs are those that hold most, most first.
	Jobs []JobView `json:"jobs"`
}

// JobView is what one job holds and may hold.
type JobView struct {
	Job   string `json:"job"`            // as the policy sees it
	Entry string `json:"entry"`          // that governs it: its pattern, or default
	File  string `json:"file,omitempty"` // that the entry stands in
	Line  int    `json:"line,omitempty"` // of the entry in it
	Owner string `json:"owner,omitempty"`
	Mode  string `json:"mode"`

	Held    int `json:"held"`              // series
	Granted int `json:"granted,omitempty"` // series it may hold; absent if nothing limits it
	Over    int `json:"over,omitempty"`    // series beyond what it may hold, from before
	// Shadow is what it would hold under enforcement, ShadowGroups in how many groups; of
	// jobs in report alone.
	Shadow       *int `json:"shadow,omitempty"`
	ShadowGroups *int `json:"shadow_groups,omitempty"`
	// Forecast is what enforcement would have made of its pushes since the policy is
	// in force; of jobs in report alone.
	Forecast *OutlookView `json:"forecast,omitempty"`

	// Groups are how many it has, GroupsGranted how many it may; absent if nothing limits
	// them.
	Groups        int `json:"groups"`
	GroupsGranted int `json:"groups_granted,omitempty"`

	// NewThisHour and NewThisDay are series that came new within the last hour and 24
	// hours, with what it may bring; absent if nothing limits that.
	NewThisHour        int `json:"new_this_hour"`
	NewThisHourGranted int `json:"new_this_hour_granted,omitempty"`
	NewThisDay         int `json:"new_this_day"`
	NewThisDayGranted  int `json:"new_this_day_granted,omitempty"`

	// OldestPush is when the group that was not pushed to for longest was, LastPush
	// when the one that was pushed to last was.
	OldestPush *time.Time `json:"oldest_push,omitempty"`
	LastPush   *time.Time `json:"last_push,omitempty"`
}

// JobDetail is the answer of /jobs/{job}.
type JobDetail struct {
	JobView
	// StaleAfter is how long a group lives without a push; absent for ever.
	StaleAfter string `json:"stale_after,omitempty"`
	// Labels are those with the most values, most first, as they were pushed.
	Labels []LabelView `json:"labels"`
	// GroupList are its groups, that pushed longest ago first.
	GroupList []GroupView `json:"group_list"`
}

// LabelView is how many values a job pushed of a label; without a job, all of them.
type LabelView struct {
	Label string `json:"label"`
	Job   string `json:"job,omitempty"`
	// Distinct estimates how many values were pushed in the last day, before any
	// rule.
	Distinct int `json:"distinct"`
	// Shapes are what kinds of values they are, most first; of one job's labels alone.
	Shapes []ShapeView `json:"shapes,omitempty"`
	// Fix is what bounds a label whose values have no bound by their shape; of one
	// job's labels alone.
	Fix *LabelFix `json:"fix,omitempty"`
}

// GroupView is what one group of a job holds.
type GroupView struct {
	Group  map[string]string `json:"group"`
	Series int               `json:"series"`
	Pushed *time.Time        `json:"pushed,omitempty"`
	Pinned bool              `json:"pinned,omitempty"` // neither swept nor evicted
	Over   bool              `json:"over,omitempty"`   // beyond the budget, from before
}

// serveJobs answers /jobs.
func (g *Guard) serveJobs(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: g.Jobs(limit(r))})
}

// Jobs tells what all jobs hold, and of the n that hold most what each does.
func (g *Guard) Jobs(n int) JobsView {
	e, now := g.epoch.Load(), g.cfg.Now()
	t := g.book.Totals()
	guard := ledger.Budget{GuardSeries: e.policy.SeriesBudget()}
	g.capped(&guard)
	out := JobsView{
		Series: t.Series, SeriesLimit: guard.GuardSeries, Groups: t.Groups, GroupsLimit: e.policy.GroupsBudget(),
		Lent: t.Lent, Jobs: []JobView{},
	}
	for _, j := range g.book.Jobs(n) {
		out.Jobs = append(out.Jobs, g.view(e, j, now))
	}
	return out
}

// serveJob answers /jobs/{job}.
func (g *Guard) serveJob(w http.ResponseWriter, r *http.Request) {
	out, known := g.Job(strings.TrimPrefix(r.URL.Path, apiPath+"/jobs/"), 0, limit(r))
	if !known {
		writeJSON(w, http.StatusNotFound, apiAnswer{Status: "error", Error: "no job of that name holds anything; names are those after folding"})
		return
	}
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: out})
}

// Job tells what is known of a job, and whether anything is, with its labels and n of its
// groups, the oldest first, without those up to from. With n = 0 it tells of neither. Of
// one that is not known it tells what the policy would grant.
func (g *Guard) Job(name string, from, n int) (JobDetail, bool) {
	e, now := g.epoch.Load(), g.cfg.Now()
	report, known := g.book.JobFrom(name, from, n)
	shadow, forecast := g.shadow.Job(name, 0)
	labels := g.demand.Job(name, labelsShown)
	if !known {
		report.JobUse = ledger.JobUse{Job: name, NewThisHour: shadow.NewThisHour, NewThisDay: shadow.NewThisDay}
	}
	out := JobDetail{JobView: g.view(e, report.JobUse, now), Labels: []LabelView{}, GroupList: []GroupView{}}
	if d := e.policy.Entry(name).StaleAfter; d > 0 {
		out.StaleAfter = d.String()
	}
	for _, l := range labels[:min(n, len(labels))] {
		out.Labels = append(out.Labels, g.labelView(name, l))
	}
	for _, group := range report.Oldest {
		out.GroupList = append(out.GroupList, GroupView{
			Group: keyMap(group.Key), Series: group.Series, Pushed: when(group.Pushed), Pinned: group.Pinned, Over: group.Over,
		})
	}
	return out, known || forecast || len(labels) > 0
}

// serveLabels answers /labels: which labels have most values, of all jobs together.
func (g *Guard) serveLabels(w http.ResponseWriter, r *http.Request) {
	out := []LabelView{}
	for _, l := range g.demand.Labels(limit(r)) {
		out = append(out, LabelView{Label: l.Label, Distinct: int(l.Values)})
	}
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: out})
}

// serveLabel answers /labels/{label}: which jobs push how many values of it.
func (g *Guard) serveLabel(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, apiPath+"/labels/")
	out := []LabelView{}
	for _, j := range g.demand.Label(name, limit(r)) {
		out = append(out, LabelView{Label: name, Job: j.Job, Distinct: int(j.Values)})
	}
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: out})
}

func (g *Guard) view(e *epoch, j ledger.JobUse, now time.Time) JobView {
	entry := e.policy.Entry(j.Job)
	b, _ := entry.Budget(now)
	v := JobView{
		Job: j.Job, Entry: entry.Name, File: entry.File, Line: entry.Line, Owner: entry.Owner, Mode: string(entry.Mode),
		Held: j.Series, Granted: b.Series, Over: j.Over,
		Groups: j.Groups, GroupsGranted: b.Groups,
		NewThisHour: j.NewThisHour, NewThisHourGranted: b.NewSeriesPerHour,
		NewThisDay: j.NewThisDay, NewThisDayGranted: b.NewSeriesPerDay,
		OldestPush: when(j.OldestPush), LastPush: when(j.LastPush),
	}
	if entry.Mode == policy.Report {
		shadow, _ := g.shadow.Job(j.Job, 0)
		v.Shadow, v.ShadowGroups = &shadow.Series, &shadow.Groups
		v.Forecast = g.outlook(j.Job, j.Series, shadow.Series)
	}
	return v
}

// when leaves out a time that is not known.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// limit is how many rows the request asks for.
func limit(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || n <= 0 {
		return apiShown
	}
	return min(n, apiMost)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A reader that is gone needs no more of it.
	_, _ = w.Write(append(body, '\n'))
}
