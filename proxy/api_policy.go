package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/pushguard/pushguard/policy"
)

// PolicyView is the answer of /policy.
type PolicyView struct {
	// Files are those the policy in force was read from, in order, Digest tells
	// their bytes, and Loaded is when they were read.
	Files   []string  `json:"files"`
	Digest  string    `json:"digest"`
	Loaded  time.Time `json:"loaded"`
	Entries int       `json:"entries"`
	// LastReload is how the last reading went, the first of the process included.
	LastReload ReloadView `json:"last_reload"`
}

// ReloadView is how the last reading of a policy went.
type ReloadView struct {
	Time       time.Time `json:"time"`
	Successful bool      `json:"successful"`
	// Before is the digest of the policy that was in force before a reload that
	// succeeded, and Changes say in words what it changed.
	Before  string   `json:"before,omitempty"`
	Changes []string `json:"changes"`
	// Faults are those for which the policy before stays in force, or Error is why
	// nothing could be read.
	Faults []FaultView `json:"faults,omitempty"`
	Error  string      `json:"error,omitempty"`
}

// FaultView is a fault of a policy that was not put in force.
type FaultView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	// Text is the line that was refused, without secrets.
	Text string `json:"text,omitempty"`
}

// servePolicy answers /policy.
func (g *Guard) servePolicy(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: g.Policy()})
}

// Policy tells which policy is in force, and how the last reading went.
func (g *Guard) Policy() PolicyView {
	e := g.epoch.Load()
	return PolicyView{
		Files: e.policy.Files(), Digest: e.policy.Digest(), Loaded: e.loaded.UTC(), Entries: len(e.policy.Entries()),
		LastReload: g.reading.Load().view(),
	}
}

func (r *reading) view() ReloadView {
	v := ReloadView{Time: r.at.UTC(), Successful: r.err == nil, Before: r.before, Changes: r.changes}
	if v.Changes == nil {
		v.Changes = []string{}
	}
	var faults policy.Faults
	if !errors.As(r.err, &faults) && r.err != nil {
		v.Error = r.err.Error()
	}
	for _, f := range faults[:min(len(faults), apiShown)] {
		v.Faults = append(v.Faults, FaultView{f.File, f.Line, f.Column, f.Msg, f.Text})
	}
	return v
}

// PolicyTexts returns the files of the policy in force, without the secrets in them.
func (g *Guard) PolicyTexts() []policy.Text { return g.epoch.Load().policy.Texts() }

// PolicyPlace returns the line of the policy in force that stands behind a finding of a
// job, by the finding's id; zero if there is none.
func (g *Guard) PolicyPlace(job, id string) policy.Place {
	return g.epoch.Load().policy.Entry(job).PlaceOf(id, g.cfg.Now())
}

// PolicyBesides returns the names of the files of users of the policy in force.
func (g *Guard) PolicyBesides() []string { return g.epoch.Load().policy.Besides() }
