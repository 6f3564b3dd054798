package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/pushguard/pushguard/policy/credential"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// Outcome is what became of a push. The zero value is none.
type Outcome uint8

// The outcomes.
const (
	Passed  Outcome = iota + 1 // forwarded as it came
	Changed                    // forwarded with other labels
	Refused                    // by the guard; nothing was sent
	Skipped                    // a DELETE of a group that another run has pushed to since
	Failed                     // the upstream refused it, or did not answer
	Removed                    // the guard deleted the group by itself
)

// String is the outcome's word in metrics and records.
func (o Outcome) String() string {
	switch o {
	case Passed:
		return "passed"
	case Changed:
		return "changed"
	case Refused:
		return "refused"
	case Skipped:
		return "skipped"
	case Failed:
		return "failed"
	case Removed:
		return "removed"
	default:
		return "unknown"
	}
}

// Answer is what a client is told.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	outcome Outcome // 0 if it follows from the passage and the status
	counted bool    // what the push counts depends on whether the client gets it
}

var (
	// errPolicy says that the findings of the passage refuse the push.
	errPolicy = errors.New("refused by the policy")
	// errUpstream says that the upstream could not be asked about its groups.
	errUpstream = errors.New("the Pushgateway behind does not answer")
	// errNotCounted says that the client hung up before what it counted was added
	// up. One that has only closed its own half of the connection is told so.
	errNotCounted = errors.New("the connection was closed before the answer, so that what the push counts was not added up: push it again")
	// errNoListing says that it has not answered that yet.
	errNoListing = fmt.Errorf("%w: it has not said yet which groups it holds: %w", errUpstream, gateway.ErrTimeout)
	// errUntold says so of one of several, which did not answer when the others did.
	errUntold = fmt.Errorf("%w: the one of this job has not said yet which groups it holds", errUpstream)
)

// bodyError says that a body could not be read: it was cut short, or the client is too
// slow.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// outcome is what became of the push with this answer.
func (v *passage) outcome(a Answer) Outcome {
	if a.outcome != 0 {
		return a.outcome
	}
	return v.carriedOut(a)
}

// carriedOut is the outcome of a push that was sent.
func (v *passage) carriedOut(a Answer) Outcome {
	switch {
	case a.Status < 200 || a.Status >= 300:
		return Failed
	case v.enforced():
		return v.said()
	case v.safety != nil:
		return Changed
	default:
		return Passed
	}
}

func passOn(a gateway.Answer) Answer {
	return Answer{Status: a.Status, Header: a.Header, Body: a.Body}
}

// lessFix mends a push over one of the Caps.
const lessFix = "push less, or have the guard's --limits raised"

// refusal is the one place where an error becomes a status. What a client did is
// 4xx and never 429 or 503, which make clients send the same again.
func (g *Guard) refusal(v *passage, err error) Answer {
	var (
		bad      *wire.Error
		limit    *wire.LimitError
		tooLarge *wire.TooLargeError
		twin     *ledger.TwinError
	)
	if shed := isShed(err); shed != nil {
		return g.tooMuch(v, shed)
	}
	switch {
	case errors.Is(err, errPolicy):
		return v.policyRefusal()
	case errors.Is(err, errForbidden), errors.Is(err, credential.ErrNone), errors.Is(err, credential.ErrWrong), errors.Is(err, credential.ErrBusy):
		return v.strange(err)
	case errors.As(err, &bad):
		return v.protocolRefusal(http.StatusBadRequest, bad.Reason, bad.Fix)
	case errors.Is(err, wire.ErrNotGroup):
		return Answer{Status: http.StatusNotFound, Header: textHeader(), Body: []byte("404 page not found\n"), outcome: Refused}
	case errors.As(err, &limit):
		return v.protocolRefusal(http.StatusRequestEntityTooLarge, limit.Error(), lessFix)
	case errors.As(err, &tooLarge):
		return v.protocolRefusal(http.StatusRequestEntityTooLarge, tooLarge.Error(), lessFix)
	case errors.As(err, &twin):
		return v.protocolRefusal(http.StatusBadRequest, twin.Error(),
			"an empty label is no label to Prometheus, and two such groups break every scrape: leave the label out of the path, or DELETE the other group")
	default:
		return g.fault(v, err)
	}
}

