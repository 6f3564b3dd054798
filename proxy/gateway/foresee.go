package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Foresee answers a write, whose Body must be what is sent, as a Pushgateway does that
// holds nothing else: what contradicts itself it refuses, but for the wording of the
// reason. What contradicts other groups the Pushgateway alone knows.
func Foresee(r Request) Answer {
	if r.Method == http.MethodDelete {
		return Answer{Status: http.StatusAccepted}
	}
	err := check(r)
	if err == nil {
		return Answer{Status: http.StatusOK}
	}
	// How protobuf messages are spaced in it differs from build to build.
	reason := strings.ReplaceAll(err.Error(), "  ", " ")
	return Answer{
		Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		Body:   fmt.Appendf(nil, "pushed metrics are invalid or inconsistent with existing metrics: %s\n", reason),
	}
}

// check refuses what a Pushgateway refuses of that which a guard forwards:
// timestamps, and series told apart by nothing. Consistency is decided by
// client_golang, as inside a Pushgateway.
func check(r Request) error {
	contentType, encoding := r.ContentType, ""
	if contentType == "" {
		contentType, encoding = r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding")
	}
	body, err := wire.DecodeContent(nil, encoding, r.Body, math.MaxInt32, nil)
	if err != nil {
		return err
	}
	pushed := Families(body, contentType)
	for _, family := range pushed {
		for _, m := range family.Metric {
			if m.TimestampMs != nil {
				return errors.New("pushed metrics must not have timestamps")
			}
			m.Label = Grouped(m.Label, r.Key)
		}
	}
	given := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return pushed, nil })
	_, err = prometheus.Gatherers{given}.Gather()
	return err
}

// Grouped gives a metric the labels of its group, as a Pushgateway does.
func Grouped(ls []*dto.LabelPair, key wire.Key) []*dto.LabelPair {
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

// Families reads a decoded body as a Pushgateway does, up to the first fault.
func Families(body []byte, contentType string) []*dto.MetricFamily {
	out, _ := ReadFamilies(body, contentType)
	return out
}

// ReadFamilies is Families with that fault, nil if there is none.
func ReadFamilies(body []byte, contentType string) ([]*dto.MetricFamily, error) {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if wire.IsProtobuf(contentType) {
		format = expfmt.NewFormat(expfmt.TypeProtoDelim)
	}
	var out []*dto.MetricFamily
	for in := expfmt.NewDecoder(bytes.NewReader(body), format); ; {
		family := &dto.MetricFamily{}
		err := in.Decode(family)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, family)
	}
}
