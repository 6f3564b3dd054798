package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/pushguard/pushguard/policy"
)

// onePolicy is the answer of /policy.
type onePolicy struct {
	// Files are those the policy in force was read from, in order, Digest tells
	// their bytes, and Loaded is when they were read.
	Files   []string  `json:"files"`
	Digest  string    `json:"digest"`
	Loaded  time.Time `json:"loaded"`
	Entries int       `json:"entries"`
	// LastReload is how the last reading went, the first of the process included.
	LastReload reloadView `json:"last_reload"`
}

type reloadView struct {
	Time       time.Time `json:"time"`
	Successful bool      `json:"successful"`
	// Before is the digest of the policy that was in force before a reload that
	// succeeded, and Changes say in words what it changed.
	Before  string   `json:"before,omitempty"`
	Changes []string `json:"changes"`
	// Faults are those for which the policy before stays in force, or Error is why
	// nothing could be read.
	Faults []faultView `json:"faults,omitempty"`
	Error  string      `json:"error,omitempty"`
}

type faultView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// servePolicy answers /policy.
func (g *Guard) servePolicy(w http.ResponseWriter, _ *http.Request) {
	e := g.epoch.Load()
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: onePolicy{
		Files: e.policy.Files(), Digest: e.policy.Digest(), Loaded: e.loaded.UTC(), Entries: len(e.policy.Entries()),
		LastReload: g.reading.Load().view(),
	}})
}

func (r *reading) view() reloadView {
	v := reloadView{Time: r.at.UTC(), Successful: r.err == nil, Before: r.before, Changes: r.changes}
	if v.Changes == nil {
		v.Changes = []string{}
	}
	var faults policy.Faults
	if !errors.As(r.err, &faults) && r.err != nil {
		v.Error = r.err.Error()
	}
	for _, f := range faults[:min(len(faults), apiShown)] {
		v.Faults = append(v.Faults, faultView{f.File, f.Line, f.Column, f.Msg})
	}
	return v
}

// PolicyBesides returns the names of the files of users of the policy in force.
func (g *Guard) PolicyBesides() []string { return g.epoch.Load().policy.Besides() }