// fault answers what is nobody's push's doing. What has no name is answered 502: a push
// that is told to be wrong is not sent again.
func (g *Guard) fault(v *passage, err error) Answer {
	status, log := http.StatusBadGateway, &g.warn.unreachable
	switch {
	case errors.Is(err, shared.ErrAway), errors.Is(err, ledger.ErrBusy), errors.Is(err, errNotCounted), errors.Is(err, errNoListing), errors.Is(err, errUntold):
		status, log = http.StatusServiceUnavailable, &g.warn.refusing
	case errors.Is(err, gateway.ErrTimeout):
		status, log = http.StatusGatewayTimeout, &g.warn.timeout
	case errors.Is(err, gateway.ErrUnreachable), errors.Is(err, gateway.ErrBroken),
		errors.Is(err, gateway.ErrRedirect), errors.Is(err, errUpstream):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		status, log = http.StatusServiceUnavailable, &g.warn.refusing
	case errors.As(err, new(bodyError)):
		return v.protocolRefusal(http.StatusBadRequest, "read body: "+readFault(err), "send the whole body, as long as announced")
	}
	a := textAnswer(status, "pushguard: "+err.Error())
	a.outcome = Failed
	if status == http.StatusServiceUnavailable {
		a.Header.Set("Retry-After", "1")
	}
	if v.foresees() {
		return a
	}
	log.Log(g.logger, "A push was not forwarded", "job", v.raw.Job(), "status", status, "err", err)
	return a
}

// warnOf has the log have an answer that no Pushgateway gives to a push: it is about all of
// them, such as a password that is another by now, or of somebody in between.
func (g *Guard) warnOf(v *passage, a gateway.Answer) {
	if a.Status/100 == 2 || a.Status == http.StatusBadRequest {
		return
	}
	g.warn.strange.Log(g.logger, "The Pushgateway did not take a push", "job", v.raw.Job(), "status", a.Status, "answer", string(a.Body[:min(len(a.Body), 200)]))
}

func readFault(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF.Error()
	}
	return err.Error()
}

// protocolRefusal answers a push that no policy can permit. Its first line is
// the reason, in the Pushgateway's own words where it has some.
func (v *passage) protocolRefusal(status int, reason, fix string) Answer {
	v.findings.Add(finding.Finding{ID: finding.Protocol, Sample: finding.Redact(reason), Count: 1, Fix: fix})
	text := reason
	if fix != "" {
		text += "\n" + fix
	}
	a := textAnswer(status, text)
	a.outcome = Refused
	return a
}

// policyRefusal says each finding that refuses on a line of its own, for a job's author.
func (v *passage) policyRefusal() Answer {
	if v.entry.AcceptRefused {
		return Answer{Status: http.StatusOK, outcome: Refused}
	}
	status := http.StatusUnprocessableEntity
	var lines []string
	for _, f := range v.refusals.All() {
		switch f.ID {
		case finding.BodySizeLimit:
			status = http.StatusRequestEntityTooLarge
		case finding.PushesPerMinute:
			status = http.StatusTooManyRequests
		}
		line := f.String()
		if v.entry.Owner != "" {
			line += " (owner: " + v.entry.Owner + ")"
		}
		lines = append(lines, line)
	}
	if n := v.refusals.More(); n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", n))
	}
	a := textAnswer(status, strings.Join(lines, "\n"))
	if wantsProblem(v.request.Header) {
		a = v.problem(status)
	}
	if status == http.StatusTooManyRequests {
		a.Header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(v.retryAfter.Seconds())))))
	}
	a.outcome = Refused
	return a
}

// problem is the refusal by RFC 9457.
func (v *passage) problem(status int) Answer {
	body, err := json.Marshal(map[string]any{
		"type":     "about:blank",
		"title":    "push refused by policy",
		"status":   status,
		"job":      v.raw.Job(),
		"owner":    v.entry.Owner,
		"findings": v.refusals.All(),
	})
	if err != nil {
		return textAnswer(http.StatusInternalServerError, err.Error())
	}
	h := textHeader()
	h.Set("Content-Type", "application/problem+json")
	return Answer{Status: status, Header: h, Body: append(body, '\n')}
}

func wantsProblem(h http.Header) bool {
	for _, accept := range h.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil && t == "application/problem+json" {
				return true
			}
		}
	}
	return false
}

func textHeader() http.Header {
	return http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}
}

func textAnswer(status int, text string) Answer {
	return Answer{Status: status, Header: textHeader(), Body: []byte(text + "\n")}
}
