package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	printSeed = 99
	jobBudget = 30
	allBudget = 70
)

var jobNames = []string{"a", "b", "c"}

// faults stands before an upstream and keeps what X-Fault asks for from
// arriving: the request, or its answer.
func faults(t *testing.T, upstream *url.URL) *url.URL {
	forward := httputil.NewSingleHostReverseProxy(upstream)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Fault") {
		case "request":
		case "answer":
			forward.ServeHTTP(httptest.NewRecorder(), r)
		default:
			forward.ServeHTTP(w, r)
			return
		}
		panic(http.ErrAbortHandler) // the connection breaks without an answer
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// client is one job's task: it pushes what the book grants, through the faults.
type client struct {
	t    *testing.T
	book *ledger.Book
	url  *url.URL
	http *http.Client
	rand *rand.Rand
	*seen
}

// seen counts what all clients met.
type seen struct {
	outcomes [5]atomic.Int64
	trimmed  atomic.Int64
}

func label(name, value string) labels.Label { return labels.Label{Name: name, Value: value} }

func (c *client) groupKey() wire.Key {
	ls := []labels.Label{label("job", jobNames[c.rand.IntN(len(jobNames))])}
	if c.rand.IntN(2) == 0 {
		ls = append(ls, label("instance", "i"))
	}
	return wire.NewKey(ls...)
}

// run makes one request of some kind.
func (c *client) run(fault string) {
	key := c.groupKey()
	claim := ledger.Claim{
		Group: key, Raw: key, Method: []string{"PUT", "PUT", "POST", "DELETE"}[c.rand.IntN(4)],
		Budget: ledger.Budget{Series: jobBudget, EntrySeries: allBudget, GuardSeries: allBudget, LabelValues: 9},
	}
	var bodies []string
	if claim.Method != http.MethodDelete {
		bodies = c.fill(&claim)
	}
	grant, err := c.book.Admit(context.Background(), claim)
	if errors.As(err, new(*ledger.OverBudgetError)) {
		return
	}
	if err != nil {
		c.t.Errorf("Admit: %v", err)
		return
	}
	for _, i := range grant.Trimmed {
		bodies[i] = ""
	}
	body := "# TYPE latency histogram\n" + strings.Join(bodies, "")
	switch c.rand.IntN(12) {
	case 0:
		body += "late 1 12345\n" // a timestamp: refused, and booked as a failure
	case 1:
		body += "garbage" // refused before anything is touched
	}
	o := c.send(claim.Method, key, body, fault)
	c.outcomes[o].Add(1)
	c.trimmed.Add(int64(len(grant.Trimmed)))
	grant.Settle(o)
}

// fill claims random metrics and returns the text of each.
func (c *client) fill(claim *ledger.Claim) []string {
	var texts []string
	for _, family := range []string{"plain", "latency"} {
		for v := range 12 {
			if c.rand.IntN(3) > 0 {
				continue
			}
			if n := len(claim.Families); n == 0 || claim.Families[n-1] != family {
				claim.Families = append(claim.Families, family)
			}
			ls := []labels.Label{label("v", fmt.Sprint(v)), label("job", "overwritten")}
			m := ledger.MetricClaim{Family: int32(len(claim.Families) - 1), Samples: 1}
			fingerprint, values := wire.Print(printSeed, claim.Group, ls, nil)
			m.Fingerprint, m.Values = fingerprint, claim.AddValues(values)
			text := fmt.Sprintf("plain{v=\"%d\",job=\"overwritten\"} 1\n", v)
			if family == "latency" {
				m.Samples = int32(3 + c.rand.IntN(3))
				text = histogram(v, int(m.Samples)-3)
			}
			claim.Metrics, texts = append(claim.Metrics, m), append(texts, text)
		}
	}
	return texts
}

func histogram(v, bounds int) string {
	var b strings.Builder
	for le := range bounds {
		fmt.Fprintf(&b, "latency_bucket{v=\"%d\",le=\"%d\"} 1\n", v, le)
	}
	fmt.Fprintf(&b, "latency_sum{v=\"%d\"} 1\nlatency_count{v=\"%d\"} 1\n", v, v)
	return b.String()
}

