package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// show renders groups for comparison.
func show(groups []Group) []string {
	out := []string{}
	for _, g := range groups {
		out = append(out, fmt.Sprintf("%s %q", g.Key, names(g)))
	}
	slices.Sort(out)
	return out
}

func names(g Group) []string {
	out := []string{}
	for _, f := range g.Families {
		out = append(out, f.Name)
	}
	slices.Sort(out)
	return out
}

func TestReadGroups(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
		err  error
	}{
		"empty":                    {`{"status":"success","data":[]}`, []string{}, nil},
		"none":                     {`{"status":"success","data":null}`, []string{}, nil},
		"a group":                  {`{"status":"success","data":[{"labels":{"job":"j","x":""},"last_push_successful":true,"a":{"metrics":[{"labels":{"l":"v"},"value":"1"}]},"push_time_seconds":{},"push_failure_time_seconds":{}}]}`, []string{`{job="j", x=""} ["a"]`}, nil},
		"labels last":              {`{"data":[{"b":[{}],"a":1,"labels":{"job":"j"}},{"labels":{"job":"k"}}],"status":"success"}`, []string{`{job="j"} ["a" "b"]`, `{job="k"} []`}, nil},
		"a family named labels":    {`{"data":[{"labels":{"help":"h","metrics":[{"labels":{"job":"j"}}],"type":"GAUGE"},"a":{}},{"labels":{"job":"k"}}]}`, []string{`{job="k"} []`}, nil},
		"a group without a job":    {`{"data":[{"labels":{"x":"y"}}]}`, []string{}, nil},
		"an error":                 {`{"status":"error","error":"x"}`, nil, errListing},
		"not an object":            {`[]`, nil, errListing},
		"data of another kind":     {`{"data":"x"}`, nil, errListing},
		"a group of another kind":  {`{"data":["x"]}`, nil, errListing},
		"labels of another kind":   {`{"data":[{"labels":"x"}]}`, nil, errListing},
		"nothing":                  {``, nil, io.ErrUnexpectedEOF},
		"cut off between groups":   {`{"data":[{"labels":{"job":"j"}},`, nil, io.ErrUnexpectedEOF},
		"cut off within a group":   {`{"data":[{"labels":{"job":"j"},"a":{"metrics":[`, nil, io.ErrUnexpectedEOF},
		"cut off after the groups": {`{"data":[]`, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readGroups(strings.NewReader(c.in), 1, clock{now: time.Now()})
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := gocmp.Diff(c.want, show(got)); err == nil && diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzReadGroups reads listings that encoding/json wrote, as a Pushgateway's
// are, whole and cut off.
func FuzzReadGroups(f *testing.F) {
	f.Add("x", "y", "family", "help", uint(10))
	f.Add("job", "", "labels", "h", uint(0))
	f.Add("a", "\"\\\n\u2028", "last_push_successful", "\xff", uint(70))
	f.Add("metrics", "[{", "push_time_seconds", "}]", uint(99))
	f.Add("instance", "1.7e+09", "push_time_seconds", "h", uint(50))
	f.Add("instance", "4e+99", "push_failure_time_seconds", "h", uint(60))
	f.Add("instance", "-NaN", "push_time_seconds", "h", uint(61))
	f.Fuzz(func(t *testing.T, name, value, family, help string, cut uint) {
		labels := map[string]string{"job": "j", name: value}
		metrics := map[string]any{"help": help, "metrics": []any{map[string]any{"labels": labels, "value": value}}}
		group := map[string]any{"labels": labels, "last_push_successful": true, family: metrics}
		listing, err := json.Marshal(map[string]any{"status": "success", "data": []any{group, group}})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		got, err := readGroups(bytes.NewReader(listing), 1, clock{now: now})
		if err != nil {
			t.Fatalf("%s: %v", listing, err)
		}
		want := 2
		if family == "labels" || labels["job"] == "" {
			want = 0
		}
		if len(got) != want {
			t.Fatalf("%s: %d groups, want %d", listing, len(got), want)
		}
		for _, g := range got {
			v, ok := g.Key.Get(strings.ToValidUTF8(name, "\ufffd"))
			if utf8.ValidString(name) && utf8.ValidString(value) && (!ok || v != value) {
				t.Errorf("%s: label %q is %q", listing, name, v)
			}
			if !(g.Stamp >= 0) || g.Pushed.After(now) || g.Failed.After(now) || (g.Stamp == 0) != (g.Pushed.IsZero() && g.Failed.IsZero()) {
				t.Errorf("%s: pushed %v, failed %v, stamp %v", listing, g.Pushed, g.Failed, g.Stamp)
			}
			own := family == "last_push_successful" || family == "push_time_seconds" || family == "push_failure_time_seconds"
			if own != (len(g.Families) == 0) || utf8.ValidString(family) && !own && g.Families[0].Name != family {
				t.Errorf("%s: families %q", listing, names(g))
			}
		}
		part := listing[:cut%uint(len(listing))]
		if _, err := readGroups(bytes.NewReader(part), 1, clock{now: time.Now()}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want an unexpected EOF", part, err)
		}
	})
}

func TestListingOfARealPushgateway(t *testing.T) {
	for _, prefix := range []string{"", "/pgw"} {
		up := gatewaytest.Start(t, "--web.route-prefix=/"+strings.TrimPrefix(prefix, "/"))
		u := open(t, Config{URL: up})
		want := []string{}
		for i, k := range nastyKeys() {
			family := fmt.Sprintf("family_%d", i)
			a, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: k, Body: []byte(family + " 1\n")})
			if err != nil || a.Status != http.StatusOK {
				t.Fatalf("%s: %d %s %v", k, a.Status, a.Body, err)
			}
			want = append(want, fmt.Sprintf("%s %q", k, []string{family}))
		}
		slices.SortFunc(want, cmp.Compare[string])
		got, err := u.Groups(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, show(got)); diff != "" {
			t.Errorf("groups (-pushed +listed):\n%s", diff)
		}
		for _, k := range nastyKeys() {
			if a, err := u.Do(t.Context(), Request{Method: http.MethodDelete, Key: k}); err != nil || a.Status != http.StatusAccepted {
				t.Errorf("delete %s: %d %v", k, a.Status, err)
			}
		}
		// Deletes are queued; a push waits for those before it.
		last := key("job", "last")
		if _, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: last}); err != nil {
			t.Fatal(err)
		}
		if got, err := u.Groups(t.Context(), 1); err != nil || len(got) != 1 || got[0].Key.String() != last.String() {
			t.Errorf("after the deletes: %q, %v", show(got), err)
		}
	}
}

