package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// listed is a listing of one group {job="j", zone="z"} with the given families.
func listed(families ...string) string {
	group := append([]string{`"labels":{"job":"j","zone":"z"}`}, families...)
	return `{"status":"success","data":[{` + strings.Join(group, ",") + `}]}`
}

// timeFamily lists series as labels, value, labels, value…
func timeFamily(name string, series ...string) string {
	var metrics []string
	for i := 0; i < len(series); i += 2 {
		metrics = append(metrics, `{"labels":{`+series[i]+`},"value":`+series[i+1]+`}`)
	}
	return `"` + name + `":{"help":"h","metrics":[` + strings.Join(metrics, ",") + `],"type":"GAUGE"}`
}

const ownLabels = `"instance":"","job":"j","zone":"z"`

func TestTimesOfAGroup(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	pushed := func(series ...string) string { return timeFamily("push_time_seconds", series...) }
	failed := func(series ...string) string { return timeFamily("push_failure_time_seconds", series...) }
	other := `"instance":"","job":"j","zone":"z","x":"y"`
	for name, c := range map[string]struct {
		in             string
		pushed, failed time.Time
		stamp          float64
	}{
		"pushed":               {listed(pushed(ownLabels, `"1.5e+09"`), failed(ownLabels, `"0"`)), at(1_500_000_000), time.Time{}, 1.5e9},
		"a part of a second":   {listed(pushed(ownLabels, `"1.5000000005e+09"`)), at(1_500_000_000).Add(500 * time.Millisecond), time.Time{}, 1.5000000005e9},
		"failed since":         {listed(pushed(ownLabels, `"1.5e+09"`), failed(ownLabels, `"1.6e+09"`)), at(1_500_000_000), at(1_600_000_000), 1.5e9},
		"never succeeded":      {listed(pushed(ownLabels, `"0"`), failed(ownLabels, `"1.6e+09"`)), time.Time{}, at(1_600_000_000), 1.6e9},
		"labels last":          {`{"data":[{` + pushed(ownLabels, `"7"`) + `,"labels":{"job":"j","zone":"z"}}]}`, at(7), time.Time{}, 7},
		"no times":             {listed(`"a":{}`), time.Time{}, time.Time{}, 0},
		"a client's own added": {listed(failed(other, `"1.9e+09"`, ownLabels, `"1.6e+09"`)), time.Time{}, at(1_600_000_000), 1.6e9},
		"only a client's own":  {listed(failed(other, `"1.9e+09"`)), time.Time{}, time.Time{}, 0},
		"labels short of one":  {listed(failed(`"job":"j","zone":"z"`, `"1.9e+09"`, `"instance":"","job":"j"`, `"1.9e+09"`)), time.Time{}, time.Time{}, 0},
		"another instance":     {listed(failed(`"instance":"i","job":"j","zone":"z"`, `"1.9e+09"`)), time.Time{}, time.Time{}, 0},
		"in the future":        {listed(pushed(ownLabels, `"2000000001"`), failed(ownLabels, `"1e+300"`)), now, now, 2000000001},
		"now":                  {listed(pushed(ownLabels, `"2000000000"`)), now, time.Time{}, 2e9},
		"not numbers":          {listed(pushed(ownLabels, `"soon"`), failed(ownLabels, `""`)), time.Time{}, time.Time{}, 0},
		"no times as numbers":  {listed(pushed(ownLabels, `"NaN"`), failed(ownLabels, `"+Inf"`)), time.Time{}, time.Time{}, 0},
		"before 1970":          {listed(pushed(ownLabels, `"-5"`), failed(ownLabels, `"-Inf"`)), time.Time{}, time.Time{}, 0},
		"other JSON":           {listed(pushed(ownLabels, `{"a":[1]}`, ownLabels, `[]`), failed(`"job":5`, `null`)), time.Time{}, time.Time{}, 0},
		"a histogram":          {listed(`"push_failure_time_seconds":{"metrics":[{"labels":{` + ownLabels + `},"buckets":{"1":"2"},"sum":"1"}]}`), time.Time{}, time.Time{}, 0},
		"families that are no": {listed(`"push_time_seconds":5,"push_failure_time_seconds":{"metrics":"x"}`), time.Time{}, time.Time{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			groups, err := readGroups(strings.NewReader(c.in), 1, clock{now: now})
			if err != nil || len(groups) != 1 {
				t.Fatalf("%v, %v", groups, err)
			}
			g := groups[0]
			if !g.Pushed.Equal(c.pushed) || !g.Failed.Equal(c.failed) || g.Stamp != c.stamp {
				t.Errorf("pushed %v, failed %v, stamp %v, want %v, %v, %v", g.Pushed, g.Failed, g.Stamp, c.pushed, c.failed, c.stamp)
			}
			for _, f := range g.Families {
				if f.Name != "a" {
					t.Errorf("family %s", f.Name)
				}
			}
		})
	}
}

