package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// kills is how often a test kills a guard: a few times, or as PUSHGUARD_KILLS says.
func kills(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("PUSHGUARD_KILLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("PUSHGUARD_KILLS=%q, want a number above 0", text)
	}
	return n
}

// pushedOnce is what a pusher sends once, and again until it is answered.
type pushedOnce struct {
	method   string
	families map[string]float64 // of the snapshot
	rows     int                // what a counter grows by; 0: it is no counter
	key      string             // the counter's Idempotency-Key
}

// pusher pushes to a job of its own and to a counter of its own, and knows what must be
// there of both.
type pusher struct {
	name   string
	random *rand.Rand
	sent   int
	holds  map[string]float64 // what was answered
	rows   int
	open   *pushedOnce // what was not
}

// next draws a write.
func (p *pusher) next() *pushedOnce {
	p.sent++
	if p.random.IntN(3) == 0 {
		return &pushedOnce{method: "POST", rows: 1 + p.random.IntN(5), key: fmt.Sprint(p.name, "-", p.sent)}
	}
	w := &pushedOnce{method: []string{"PUT", "POST", "POST", "DELETE"}[p.random.IntN(4)], families: map[string]float64{}}
	for _, f := range []string{"x", "y", "z"} {
		if w.method != "DELETE" && p.random.IntN(2) == 0 {
			w.families[f] = float64(p.sent)
		}
	}
	return w
}

// request renders a write.
func (p *pusher) request(t *testing.T, guard *world.Process, w *pushedOnce) *http.Request {
	path, body := "/metrics/job/"+p.name, ""
	for f, v := range w.families {
		body += fmt.Sprintf("# TYPE %s gauge\n%s %v\n", f, f, v)
	}
	if w.rows > 0 {
		path, body = "/metrics/job/counts-"+p.name, fmt.Sprintf("# TYPE rows_total counter\nrows_total %d\n", w.rows)
	}
	r, err := http.NewRequestWithContext(t.Context(), w.method, guard.URL+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
	}
	if w.key != "" {
		r.Header.Set("Idempotency-Key", w.key)
	}
	return r
}

// after is what the job holds after a write.
func (p *pusher) after(w *pushedOnce) (holds map[string]float64, rows int) {
	model := map[string]map[string]float64{p.name: maps.Clone(p.holds)}
	if w.rows == 0 {
		apply(model, p.name, w.method, w.families)
	}
	return model[p.name], p.rows + w.rows
}

// push sends until the guard is gone, now and then what has to be refused.
func (p *pusher) push(t *testing.T, client *http.Client, guard *world.Process) {
	for {
		if p.open == nil {
			p.open = p.next()
		}
		status, err := statusOf(client, p.request(t, guard, p.open))
		if err != nil {
			return
		}
		if status != http.StatusOK && status != http.StatusAccepted {
			t.Errorf("%s of %s: %d", p.open.method, p.name, status)
		}
		p.holds, p.rows = p.after(p.open)
		p.open = nil
		if p.sent%7 > 0 {
			continue
		}
		const refused = "# TYPE refused gauge\nrefused{a=\"1\",b=\"2\",c=\"3\",d=\"4\",e=\"5\",f=\"6\"} 1\n"
		r, err := http.NewRequestWithContext(t.Context(), "PUT", guard.URL+"/metrics/job/"+p.name, strings.NewReader(refused))
		if err != nil {
			t.Error(err)
			return
		}
		if status, err = statusOf(client, r); err == nil && status != http.StatusUnprocessableEntity {
			t.Errorf("what the policy refuses: %d", status)
		}
	}
}

