package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
)

const (
	// firstPause is how long to wait before the second attempt, a half more or less;
	// each further one is twice as long, up to lastPause.
	firstPause, lastPause = 250 * time.Millisecond, 10 * time.Second
	// attemptTime bounds one attempt, so that one that hangs leaves time for others.
	attemptTime = 20 * time.Second
)

// sender sends one push, again and again if need be.
type sender struct {
	upstream *gateway.Upstream
	url      string
	timeout  time.Duration // of everything
	now      func() time.Time
	wait     func(ctx context.Context, d time.Duration) error
}

// waitFor waits, or returns that of a context which ends before.
func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// send sends the request until it is accepted, until it is refused in a way that no
// retry can mend, or until the time is up. Every attempt is the same, with the same
// Idempotency-Key.
func (s *sender) send(ctx context.Context, r gateway.Request) error {
	end := s.now().Add(s.timeout)
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, min(2*pause, lastPause) {
		retry, after, err := s.try(ctx, r, end.Sub(s.now()))
		if err == nil || !retry {
			return err
		}
		wait := max(after, pause/2+rand.N(pause))
		if left := end.Sub(s.now()); wait >= left {
			if after >= left && after > 0 {
				return fmt.Errorf("%w; it asks to wait %s, and %s are left of --timeout", err, after, left.Round(time.Second))
			}
			return fmt.Errorf("%w; tried %s in %s", err, times(attempt), s.timeout)
		}
		if err := s.wait(ctx, wait); err != nil {
			return err
		}
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// try sends the request once. It says whether another attempt may help, and how long
// the server wants that to wait.
func (s *sender) try(ctx context.Context, r gateway.Request, left time.Duration) (retry bool, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(left, attemptTime))
	defer cancel()
	answer, err := s.upstream.Do(ctx, r)
	switch {
	case err != nil:
		return passing(err), 0, fmt.Errorf("push to %s: %w", s.url, err)
	case answer.Status >= 200 && answer.Status < 300:
		return false, 0, nil
	}
	err = fmt.Errorf("push to %s: status %d%s", s.url, answer.Status, reason(answer.Body))
	retry = answer.Status >= 500 || answer.Status == http.StatusTooManyRequests
	return retry, s.retryAfter(answer.Header), err
}

// passing reports whether a push without an answer may get one later: not where the
// server is another than it should be, or sends elsewhere.
func passing(err error) bool {
	var certificate *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	return !errors.Is(err, gateway.ErrRedirect) && !errors.Is(err, context.Canceled) &&
		!errors.As(err, &certificate) && !errors.As(err, &unknown)
}

// reason is what the server says, on one line.
func reason(body []byte) string {
	var said []string
	for line := range strings.Lines(strings.ToValidUTF8(string(body), "\ufffd")) {
		if words := strings.Fields(line); len(words) > 0 {
			said = append(said, strings.Join(words, " "))
		}
	}
	text := strings.Join(said, "; ")
	if text == "" {
		return ""
	}
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return ": " + text
}

// retryAfter is how long the server asks to wait; 0 if it does not.
func (s *sender) retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(s.now()))
	}
	return 0
}
