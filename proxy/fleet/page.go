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
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// pageTime is how long one Pushgateway may take over its page, if the scraper does not
// say how long it waits.
const pageTime = 8 * time.Second

// Proxy serves reads: one page of what all of them hold, one listing, ready and healthy
// if all are. Everything else is the first one's.
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

// page writes what those that answer hold, a family once, without what they say of
// themselves, which has no job: that would be there several times.
func (f *Fleet) page(w http.ResponseWriter, r *http.Request) {
	pages := make([][]*dto.MetricFamily, len(f.all))
	ctx, cancel := context.WithTimeout(r.Context(), patience(r))
	defer cancel()
	var all sync.WaitGroup
	for i, u := range f.all {
		all.Go(func() {
			families, err := u.Families(ctx)
			if err != nil {
				f.logger.Warn("A Pushgateway is missing on the page", "pushgateway", u.Name(), "err", err)
			}
			pages[i] = families
			f.mu.Lock()
			f.up[i] = err == nil
			f.mu.Unlock()
		})
	}
	all.Wait()
	format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
	merged := f.merge(append(pages, []*dto.MetricFamily{f.presence()}))
	w.Header().Set("Content-Type", string(format))
	to := expfmt.NewEncoder(w, format)
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if err := to.Encode(merged[name]); err != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	}
}

// patience is how long a page may take to be read, so that it is written in time.
func patience(r *http.Request) time.Duration {
	if s, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64); err == nil && s > 0 && s < 3600 {
		return time.Duration(s * 0.7 * float64(time.Second))
	}
	return pageTime
}

// merge joins families by their names. Where types contradict, as only somebody else can
// have brought about, the first stands and the others are left out.
func (f *Fleet) merge(pages [][]*dto.MetricFamily) map[string]*dto.MetricFamily {
	out := map[string]*dto.MetricFamily{}
	for i, page := range pages {
		for _, family := range page {
			if i < len(f.all) {
				family.Metric = slices.DeleteFunc(family.Metric, func(m *dto.Metric) bool { return !hasJob(m) })
			}
			there := out[family.GetName()]
			switch {
			case len(family.Metric) == 0:
			case there == nil:
				out[family.GetName()] = family
			case there.GetType() != family.GetType():
				f.logger.Warn("Two Pushgateways hold a family with unlike types: it is on the page with the first", "family", family.GetName())
			default:
				there.Metric = append(there.Metric, family.Metric...)
			}
		}
	}
	return out
}

func hasJob(m *dto.Metric) bool {
	return slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == model.JobLabel })
}

const (
	upName = "pushguard_upstream_up"
	upHelp = "Whether the Pushgateway behind was on the last page; of several."
)

var (
	upDesc     = prometheus.NewDesc(upName, upHelp, []string{"upstream"}, nil)
	straysDesc = prometheus.NewDesc("pushguard_upstream_stray_groups", "Groups that the Pushgateway behind holds though they belong to another, as far as the last listing knows; of several.", []string{"upstream"}, nil)
)

// presence tells on the page itself who is on it.
func (f *Fleet) presence() *dto.MetricFamily {
	f.mu.Lock()
	defer f.mu.Unlock()
	name, help, label, typ := upName, upHelp, "upstream", dto.MetricType_GAUGE
	out := &dto.MetricFamily{Name: &name, Help: &help, Type: &typ}
	for i, u := range f.all {
		who, value := u.Name(), 0.0
		if f.up[i] {
			value = 1
		}
		out.Metric = append(out.Metric, &dto.Metric{Label: []*dto.LabelPair{{Name: &label, Value: &who}}, Gauge: &dto.Gauge{Value: &value}})
	}
	return out
}

// serveListing writes one list of the groups of all.
func (f *Fleet) serveListing(w http.ResponseWriter, r *http.Request) {
	var out struct {
		Status string            `json:"status"`
		Data   []json.RawMessage `json:"data"`
	}
	for _, u := range f.all {
		got := ask(u, r)
		var part struct {
			Status string
			Data   []json.RawMessage
		}
		if got.code != http.StatusOK || json.Unmarshal(got.body.Bytes(), &part) != nil {
			http.Error(w, "upstream: "+u.Name()+" does not list its groups", http.StatusBadGateway)
			return
		}
		out.Status, out.Data = part.Status, append(out.Data, part.Data...)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(out)
}

// ask has one of them answer a read whose answer is short.
func ask(u *gateway.Upstream, r *http.Request) *answer {
	plain := r.Clone(r.Context())
	plain.Header.Del("Accept-Encoding")
	w := &answer{code: http.StatusOK, header: http.Header{}}
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

// ready answers as the first one that is not well, or as the last.
func (f *Fleet) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	var got *answer
	for _, u := range f.all {
		if got = ask(u, r.WithContext(ctx)); got.code != http.StatusOK {
			break
		}
	}
	maps.Copy(w.Header(), got.header)
	w.WriteHeader(got.code)
	_, _ = w.Write(got.body.Bytes())
}

// Describe is part of prometheus.Collector.
func (f *Fleet) Describe(out chan<- *prometheus.Desc) {
	f.all[0].Describe(out)
	out <- upDesc
	out <- straysDesc
}

// Collect is part of prometheus.Collector.
func (f *Fleet) Collect(out chan<- prometheus.Metric) {
	for _, u := range f.all {
		u.Collect(out)
	}
	for _, m := range f.presence().Metric {
		out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, m.Gauge.GetValue(), m.Label[0].GetValue())
	}
	for i, strays := range f.astray() {
		out <- prometheus.MustNewConstMetric(straysDesc, prometheus.GaugeValue, float64(strays), f.all[i].Name())
	}
}

// astray counts the strays that each of them has.
func (f *Fleet) astray() []int {
	out := make([]int, len(f.all))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.strays {
		out[at]++
	}
	return out
}
