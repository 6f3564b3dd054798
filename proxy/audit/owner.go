package audit

import "time"

// OwnerOutlook is what enforcement would make of all jobs of one owner in report.
type OwnerOutlook struct {
	// Owner is who answers for the jobs; empty are those that nobody does.
	Owner string `json:"owner"`
	// Jobs is how many there are, SafeJobs how many of them are safe to enforce.
	Jobs     int `json:"jobs"`
	SafeJobs int `json:"safe_jobs"`
	// Since is when the first push came, Until when the last record did. The rest are
	// the sums of the jobs': see Forecast.
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Pushes   int       `json:"pushes"`
	Passed   int       `json:"passed"`
	Changed  int       `json:"changed"`
	Refused  int       `json:"refused"`
	Series   int       `json:"series"`
	Enforced int       `json:"series_enforced"`
}

// ByOwner adds up the jobs of each owner. It takes them as Outlooks.All returns them,
// by owner, and keeps that order.
func ByOwner(jobs []Outlook) []OwnerOutlook {
	var out []OwnerOutlook
	for i := range jobs {
		if n := len(out); n == 0 || out[n-1].Owner != jobs[i].Owner {
			out = append(out, OwnerOutlook{Owner: jobs[i].Owner, Since: jobs[i].Since, Until: jobs[i].Until})
		}
		out[len(out)-1].add(&jobs[i])
	}
	return out
}

func (o *OwnerOutlook) add(job *Outlook) {
	o.Jobs++
	if job.Safe {
		o.SafeJobs++
	}
	if job.Since.Before(o.Since) {
		o.Since = job.Since
	}
	if job.Until.After(o.Until) {
		o.Until = job.Until
	}
	o.Pushes += job.Pushes
	o.Passed += job.Passed
	o.Changed += job.Changed
	o.Refused += job.Refused
	o.Series += job.Series
	o.Enforced += job.Enforced
}
