package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// status is what an upstream says of itself, as far as the guard asks.
type status struct {
	Flags     map[string]string `json:"flags"`
	StartTime string            `json:"start_time"`
}

// UTF8Names reports whether the upstream runs with --push.enable-utf8-names. One
// that does not know the flag does not.
func (u *Upstream) UTF8Names(ctx context.Context) (bool, error) {
	s, err := u.status(ctx)
	return s.Flags["push.enable-utf8-names"] == "true", err
}

// Unchecked reports whether the upstream runs with --push.disable-consistency-check;
// known is false of one that does not tell.
func (u *Upstream) Unchecked(ctx context.Context) (unchecked, known bool, err error) {
	s, err := u.status(ctx)
	word, known := s.Flags["push.disable-consistency-check"]
	return word == "true", known, err
}

// Started returns when the upstream was started, by its own clock. Another time
// than before says that it was started again since.
func (u *Upstream) Started(ctx context.Context) (time.Time, error) {
	s, err := u.status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s.StartTime)
	if err != nil {
		return time.Time{}, fmt.Errorf("status of the upstream: start_time: %w", err)
	}
	return t, nil
}

// Guarded reports whether the upstream is a pushguard in front of a Pushgateway,
// ready or not, which says so in the header Server. It is not known of one behind
// a proxy that writes the header itself.
func (u *Upstream) Guarded(ctx context.Context) (bool, error) {
	header, err := u.ready(ctx)
	product, _, _ := strings.Cut(header.Get("Server"), "/")
	return product == "pushguard", err
}

// Answers returns an error if the upstream answers nothing, of whatever status, within its
// timeout. Who is to read much of it asks first: that may take long, and has no such limit.
func (u *Upstream) Answers(ctx context.Context) error {
	_, err := u.ready(ctx)
	return err
}

func (u *Upstream) ready(ctx context.Context) (http.Header, error) {
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	resp, err := u.inquire(ctx, "/-/ready")
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection is used again
	_ = resp.Body.Close()
	return resp.Header, nil
}

func (u *Upstream) status(ctx context.Context) (status, error) {
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	resp, err := u.inquire(ctx, "/api/v1/status")
	if err != nil {
		return status{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return status{}, fmt.Errorf("status of the upstream: status %d", resp.StatusCode)
	}
	var answer struct {
		Data status `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return status{}, fmt.Errorf("status of the upstream: %w", err)
	}
	return answer.Data, nil
}

// inquire asks for an answer of any status that comes within the time of ctx, and has
// the breaker learn from whether one came.
func (u *Upstream) inquire(ctx context.Context, path string) (*http.Response, error) {
	done, err := u.breaker.begin()
	if err != nil {
		return nil, err
	}
	resp, err := u.askOver(ctx, u.transport, path, "")
	done(err)
	return resp, err
}

// bounded gives the context the upstream's timeout, if it has one.
func (u *Upstream) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if u.timeout > 0 {
		return context.WithTimeout(ctx, u.timeout)
	}
	return context.WithCancel(ctx)
}