func statusOf(client *http.Client, r *http.Request) (int, error) {
	response, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// check compares a page with what was answered; what was not may be there, too.
func (p *pusher) check(t *testing.T, page world.Samples) {
	t.Helper()
	holds, rows := map[string]float64{}, int(page[fmt.Sprintf("rows_total{job=%q}", "counts-"+p.name)])
	for _, f := range []string{"x", "y", "z"} {
		if v, found := page[fmt.Sprintf("%s{job=%q}", f, p.name)]; found {
			holds[f] = v
		}
	}
	if maps.Equal(holds, p.holds) && rows == p.rows {
		return
	}
	if p.open != nil {
		if h, r := p.after(p.open); maps.Equal(holds, h) && rows == r {
			return
		}
	}
	t.Errorf("%s is %v and counts %d; answered were %v and %d, not answered is %+v", p.name, holds, rows, p.holds, p.rows, p.open)
}

// TestEverythingOutlivesKills kills a guard that keeps the snapshots itself at random
// moments while jobs push, some of them while it starts. Whatever was answered is there
// when it is back: snapshots, and counters to the last increment, also where the disk is
// synced in the background; what the process had handed to the system is not lost with
// the process. What was refused is never there. A push whose answer was cut off is there
// whole or not at all, and sent again counts once.
func TestEverythingOutlivesKills(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"always", "interval"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			killAtRandom(t, "--state.sync="+mode, kills(t, 8))
		})
	}
}

func killAtRandom(t *testing.T, mode string, kills int) {
	options := world.GuardOptions{
		Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, counters: {route: totals}, limits: {label_limit: 5}}\n"),
		Flags:  []string{"--state.dir=" + t.TempDir(), mode, "--state.sync-interval=100ms"},
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	guard := world.Guard(t, options)
	options.Addr = guard.Addr
	write(t, guard, "PUT", "/metrics/job/first", "", 200) // no page is empty, however soon the guard is killed
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	t.Cleanup(client.CloseIdleConnections)
	var all []*pusher
	for i := range 4 {
		all = append(all, &pusher{name: fmt.Sprint("job-", i), random: rand.New(rand.NewPCG(seed, uint64(1+i)))})
	}
	open := 0
	for round := range kills {
		killed := guard
		time.AfterFunc(time.Duration(random.IntN(200))*time.Millisecond, killed.Kill)
		var pushing sync.WaitGroup
		for _, p := range all {
			pushing.Go(func() { p.push(t, client, killed) })
		}
		pushing.Wait()
		killed.Kill()
		if round%4 == 3 {
			world.KilledStart(t, options, time.Duration(random.IntN(60))*time.Millisecond)
		}
		guard = world.Guard(t, options)
		page := guard.Scrape(t, "")
		for _, p := range all {
			p.check(t, page)
			if p.open != nil {
				open++
			}
		}
		if slices.Contains(page.Names(), "refused") {
			t.Error("what was refused is there")
		}
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}
	sent := 0
	for _, p := range all {
		sent += p.sent
	}
	t.Logf("%d kills, %d writes, of which %d were cut off", kills, sent, open)
}

// TestDamageIsNamed spoils each log of a guard that was killed in its middle: what is whole
// is there again, and each is named and set aside.
func TestDamageIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	options := world.GuardOptions{
		Policy: world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce, counters: {route: totals}}\n"),
		Flags:  []string{"--state.dir=" + dir},
	}
	guard := world.Guard(t, options)
	const groups = 50
	for i := range groups {
		mustPush(t, guard, fmt.Sprint("/metrics/job/job-", i), "# TYPE rows gauge\nrows 1\n# TYPE done counter\ndone_total 1\n")
	}
	guard.Kill()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var spoiled []string
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < 10*groups {
			continue // it holds nothing of the groups
		}
		text[len(text)/2] ^= 0xff
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		spoiled = append(spoiled, name)
	}
	if len(spoiled) < 3 {
		t.Fatalf("%q are those of the ledger, the counters and the groups? all are %q", spoiled, logs)
	}
	guard = world.Guard(t, options)
	for _, name := range spoiled {
		if said := guard.Logs(); !strings.Contains(said, name) {
			t.Errorf("the log does not name %s", name)
		}
		if _, err := os.Stat(name + ".damaged"); err != nil {
			t.Errorf("it was not set aside: %v", err)
		}
	}
	if got := own(t, guard, "pushguard_state_damages"); int(got) != len(spoiled) {
		t.Errorf("pushguard_state_damages is %v, want %d", got, len(spoiled))
	}
	left := 0
	for series := range guard.Scrape(t, "") {
		if strings.HasPrefix(series, "rows{") {
			left++
		}
	}
	if left == 0 || left == groups {
		t.Errorf("%d of %d groups are there, want all but some", left, groups)
	}
}
