package trial_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/trial"
	"github.com/pushguard/pushguard/proxy/wire"
)

// recordedBy sends pushes through a guard that records them, and returns the file.
func recordedBy(t *testing.T, p *policy.Policy, pushes []recorded) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recorded.jsonl")
	recorder, err := record.Open(record.Config{Path: path, Secret: [32]byte{1}, OnError: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	kept, err := store.Open(store.Config{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: kept, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Caps: caps,
		Record: recorder, GroupWait: time.Second, Now: clock, AnyUser: true,
		Counters: counter.NewBook(counter.Config{Now: clock}),
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, push := range pushes {
		guard.Push(t.Context(), push.again())
		_ = recorder.Run(stopped) // writes what waits
		now = now.Add(time.Second)
	}
	if err := recorder.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// judgedAlike replays what was recorded under the policy that judged it: the outcome of
// each push and its findings are what happened. It counts the pushes whose series are
// not.
func judgedAlike(t *testing.T, p *policy.Policy, path string) (compared, otherSeries int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	replay, err := trial.NewReplay(trial.Config{Policy: p, Caps: caps})
	if err != nil {
		t.Fatal(err)
	}
	torn := 0
	for line, err := range record.Read(file, &torn) {
		if err != nil || torn > 0 {
			t.Fatal(torn, err)
		}
		if line.Unread || line.Happened.Outcome == "failed" {
			continue
		}
		request, err := trial.ParseCapture(line.Raw)
		if err != nil {
			t.Fatal(err)
		}
		key, err := wire.ParsePath(request.Path, false)
		if err != nil {
			t.Fatal(err)
		}
		type judged struct {
			Job, Outcome string
			Findings     []string
		}
		h := line.Happened
		now := replay.Push(t.Context(), line.Time, request)
		was, is := judged{h.Job, h.Outcome, h.Findings}, judged{now.Job, now.Outcome, now.Findings}
		if diff := cmp.Diff(was, is, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s %s\n%s\n(-happened +replayed):\n%s", line.Request.Method, line.Request.Target, line.Request.Body, diff)
		}
		compared++
		if !slices.Equal(texts(line.SeriesOf(key)), texts(now.Series)) {
			otherSeries++
		}
	}
	return compared, otherSeries
}

func texts[S fmt.Stringer](in []S) []string {
	var out []string
	for _, s := range in {
		out = append(out, s.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestRecordedIsJudgedAsTheOriginal records the pushes of real clients, and many that
// are made of values of every shape, under the example policy, enforced and reported.
func TestRecordedIsJudgedAsTheOriginal(t *testing.T) {
	example, err := os.ReadFile("../../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	for mode, text := range map[string]string{
		"enforce": string(example),
		"report":  strings.ReplaceAll(string(example), "mode: enforce", "mode: report"),
		"refuses": "version: v1\ndefault:\n  mode: enforce\n  limits: {label_value_length_limit: 60}\n  rules:\n  - {id: ids, shapes: [all], action: reject}\n",
		"folds":   "version: v1\ndefault:\n  mode: enforce\n  rules:\n  - {id: ids, shapes: [all], action: template}\n",
	} {
		t.Run(mode, func(t *testing.T) {
			p, err := policy.Parse("policy.yml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			pushes := append(captures(t), ofEveryShape(t, 400)...)
			n, other := judgedAlike(t, p, recordedBy(t, p, pushes))
			if n < len(pushes)*3/4 {
				t.Errorf("%d of %d pushes compared", n, len(pushes))
			}
			// A value that is also what a rule makes of others may have been hidden before
			// that was known, where a label has more values than stay readable.
			if other > n/50 {
				t.Errorf("the series of %d of %d pushes are not those that went on", other, n)
			}
		})
	}
}

// Of what is new to a full budget the first in the body has the room, in a replay, too.
func TestRecordedKeepsItsOrder(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte("version: v1\ndefault: {mode: enforce, budget: {series: 4}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var pushes []recorded
	for _, job := range []string{"a", "b", "b"} { // the last one's body is known by its shape
		r := proxy.Request{Method: http.MethodPut, Path: "/metrics/job/" + job, Header: http.Header{"Content-Type": {"text/plain"}}}
		pushes = append(pushes, recorded{job, r, []byte("z 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# TYPE b gauge\nb 1\na 1\n")})
	}
	if n, other := judgedAlike(t, p, recordedBy(t, p, pushes)); n != len(pushes) || other > 0 {
		t.Errorf("the series of %d of %d pushes are not those that went on", other, n)
	}
}

// What a policy cuts out of a value that is not shown is not shown, either, and a replay
// cuts it out again.
func TestRecordedHidesWhatIsCutOut(t *testing.T) {
	p, err := policy.Parse("policy.yml", []byte(`version: v1
default:
  mode: enforce
  relabel_configs:
  - {source_labels: [mail], regex: '(.*)@.*', target_label: who}
  - {source_labels: [url], regex: '.*=(.*)', target_label: of}
  rules: [{id: short, labels: [mail, session], action: truncate, length: 7}]
`))
	if err != nil {
		t.Fatal(err)
	}
	const body = "# TYPE logins_total counter\n" +
		`logins_total{mail="jane.roe@example.com",session="7f3c2a1b-4d30-4c55-8a11-0f9e8d7c6b5a",team="core"} 3` + "\n" +
		`visits{url="https://shop.example.com/a/42?user=zebedee",session="x"} 4` + "\n"
	r := proxy.Request{Method: http.MethodPost, Path: "/metrics/job/a/mail/mallory@example.com", Header: http.Header{"Content-Type": {"text/plain"}}}
	path := recordedBy(t, p, []recorded{{"a", r, []byte(body)}})
	if n, other := judgedAlike(t, p, path); n != 1 || other > 0 {
		t.Errorf("the series of %d of %d pushes are not those that went on", other, n)
	}
	text := string(read(t, path))
	for _, secret := range []string{"jane", "mallory", "zebedee", "7f3c2a1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, `"team":"core"`) {
		t.Errorf("a value that is shown is not:\n%s", text)
	}
}

// ofEveryShape are pushes of random metrics with values of every shape and of none.
func ofEveryShape(t *testing.T, n int) []recorded {
	t.Helper()
	var of struct {
		Examples []struct{ Value string }
		Bounded  []string
	}
	if err := json.Unmarshal(read(t, "../../rules/testdata/shapes.json"), &of); err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(1, 2))
	value := func() string {
		if chance.IntN(3) == 0 {
			return of.Bounded[chance.IntN(len(of.Bounded))]
		}
		return of.Examples[chance.IntN(len(of.Examples))].Value
	}
	var out []recorded
	for i := range n {
		var body strings.Builder
		for m := range 1 + chance.IntN(4) {
			kind := []string{"gauge", "counter"}[m%2]
			fmt.Fprintf(&body, "# TYPE m%d_%s %s\n", m, kind, kind)
			for s := range 1 + chance.IntN(3) {
				fmt.Fprintf(&body, "m%d_%s{s=\"%d\",x=%q,pod=%q} %d\n", m, kind, s, value(), value(), chance.IntN(1000))
			}
		}
		key := wire.NewKey(label("job", fmt.Sprint("job", i%7)), label("instance", value()))
		r := proxy.Request{
			Method: []string{http.MethodPost, http.MethodPut}[i%2], Path: key.Path(),
			Header: http.Header{"Content-Type": {"text/plain"}},
		}
		out = append(out, recorded{fmt.Sprint("random ", i), r, []byte(body.String())})
	}
	return out
}

func label(name, value string) labels.Label { return labels.Label{Name: name, Value: value} }
