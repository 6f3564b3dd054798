package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
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
	if r.Method == http.MethodDelete {
		return gateway.Answer{Status: http.StatusAccepted}, nil
	}
	if err := check(r); err != nil {
		// How protobuf messages are spaced in it differs from build to build.
		reason := strings.ReplaceAll(err.Error(), "  ", " ")
		return gateway.Answer{
			Status: http.StatusBadRequest,
			Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
			Body:   fmt.Appendf(nil, "pushed metrics are invalid or inconsistent with existing metrics: %s\n", reason),
		}, nil
	}
	return gateway.Answer{Status: http.StatusOK}, nil
}

// check refuses what a Pushgateway refuses of that which a guard forwards:
// timestamps, and series told apart by nothing. Consistency is decided by
// client_golang, as inside a Pushgateway.
func check(r gateway.Request) error {
	contentType, encoding := r.ContentType, ""
	if contentType == "" {
		contentType, encoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	}
	body, err := wire.DecodeContent(nil, encoding, r.Body, math.MaxInt32)
	if err != nil {
		return err
	}
	pushed := families(body, contentType)
	for _, family := range pushed {
		for _, m := range family.Metric {
			if m.TimestampMs != nil {
				return errors.New("pushed metrics must not have timestamps")
			}
			m.Label = grouped(m.Label, r.Key)
		}
	}
	given := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return pushed, nil })
	_, err = prometheus.Gatherers{given}.Gather()
	return err
}

// grouped gives a metric the labels of its group, as a Pushgateway does.
func grouped(ls []*dto.LabelPair, key wire.Key) []*dto.LabelPair {
	ls = slices.DeleteFunc(ls, func(l *dto.LabelPair) bool {
		_, ok := key.Get(l.GetName())
		return ok
	})
	instance := slices.ContainsFunc(ls, func(l *dto.LabelPair) bool { return l.GetName() == model.InstanceLabel })
	for _, l := range key.Labels() {
		ls = append(ls, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
		instance = instance || l.Name == model.InstanceLabel
	}
	if !instance {
		ls = append(ls, &dto.LabelPair{Name: proto.String(model.InstanceLabel), Value: proto.String("")})
	}
	return ls
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

// families reads a body as a Pushgateway does, up to the first fault.
func families(body []byte, contentType string) []*dto.MetricFamily {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if wire.IsProtobuf(contentType) {
		format = expfmt.NewFormat(expfmt.TypeProtoDelim)
	}
	var out []*dto.MetricFamily
	for in := expfmt.NewDecoder(bytes.NewReader(body), format); ; {
		family := &dto.MetricFamily{}
		if err := in.Decode(family); err != nil {
			return out
		}
		out = append(out, family)
	}
}
