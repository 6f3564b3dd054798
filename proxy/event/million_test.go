package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/event/eventtest"
)

// million is how many records are delivered, while the event log is killed twice
// and the guard once. PUSHGUARD_EVENTS names another number.
func million(t testing.TB) int {
	t.Helper()
	if text := os.Getenv("PUSHGUARD_EVENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 1_000_000
}

// deliver has a guard add n records, which is killed in their midst, to a server
// that is killed a quarter and three quarters of the way. It returns how many there
// are, or a few more.
func deliver(t *testing.T, target string, server *eventtest.Server, begun time.Time, n int) int {
	dir := t.TempDir()
	c := startChild(t, dir, target, begun, 1)
	c.until(t, n/4)
	server.Kill()
	c.until(t, n/4+n/20)
	server.Start(t)
	c.until(t, n/2)
	added := c.kill()
	// The record after the last that it told of may be kept, too: it comes again.
	c = startChild(t, dir, target, begun, added+1)
	c.until(t, 3*n/4)
	server.Kill()
	c.until(t, 3*n/4+n/20)
	server.Start(t)
	c.until(t, n)
	added = c.kill()
	t.Logf("%d records added in %v, one commit each", added, time.Since(begun))

	c = startChild(t, dir, target, begun, added+1) // to deliver what is left, and a little more
	var told sync.WaitGroup
	told.Go(func() {
		for c.out.Scan() {
		}
	})
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		told.Wait() // Wait closes what it reads
		_ = c.cmd.Wait()
	})
	return added
}

// TestMillionToClickhouse: every id is there, and none twice once the table has
// deduplicated.
func TestMillionToClickhouse(t *testing.T) {
	ch := eventtest.Clickhouse(t)
	ch.Query(t, "CREATE TABLE default.events (event_id FixedString(32), kind String, job String) ENGINE = ReplacingMergeTree ORDER BY event_id")
	n := deliver(t, "clickhouse+"+ch.URL+"/default/events", ch, time.Now(), million(t))
	// The numbers are the text of the ids.
	const number = "toUInt64(unhex(toString(event_id)))"
	counted := fmt.Sprintf("SELECT uniqExact(event_id), max(%s) FROM default.events WHERE %[1]s <= %d", number, n)
	eventually(t, func() error {
		if got, want := ch.Query(t, counted), fmt.Sprintf("%d\t%d\n", n, n); got != want {
			return fmt.Errorf("the table has %q, want %q", got, want)
		}
		return nil
	})
	rows := strings.TrimSpace(ch.Query(t, fmt.Sprintf("SELECT count() FROM default.events WHERE %s <= %d", number, n)))
	once := strings.TrimSpace(ch.Query(t, fmt.Sprintf("SELECT count() FROM (SELECT event_id FROM default.events FINAL) WHERE %s <= %d", number, n)))
	if once != strconv.Itoa(n) {
		t.Errorf("%s rows are left of %d records", once, n)
	}
	t.Logf("%d records: %s rows before deduplication, %s after", n, rows, once)
}

// TestMillionToLoki: every id is there, once.
func TestMillionToLoki(t *testing.T) {
	if os.Getenv("PUSHGUARD_LOKI") != "1" {
		t.Skip("Loki is built by make loki and tested by make test-loki")
	}
	loki := eventtest.Loki(t)
	begun := time.Now()
	n := deliver(t, "loki+"+loki.URL, loki, begun, million(t))
	seen := make([]int, n+1)
	at, last := begun.UnixNano(), 0
	for deadline := time.Now().Add(10 * time.Minute); last < n && time.Now().Before(deadline); {
		entries := lokiEntries(t, loki.URL, at)
		for _, e := range entries {
			if e.number <= n {
				seen[e.number]++
				last = max(last, e.number)
			}
			at = max(at, e.ns)
		}
		if len(entries) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		if len(entries) > 0 {
			at++ // a record has a nanosecond of its own
		}
	}
	lost, twice := 0, 0
	for _, times := range seen[1:] {
		switch {
		case times == 0:
			lost++
		case times > 1:
			twice++
		}
	}
	if lost > 0 || twice > 0 {
		t.Errorf("of %d records %d are not there and %d are twice", n, lost, twice)
	}
}

type lokiLine struct {
	ns     int64
	number int
}

// lokiEntries are some records from a time on, in order.
func lokiEntries(t *testing.T, server string, from int64) []lokiLine {
	t.Helper()
	const page = 100_000
	resp, err := http.Get(fmt.Sprintf("%s/loki/api/v1/query_range?query=%s&direction=forward&limit=%d&start=%d&end=%d",
		server, url.QueryEscape(`{source="pushguard"}`), page, from, time.Now().Add(time.Hour).UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, status %d: %.300s", err, resp.StatusCode, b)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Values [][2]json.RawMessage `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	var out []lokiLine
	for _, r := range answer.Data.Result {
		for _, v := range r.Values {
			var ns, line string
			var record Record
			if json.Unmarshal(v[0], &ns) != nil || json.Unmarshal(v[1], &line) != nil || json.Unmarshal([]byte(line), &record) != nil {
				t.Fatalf("%s", v)
			}
			at, _ := strconv.ParseInt(ns, 10, 64)
			number, err := strconv.Atoi(strings.TrimLeft(string(record.ID[:]), "0"))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, lokiLine{at, number})
		}
	}
	return out
}
