package audit

import (
	"maps"
	"slices"
	"time"
)

const (
	// OutcomeForecast is the outcome of a record that has a Forecast and is of no push.
	OutcomeForecast = "forecast"
	// maxNames bounds the ids and the labels that a forecast names.
	maxNames = 50
)

// Forecast is what enforcement would have made of the pushes of a job in report that
// came in a while: of all of them, those that would pass among them. The zero value is
// of no push. It is not safe for concurrent use.
type Forecast struct {
	// Since is when the first of them came.
	Since time.Time `json:"since"`
	// Pushes is how many there were; each would have passed, been changed or refused.
	Pushes  int `json:"pushes"`
	Passed  int `json:"passed"`
	Changed int `json:"changed"`
	Refused int `json:"refused"`
	// Findings is in how many of them something was found, by the finding's id, and
	// Labels those that a rule would take away or rewrite; at most 50 of each.
	Findings map[string]int `json:"findings,omitempty"`
	Labels   []string       `json:"labels,omitempty"`
	// Series is how many the job holds, Enforced how many it would under enforcement.
	Series   int `json:"series"`
	Enforced int `json:"series_enforced"`
}

// Found counts a finding, and notes the label that it takes away; empty is none.
func (f *Forecast) Found(id string, n int, label string) {
	if f.Findings == nil {
		f.Findings = map[string]int{}
	}
	if _, known := f.Findings[id]; known || len(f.Findings) < maxNames {
		f.Findings[id] += n
	}
	if label == "" {
		return
	}
	if i, known := slices.BinarySearch(f.Labels, label); !known && len(f.Labels) < maxNames {
		f.Labels = slices.Insert(f.Labels, i, label)
	}
}

// Add adds what came later. The series are the later's.
func (f *Forecast) Add(later Forecast) {
	if f.Pushes == 0 {
		f.Since = later.Since
	}
	f.Pushes += later.Pushes
	f.Passed += later.Passed
	f.Changed += later.Changed
	f.Refused += later.Refused
	for id, n := range later.Findings {
		f.Found(id, n, "")
	}
	for _, label := range later.Labels {
		if i, known := slices.BinarySearch(f.Labels, label); !known && len(f.Labels) < maxNames {
			f.Labels = slices.Insert(f.Labels, i, label)
		}
	}
	f.Series, f.Enforced = later.Series, later.Enforced
}

// Clone returns a copy that shares nothing.
func (f *Forecast) Clone() Forecast {
	out := *f
	out.Findings, out.Labels = maps.Clone(f.Findings), slices.Clone(f.Labels)
	return out
}

// Safe reports whether the job could be enforced without anybody's noticing: there
// were pushes, and every one would have passed unchanged.
func (f *Forecast) Safe() bool { return f.Pushes > 0 && f.Passed == f.Pushes }