func TestInstanceOfTheGroup(t *testing.T) {
	now := clock{now: time.Now()}
	for labels, want := range map[string]float64{
		`"instance":"i","job":"j"`:               1,
		`"instance":"","job":"j"`:                0,
		`"job":"j"`:                              0,
		`"instance":"i","job":"j","quantile":""`: 0,
	} {
		in := `{"data":[{"labels":{"job":"j","instance":"i"},` + timeFamily("push_time_seconds", labels, `"1"`) + `}]}`
		groups, err := readGroups(strings.NewReader(in), 1, now)
		if err != nil || len(groups) != 1 || groups[0].Stamp != want {
			t.Errorf("%s: %+v, %v, want %v", labels, groups, err, want)
		}
	}
}

func TestLastSuccess(t *testing.T) {
	for name, want := range map[string]bool{
		"last_success_timestamp_seconds": true, "job_last_success": true, "last_successful": true,
		"last_push_successful": false, "success": false, "labels": false,
	} {
		in := `{"data":[{"labels":{"job":"j"},"` + name + `":{"metrics":[]},"z":{}}]}`
		if name == "labels" {
			in = `{"data":[{"labels":{"job":"last_success"},"z":{}}]}`
		}
		groups, err := readGroups(strings.NewReader(in), 1, clock{now: time.Now()})
		if err != nil || len(groups) != 1 || groups[0].Success != want {
			t.Errorf("%s: %+v, %v, want %v", name, groups, err, want)
		}
	}
}

// TestClockOfTheUpstream lists a group that was pushed an hour ago by the clock
// of an upstream that is off.
func TestClockOfTheUpstream(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 300e6, time.UTC)
	for off, corrected := range map[time.Duration]bool{
		0: false, -time.Second: false, time.Second: false, -3 * time.Second: true, 3 * time.Second: true,
		-2 * time.Hour: true, 2 * time.Hour: true,
	} {
		theirs := now.Add(off)
		h := http.Header{"Date": {theirs.Format(http.TimeFormat)}}
		stamp := float64(theirs.Add(-time.Hour).UnixMilli()) / 1e3
		age := now.Sub(clockOf(h, now).time(stamp))
		most, least := time.Hour, time.Hour-time.Second // younger, by the part of a second that Date leaves out
		if !corrected {
			most, least = time.Hour-off, time.Hour-off
		}
		if age < least-time.Millisecond || age > most+time.Millisecond {
			t.Errorf("%v off: %v old, want from %v to %v", off, age, least, most)
		}
		if got := clockOf(h, now).time(float64(theirs.UnixMilli()) / 1e3); got.After(now) {
			t.Errorf("%v off: just pushed is %v, in the future", off, got.Sub(now))
		}
	}
	for _, date := range []string{"", "yesterday"} {
		if got := clockOf(http.Header{"Date": {date}}, now); got != (clock{now: now}) {
			t.Errorf("Date %q: %+v", date, got)
		}
	}
}

