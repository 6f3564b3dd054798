package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

// Breaker says when an upstream is given up for a while. The zero value never does.
type Breaker struct {
	// Failures is after how many requests in a row without an answer: then no other
	// is sent, and each fails at once as ErrOpen. 0 is never.
	Failures int
	// Pause is after how long one request is sent to see whether the upstream is back;
	// if it is not, as long again. 0 is a minute.
	Pause time.Duration
}

// ErrOpen says that nothing was sent because the upstream has not answered lately. It
// is an ErrUnreachable, too.
var ErrOpen = errors.New("its circuit breaker is open, since it has not answered lately")

// breaker is the Breaker of one upstream. Requests that end by themselves, writes and
// questions with a short answer, find out how the upstream is. Reads that take as long
// as their client's patience only keep to what those have found. A nil breaker permits
// everything. It is safe for concurrent use.
type breaker struct {
	circuit  *gobreaker.TwoStepCircuitBreaker[struct{}]
	rejected atomic.Uint64 // requests that were not sent
}

func newBreaker(cfg Breaker, upstream string, logger *slog.Logger) *breaker {
	if cfg.Failures <= 0 {
		return nil
	}
	return &breaker{circuit: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     cfg.Pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= uint32(cfg.Failures) },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateClosed:
				logger.Info("The Pushgateway answers again", "pushgateway", upstream)
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				logger.Warn("The Pushgateway does not answer: it is left alone for a while", "pushgateway", upstream, "failures", cfg.Failures, "pause", cfg.Pause)
			}
		},
	})}
}

// begin permits a request that ends by itself, whose error, if any, done is to be told.
func (b *breaker) begin() (done func(error), err error) {
	if b == nil {
		return func(error) {}, nil
	}
	done, err = b.circuit.Allow()
	if err != nil {
		return nil, b.refuse()
	}
	return done, nil
}

// refuse counts a request that is not sent and returns its error.
func (b *breaker) refuse() error {
	b.rejected.Add(1)
	return fmt.Errorf("%w: %w", ErrUnreachable, ErrOpen)
}

// open reports whether nothing is to be sent.
func (b *breaker) open() bool { return b != nil && b.circuit.State() == gobreaker.StateOpen }

// held keeps reads to what a breaker says.
type held struct {
	next    http.RoundTripper
	breaker *breaker
}

// RoundTrip implements http.RoundTripper.
func (h held) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.breaker.open() {
		return nil, h.breaker.refuse()
	}
	return h.next.RoundTrip(r)
}

var (
	openDesc = prometheus.NewDesc("pushguard_upstream_breaker_open",
		"1 while nothing is sent to the Pushgateway behind because it does not answer.", []string{"upstream"}, nil)
	rejectedDesc = prometheus.NewDesc("pushguard_upstream_rejected_total",
		"Requests that were not sent to the Pushgateway behind because its circuit breaker was open.", []string{"upstream"}, nil)
)

// Describe is part of prometheus.Collector.
func (u *Upstream) Describe(out chan<- *prometheus.Desc) {
	out <- openDesc
	out <- rejectedDesc
}

// Collect is part of prometheus.Collector.
func (u *Upstream) Collect(out chan<- prometheus.Metric) {
	open, rejected := 0.0, uint64(0)
	if u.breaker.open() {
		open = 1
	}
	if u.breaker != nil {
		rejected = u.breaker.rejected.Load()
	}
	out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, open, u.Name())
	out <- prometheus.MustNewConstMetric(rejectedDesc, prometheus.CounterValue, float64(rejected), u.Name())
}

// Name is the upstream's URL, as metrics and the log have it.
func (u *Upstream) Name() string { return u.scheme + "://" + u.host + u.prefix }