func TestListingNotFound(t *testing.T) {
	u := serve(t, http.NotFound)
	if _, err := u.Groups(t.Context(), 1); err == nil || !strings.HasSuffix(err.Error(), "since 1.2") {
		t.Errorf("of a 404: %v", err)
	}
}

func TestListingIsNotKept(t *testing.T) {
	// What is alive is what was allocated while that was counted, too.
	const size, limit = 32 << 20, 16 << 20
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"data":[{"labels":{"job":"j"},"a":{"metrics":[`)
		sample := `{"labels":{"instance":"x","id":"` + strings.Repeat("v", 400) + `"},"value":"1"}`
		for n := 0; n < size; n += len(sample) + 1 {
			_, _ = io.WriteString(w, sample+",")
		}
		_, _ = io.WriteString(w, `{}]}}]}`)
	})
	before := live()
	peak, stop, done := uint64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond): // so that there is time for the listing, too
				peak = max(peak, live())
			}
		}
	}()
	groups, err := u.Groups(t.Context(), 1)
	close(stop)
	<-done
	if err != nil || len(groups) != 1 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	t.Logf("peak %d KiB above the start", (int64(peak)-int64(before))>>10)
	if peak > before+limit {
		t.Errorf("a listing of %d bytes kept %d alive, limit: %d", size, peak-before, limit)
	}
}

// live returns the bytes that survive a collection.
func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