// TestListingCorrectsTheClock has a real Pushgateway's listing come with another
// Date.
func TestListingCorrectsTheClock(t *testing.T) {
	behind := open(t, Config{URL: gatewaytest.Start(t)})
	if _, err := behind.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")}); err != nil {
		t.Fatal(err)
	}
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Get(behind.at(r.URL.Path).String())
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		_, _ = io.Copy(w, resp.Body)
	})
	plain, err := behind.Groups(t.Context(), 1)
	if err != nil || len(plain) != 1 {
		t.Fatal(plain, err)
	}
	groups, err := u.Groups(t.Context(), 1)
	if err != nil || len(groups) != 1 {
		t.Fatal(groups, err)
	}
	if d := plain[0].Pushed.Sub(groups[0].Pushed); d < 59*time.Minute || d > 61*time.Minute {
		t.Errorf("%v apart, for clocks an hour apart", d)
	}
	if plain[0].Stamp != groups[0].Stamp {
		t.Errorf("stamps %v and %v", plain[0].Stamp, groups[0].Stamp)
	}
}

// TestTimesOfARealPushgateway pushes to groups for better and for worse, and reads
// what became of their times.
func TestTimesOfARealPushgateway(t *testing.T) {
	u := open(t, Config{URL: gatewaytest.Start(t)})
	do := func(method string, k wire.Key, body string, want int) {
		t.Helper()
		if a, err := u.Do(t.Context(), Request{Method: method, Key: k, Body: []byte(body)}); err != nil || a.Status != want {
			t.Fatalf("%s: %d %s %v", k, a.Status, a.Body, err)
		}
	}
	list := func() map[string]Group {
		t.Helper()
		groups, err := u.Groups(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]Group{}
		for _, g := range groups {
			out[g.Key.String()] = g
		}
		return out
	}
	start := time.Now().Add(-time.Millisecond)
	since := func(what string, got time.Time, want bool) {
		t.Helper()
		if want && (got.Before(start) || got.After(time.Now())) || !want && !got.IsZero() {
			t.Errorf("%s: %v", what, got)
		}
	}
	good, bad, forged := key("job", "good"), key("job", "bad", "instance", "i"), key("job", "forged", "zone", "a/b")
	do(http.MethodPut, good, "my_last_success_seconds 1\n", http.StatusOK)
	do(http.MethodPut, bad, "a 1 1\n", http.StatusBadRequest)
	do(http.MethodPut, forged, "push_time_seconds 5\n", http.StatusOK)
	do(http.MethodPost, forged, "# TYPE push_failure_time_seconds gauge\npush_failure_time_seconds 5\npush_failure_time_seconds{x=\"y\"} 4e+09\n", http.StatusOK)
	first := list()
	if len(first) != 3 {
		t.Fatalf("%d groups: %v", len(first), first)
	}
	g := first[good.String()]
	since("good pushed", g.Pushed, true)
	since("good failed", g.Failed, false)
	if !g.Success || fmt.Sprint(names(g)) != "[my_last_success_seconds]" {
		t.Errorf("good: %+v", g)
	}
	g = first[bad.String()]
	since("bad pushed", g.Pushed, false)
	since("bad failed", g.Failed, true)
	g = first[forged.String()]
	since("forged pushed", g.Pushed, true)
	if !g.Failed.Equal(time.Unix(5, 0)) || len(g.Families) != 0 {
		t.Errorf("forged: %+v", g)
	}

	do(http.MethodPost, good, "", http.StatusOK)
	do(http.MethodPut, forged, "a 1 1\n", http.StatusBadRequest)
	second := list()
	for name, same := range map[string]bool{good.String(): false, bad.String(): true, forged.String(): true} {
		if (first[name].Stamp == second[name].Stamp) != same || second[name].Stamp < first[name].Stamp {
			t.Errorf("%s: stamps %v and then %v", name, first[name].Stamp, second[name].Stamp)
		}
	}
	since("forged failed", second[forged.String()].Failed, true)
}