// send makes the request and returns its outcome, read off the answer alone.
func (c *client) send(method string, key wire.Key, body, fault string) ledger.Outcome {
	r, err := http.NewRequest(method, c.url.String()+key.Path(), strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return ledger.Untouched
	}
	r.Header.Set("X-Fault", fault)
	resp, err := c.http.Do(r)
	if err != nil {
		return ledger.Unknown
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return ledger.Unknown
	case resp.StatusCode/100 == 2:
		return ledger.Applied
	case strings.HasPrefix(string(answer), "pushed metrics are invalid"):
		return ledger.Refused
	default:
		return ledger.Untouched
	}
}

// upstreamSeries counts what the upstream lists, by job.
func upstreamSeries(t *testing.T, upstream *url.URL) map[string]int {
	resp, err := http.Get(upstream.JoinPath("api", "v1", "metrics").String())
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	var listing struct{ Data []map[string]json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&listing); err != nil {
		t.Error(err)
	}
	out := map[string]int{}
	for _, group := range listing.Data {
		var own map[string]string
		_ = json.Unmarshal(group["labels"], &own)
		for _, raw := range group {
			var family struct {
				Metrics []struct{ Buckets map[string]string }
			}
			if json.Unmarshal(raw, &family) != nil {
				continue // last_push_successful
			}
			for _, m := range family.Metrics {
				out[own["job"]]++
				if m.Buckets != nil {
					out[own["job"]] += len(m.Buckets) + 2
				}
			}
		}
	}
	return out
}

// TestHeldIsWhatTheUpstreamHolds lets many clients at a real Pushgateway, with
// answers and requests that get lost and loads in between, and compares.
func TestHeldIsWhatTheUpstreamHolds(t *testing.T) {
	upstream := gatewaytest.Start(t)
	behind := faults(t, upstream)
	book := ledger.NewBook(ledger.Config{Wait: time.Minute})
	lister, err := gateway.New(gateway.Config{URL: upstream})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lister.Close)
	load := func() {
		err := book.Load(func() ([]ledger.Group, func(wire.Key) bool, error) {
			listed, err := lister.Groups(t.Context(), printSeed)
			var groups []ledger.Group
			for _, l := range listed {
				groups = append(groups, ledger.Group{Key: l.Key, Families: l.Families})
			}
			return groups, nil, err
		})
		if err != nil {
			t.Error(err)
		}
	}
	within := func() map[string]int {
		held, sum := upstreamSeries(t, upstream), 0
		for job, n := range held {
			if sum += n; n > jobBudget {
				t.Errorf("the upstream holds %d series of job %s, budget: %d", n, job, jobBudget)
			}
		}
		if sum > allBudget {
			t.Errorf("the upstream holds %d series, budget: %d", sum, allBudget)
		}
		return held
	}
	equal := func(when string) {
		t.Helper()
		held, sum := within(), 0
		for _, job := range jobNames {
			sum += held[job]
			if book.Held(job) != held[job] {
				t.Errorf("%s: the book holds %d series of job %s, the upstream %d", when, book.Held(job), job, held[job])
			}
		}
		if book.Series() != sum {
			t.Errorf("%s: the book holds %d series, the upstream %d", when, book.Series(), sum)
		}
	}
	met := &seen{}
	for round := range 3 {
		atOnce(t, book, behind, met, func(c *client, i int) {
			c.run([]string{"", "", "", "request", "answer"}[c.rand.IntN(5)])
			switch {
			case c.rand.IntN(20) == 0:
				load()
			case i%10 == 0:
				within()
			}
		})
		flush(t, book, upstream)
		held := within()
		for _, job := range jobNames {
			if book.Held(job) < held[job] {
				t.Errorf("round %d: the book holds %d series of job %s, the upstream %d", round, book.Held(job), job, held[job])
			}
		}
		load()
		equal(fmt.Sprintf("round %d, loaded", round))
		atOnce(t, book, behind, met, func(c *client, _ int) { c.run("") })
		flush(t, book, upstream)
		equal(fmt.Sprintf("round %d, every answer known", round))
	}
	for _, o := range []ledger.Outcome{ledger.Applied, ledger.Refused, ledger.Untouched, ledger.Unknown} {
		if met.outcomes[o].Load() == 0 || met.trimmed.Load() == 0 {
			t.Errorf("the test shows nothing: outcome %d was met %d times, %d metrics were trimmed", o, met.outcomes[o].Load(), met.trimmed.Load())
		}
	}
}

