package trial

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// Recorder is an upstream that keeps what it is sent and answers as an empty
// Pushgateway does. Not safe for concurrent use.
type Recorder struct {
	// Sent are the writes, with bodies of their own.
	Sent []gateway.Request
}

var _ proxy.Upstream = (*Recorder)(nil)

// Do keeps a write. Its answer is a Pushgateway's, a refusal but for the wording
// of the reason.
func (u *Recorder) Do(_ context.Context, r gateway.Request) (gateway.Answer, error) {
	r.Body, r.Header = bytes.Clone(r.Body), r.Header.Clone()
	u.Sent = append(u.Sent, r)
	return gateway.Foresee(r), nil
}

// Started does not say.
func (u *Recorder) Started(context.Context) (time.Time, error) { return time.Time{}, nil }

// Groups finds none: the Pushgateway is empty.
func (u *Recorder) Groups(context.Context, uint64) ([]gateway.Group, error) { return nil, nil }

// Forward refuses: there is nothing behind to wipe or to stop.
func (u *Recorder) Forward(context.Context, string, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{}, errors.New("a trial has no gateway behind it")
}

// Proxy knows no page.
func (u *Recorder) Proxy() http.Handler { return http.NotFoundHandler() }
