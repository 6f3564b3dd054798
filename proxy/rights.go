package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/policy/credential"
	"github.com/pushguard/pushguard/rules/finding"
)

// errForbidden says that a user is known and has not the right.
var errForbidden = errors.New("the user has not the right")

// identify says whose credentials a header has. Those that the policy knows are the
// guard's own affair: the header that goes on is without them.
func (g *Guard) identify(ctx context.Context, a *policy.Auth, h http.Header) (user string, rest http.Header, err error) {
	if a.Users.Len() == 0 && !a.PushRequired {
		return "", h, credential.ErrNone
	}
	user, err = g.checker.Who(ctx, &a.Users, h)
	if err != nil {
		return "", h, err
	}
	rest = h.Clone()
	rest.Del("Authorization")
	return user, rest, nil
}

// authorize finds out who pushes, and whether they may as this job. A DELETE is a
// push of nothing.
func (g *Guard) authorize(ctx context.Context, v *passage, e *epoch) error {
	if g.cfg.AnyUser {
		return nil
	}
	auth := e.policy.Auth()
	if v.foresees() {
		return v.foreseeUser(auth)
	}
	user, rest, err := g.identify(ctx, auth, v.request.Header)
	v.user, v.request.Header = user, rest
	switch {
	case !auth.PushRequired:
		return nil
	case err != nil:
		return err
	case !v.entry.MayPush(user):
		return errForbidden
	}
	return nil
}

// foreseeUser lets through who is not named.
func (v *passage) foreseeUser(auth *policy.Auth) error {
	v.user = v.foresight.as
	if v.user != "" && auth.PushRequired && !v.entry.MayPush(v.user) {
		return errForbidden
	}
	return nil
}

// right is what an endpoint takes.
type right uint8

const (
	noRight right = iota // open to all
	readRight
	adminRight
)

// permit has next serve those who have the right.
func (g *Guard) permit(needed right, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth := g.epoch.Load().policy.Auth()
		user, rest, err := g.identify(r.Context(), auth, r.Header)
		has := policy.Right{}
		switch needed {
		case readRight:
			has = auth.Read
		case adminRight:
			has = auth.Admin
		}
		switch {
		case needed == noRight, has.Anyone(), g.cfg.AnyUser:
		case err != nil:
			_ = respond(w, unauthenticated(err))
			return
		case !has.Has(user):
			_ = respond(w, textAnswer(http.StatusForbidden, fmt.Sprintf("pushguard: user %q may not do this", user)))
			return
		}
		if err == nil {
			inner := *r
			inner.Header = rest
			r = &inner
		}
		next.ServeHTTP(w, r)
	})
}

// unauthenticated answers who is not known: 401 with the ways to say who one is, the
// one that every client knows first; or 503 to come again.
func unauthenticated(err error) Answer {
	if errors.Is(err, credential.ErrBusy) {
		a := textAnswer(http.StatusServiceUnavailable, "pushguard: "+err.Error())
		a.Header.Set("Retry-After", "1")
		return a
	}
	a := textAnswer(http.StatusUnauthorized, "pushguard: "+err.Error())
	a.Header["Www-Authenticate"] = []string{`Basic realm="pushguard", charset="UTF-8"`, `Bearer realm="pushguard"`}
	return a
}

// strange answers a push by somebody who is not known, or not for this job.
func (v *passage) strange(err error) Answer {
	v.turnedAway = true
	f := finding.Finding{ID: finding.Unauthenticated, Count: 1, Fix: "push with the user name and password, or the token, of the job's team"}
	a := unauthenticated(err)
	if errors.Is(err, errForbidden) {
		f.ID, f.Fix = finding.NotPermitted, "push as a user whom the policy's entry of the job names in push"
		a = textAnswer(http.StatusForbidden, fmt.Sprintf("pushguard: user %q may not push as job %q%s", v.user, v.raw.Job(), v.ownedBy()))
	}
	v.findings.Add(f)
	a.outcome = Refused
	return a
}

func (v *passage) ownedBy() string {
	if v.entry.Owner == "" {
		return ""
	}
	return " (owner: " + v.entry.Owner + ")"
}