func atOnce(t *testing.T, book *ledger.Book, behind *url.URL, met *seen, run func(*client, int)) {
	transport := &http.Transport{DisableKeepAlives: true} // else lost requests are sent again
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			c := &client{
				t: t, book: book, url: behind, seen: met,
				http: &http.Client{Transport: transport}, rand: rand.New(rand.NewPCG(uint64(n), 1)),
			}
			for i := range 40 {
				run(c, i)
			}
		})
	}
	wg.Wait()
}

// flush waits for the deletes that a Pushgateway has answered and not yet done:
// it does one write after the other.
func flush(t *testing.T, book *ledger.Book, upstream *url.URL) {
	c := &client{t: t, book: book, url: upstream, http: http.DefaultClient}
	key := wire.NewKey(label("job", "flush"))
	if o := c.send(http.MethodPut, key, "", ""); o != ledger.Applied {
		t.Fatalf("flush: outcome %d", o)
	}
	c.send(http.MethodDelete, key, "", "")
	for upstreamSeries(t, upstream)["flush"] > 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestEvictionsAtAPushgateway gives every push a group of its own, as jobs do that
// name their runs, and looks at what a real Pushgateway is left with.
func TestEvictionsAtAPushgateway(t *testing.T) {
	const groups = 5
	upstream := gatewaytest.Start(t)
	book := ledger.NewBook(ledger.Config{Wait: time.Minute})
	met := &seen{}
	atOnce(t, book, faults(t, upstream), met, func(c *client, i int) {
		key := wire.NewKey(label("job", jobNames[c.rand.IntN(len(jobNames))]), label("run_id", fmt.Sprint(c.rand.Int64())))
		claim := ledger.Claim{
			Group: key, Raw: key, Method: http.MethodPut, OverBudget: ledger.EvictOldest,
			Budget: ledger.Budget{Groups: groups, Series: 120},
		}
		bodies := c.fill(&claim)
		grant, err := book.Admit(context.Background(), claim)
		if errors.As(err, new(*ledger.OverBudgetError)) {
			return // the others are all being evicted
		}
		if err != nil {
			t.Errorf("Admit: %v", err)
			return
		}
		for _, i := range grant.Trimmed {
			bodies[i] = ""
		}
		o := c.send(http.MethodPut, key, "# TYPE latency histogram\n"+strings.Join(bodies, ""), "")
		grant.Settle(o)
		if o != ledger.Applied {
			t.Errorf("push %d: outcome %d", i, o)
		}
		c.evict(grant.Evict)
	})
	flush(t, book, upstream)
	lister, err := gateway.New(gateway.Config{URL: upstream})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lister.Close)
	listed, err := lister.Groups(t.Context(), printSeed)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, g := range listed {
		if count[g.Key.Job()]++; !book.Has(g.Key) {
			t.Errorf("%s is there, and the book does not know", g.Key)
		}
	}
	for _, job := range jobNames {
		if held := upstreamSeries(t, upstream)[job]; count[job] == 0 || count[job] > groups || held > 120 || held != book.Held(job) {
			t.Errorf("job %s has %d groups of %d series, the book says %d", job, count[job], held, book.Held(job))
		}
	}
	if book.Len() != len(listed) || met.outcomes[ledger.Applied].Load() == 0 {
		t.Errorf("the book knows %d groups, there are %d, after %d evictions", book.Len(), len(listed), met.outcomes[ledger.Applied].Load())
	}
}

// evict carries out evictions.
func (c *client) evict(keys []wire.Key) {
	for _, k := range keys {
		grant, err := c.book.Admit(context.Background(), ledger.Claim{Group: k, Raw: k, Method: http.MethodDelete, Evict: true})
		if err != nil || grant.Skip {
			c.t.Errorf("evicting %s: %v, %+v", k, err, grant)
			continue
		}
		o := c.send(http.MethodDelete, k, "", "")
		c.outcomes[o].Add(1)
		grant.Settle(o)
	}
}
