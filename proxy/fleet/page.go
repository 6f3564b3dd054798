package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// pageTime is how long one Pushgateway may take over its page, if the scraper does not
// say how long it waits.
const pageTime = 8 * time.Second

// Proxy serves reads: one page of what all of them hold, one listing, ready and healthy
// if one of them is. Everything else is the first one's.
func (f *Fleet) Proxy() http.Handler {
	first, page := f.all[0].Proxy(), gzhttp.GzipHandler(http.HandlerFunc(f.page))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			first.ServeHTTP(w, r)
		case r.URL.Path == "/metrics":
			page.ServeHTTP(w, r)
		case r.URL.Path == "/api/v1/metrics":
			f.serveListing(w, r)
		case r.URL.Path == "/-/ready", r.URL.Path == "/-/healthy":
			f.ready(w, r)
		default:
			first.ServeHTTP(w, r)
		}
	})
}

// page writes what those that answer hold, a family once.
func (f *Fleet) page(w http.ResponseWriter, r *http.Request) {
	v, end := f.view()
	parts, up := f.parts(r)
	end()
	v.learn(parts[pushTimes])
	format := gateway.PageFormat(r.Header)
	w.Header().Set("Content-Type", string(format))
	to := expfmt.NewEncoder(w, format)
	presence := f.presence(up)
	parts[presence.GetName()] = nil
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		family := presence
		if name != presence.GetName() {
			family = v.join(parts[name])
		}
		if family == nil || len(family.Metric) == 0 {
			continue
		}
		if err := to.Encode(family); err != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	}
}

// parts asks all of them at once, and returns what those that answer show, by family, and
// which those are.
func (f *Fleet) parts(r *http.Request) (out map[string][]part, up []bool) {
	ctx, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	pages, up := make([][]*dto.MetricFamily, len(f.all)), make([]bool, len(f.all))
	var all sync.WaitGroup
	for i, u := range f.all {
		all.Go(func() {
			families, err := u.Families(ctx)
			if err != nil && r.Context().Err() == nil {
				f.logger.Warn("A Pushgateway is missing on the page", "pushgateway", u.Name(), "err", err)
			}
			pages[i], up[i] = families, err == nil
		})
	}
	all.Wait()
	if r.Context().Err() == nil { // a reader that has gone says nothing of who would have answered
		f.mu.Lock()
		f.up = up
		f.mu.Unlock()
	}
	out = map[string][]part{}
	for at, page := range pages {
		for _, family := range page {
			out[family.GetName()] = append(out[family.GetName()], part{family, at})
		}
	}
	return out, up
}

// patience is how long a page may take to be read, so that it is written in time.
func patience(r *http.Request) time.Duration {
	if s, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64); err == nil && s > 0 && s < 3600 {
		return time.Duration(s * 0.7 * float64(time.Second))
	}
	return pageTime
}

const (
	upName = "pushguard_upstream_up"
	upHelp = "Whether the Pushgateway behind was on the last page that somebody waited for; of several, once there was one."
)

// presence tells who is on a page.
func (f *Fleet) presence(up []bool) *dto.MetricFamily {
	name, help, label, typ := upName, upHelp, "upstream", dto.MetricType_GAUGE
	out := &dto.MetricFamily{Name: &name, Help: &help, Type: &typ}
	for i := range up {
		who, value := f.all[i].Name(), 0.0
		if up[i] {
			value = 1
		}
		out.Metric = append(out.Metric, &dto.Metric{Label: []*dto.LabelPair{{Name: &label, Value: &who}}, Gauge: &dto.Gauge{Value: &value}})
	}
	return out
}

// serveListing writes one list of the groups of all, each once, with the headers of the
// last.
func (f *Fleet) serveListing(w http.ResponseWriter, r *http.Request) {
	v, end := f.view()
	defer end()
	var out struct {
		Status string            `json:"status"`
		Data   []json.RawMessage `json:"data"`
	}
	out.Data = []json.RawMessage{} // none is a list, too
	var header http.Header
	known := map[string]int{} // where in Data a group is
	for at, u := range f.all {
		got := &answer{}
		if f.answers(r.Context(), at) == nil {
			got = ask(u, r)
		}
		var part struct {
			Status string
			Data   []json.RawMessage
		}
		if got.code != http.StatusOK || json.Unmarshal(got.body.Bytes(), &part) != nil {
			http.Error(w, "upstream: "+u.Name()+" does not list its groups", http.StatusBadGateway)
			return
		}
		out.Status, header = part.Status, got.header
		for _, group := range part.Data {
			key := keyIn(group)
			i, twice := known[key.ID()]
			switch {
			case !v.shows(key, at):
			case !twice:
				known[key.ID()] = len(out.Data)
				out.Data = append(out.Data, group)
			case v.holder(key) == at:
				out.Data[i] = group
			}
		}
	}
	header.Del("Content-Length")
	maps.Copy(w.Header(), header)
	_ = json.NewEncoder(w).Encode(out)
}

// keyIn is the key of a group in a listing.
func keyIn(group json.RawMessage) wire.Key {
	var of struct{ Labels map[string]string }
	_ = json.Unmarshal(group, &of) // what has no labels is a group by itself
	ls := make([]labels.Label, 0, len(of.Labels))
	for name, value := range of.Labels {
		ls = append(ls, labels.Label{Name: name, Value: value})
	}
	return wire.NewKey(ls...)
}

// ask has one of them answer a read whose answer is short. One that breaks off is answered
// 502, as one that cannot be reached.
func ask(u *gateway.Upstream, r *http.Request) (w *answer) {
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	plain.Body, plain.ContentLength, plain.TransferEncoding = http.NoBody, 0, nil // several are asked at once
	w = &answer{code: http.StatusOK, header: http.Header{}}
	defer func() {
		if broken := recover(); broken == http.ErrAbortHandler {
			w = &answer{code: http.StatusBadGateway, header: http.Header{}}
		} else if broken != nil {
			panic(broken)
		}
	}()
	u.Proxy().ServeHTTP(w, plain)
	return w
}

// answer is one that is kept.
type answer struct {
	code   int
	header http.Header
	body   bytes.Buffer
}

// Header is part of http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader is part of http.ResponseWriter.
func (a *answer) WriteHeader(code int) { a.code = code }

// Write is part of http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// ready answers as the first that says that it is well, or as one of those that do not: one
// that is not, or hangs, costs its own jobs alone.
func (f *Fleet) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	answers := make(chan *answer, len(f.all))
	for _, u := range f.all {
		go func() { answers <- ask(u, r.WithContext(ctx)) }()
	}
	var got *answer
	for range f.all {
		if got = <-answers; got.code == http.StatusOK {
			break
		}
	}
	maps.Copy(w.Header(), got.header)
	w.WriteHeader(got.code)
	_, _ = w.Write(got.body.Bytes())
}
