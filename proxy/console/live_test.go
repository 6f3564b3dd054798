package console_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, of connections that have no buffer: a reader who takes
// nothing is felt at once, and a bubble's clock knows when all wait.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// watched is a world behind a server in memory, in the bubble of the test.
func watched(t *testing.T) (*world, *http.Client) {
	t.Helper()
	w := newWorld(t)
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: w}
	go func() { _ = server.Serve(p) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return mine, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		w.console.Close()
		if err := server.Shutdown(context.Background()); err != nil { // when all streams have ended
			t.Error(err)
		}
	})
	return w, &http.Client{Transport: transport}
}

// look opens a stream.
func look(t *testing.T, client *http.Client, query string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://guard/guard/live?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestStreamBeatsAndEnds reads a stream of a page that does not change for as long as it
// lasts, by the clock of a bubble: a beat every 15 seconds, and 15 minutes in all.
func TestStreamBeatsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := watched(t)
		begun := time.Now()
		a := look(t, client, "of=audit")
		defer a.Body.Close()
		lines, beats := bufio.NewScanner(a.Body), 0
		for lines.Scan() {
			switch text := lines.Text(); text {
			case "event: here":
				beats++
				if since := time.Since(begun); since != time.Duration(beats)*15*time.Second {
					t.Fatalf("beat %d after %v", beats, since)
				}
			case "retry: 3000", "data:", "":
			default:
				t.Fatalf("a line of a page that does not change: %q", text)
			}
		}
		if lasted := time.Since(begun); lasted != 15*time.Minute || beats < 59 {
			t.Errorf("the stream ended after %v and %d beats", lasted, beats)
		}
	})
}

// TestSlowReaderIsDropped has 32 readers who take the head of their stream and no more:
// ten seconds after the first message that they do not take their places are free.
func TestSlowReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := watched(t)
		for range 32 {
			a := look(t, client, "of=audit")
			if a.StatusCode != http.StatusOK {
				t.Fatalf("answered %d", a.StatusCode)
			}
			defer a.Body.Close()
			if text, err := bufio.NewReader(a.Body).ReadString('\n'); err != nil || text != "retry: 3000\n" {
				t.Fatal(text, err)
			}
		}
		full := func() bool {
			a := look(t, client, "of=audit")
			defer a.Body.Close()
			return a.StatusCode == http.StatusServiceUnavailable
		}
		// A client's transport reads ahead: enough is sent to be more than it takes.
		for i := range 100 {
			w.push(t, 200, fmt.Sprintf("job_%d_%s", i, strings.Repeat("x", 400)), "rows{run_id=\"1\"} 1\n")
			time.Sleep(110 * time.Millisecond) // or they go together
			if i == 0 && !full() {
				t.Error("a reader was dropped before it was slow")
			}
		}
		time.Sleep(10 * time.Second)
		if full() {
			t.Error("readers who take nothing keep their places")
		}
	})
}

// end is the end of the audit log as a page has it that is loaded now.
func end(t *testing.T, w *world) string {
	t.Helper()
	_, from, _ := strings.Cut(w.get(t, http.StatusOK, "/guard/audit"), "live?from=")
	from, _, ok := strings.Cut(from, "&")
	if !ok {
		t.Fatal("the page has no stream")
	}
	return from
}

// TestComingAgain goes on from the last message that was read: nothing comes twice, and
// nothing is left out.
func TestComingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := watched(t)
		read := func(query string, want ...string) (id string) {
			t.Helper()
			a := look(t, client, query)
			defer a.Body.Close()
			lines := bufio.NewScanner(a.Body)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
					id = text
				}
				if strings.HasPrefix(lines.Text(), "data: ") {
					for i := range 4 {
						name := fmt.Sprint("broken_", i)
						if has := strings.Contains(lines.Text(), name); has != strings.Contains(strings.Join(want, " "), name) {
							t.Errorf("%s: %s is there: %t", query, name, has)
						}
					}
					return id
				}
			}
			t.Fatalf("%s: no message", query)
			return ""
		}
		w.push(t, 422, "broken_0", tooMany)
		synctest.Wait()
		from := end(t, w)
		w.push(t, 422, "broken_1", tooMany)
		synctest.Wait()
		last := read("of=audit&from="+from, "broken_1")
		w.push(t, 422, "broken_2", tooMany)
		w.push(t, 422, "broken_3", tooMany)
		synctest.Wait()
		read("of=audit&from="+from+"&last="+last, "broken_2", "broken_3")
	})
}

// TestComingAgainAfterARestart has a page come to a guard that was started while it looked
// away: it is sent all records since, though that guard has counted further, or less far.
func TestComingAgainAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := newWorld(t)
		for range 3 {
			before.push(t, 200, "passing", "rows{run_id=\"1\"} 1\n")
		}
		synctest.Wait()
		from := end(t, before)
		time.Sleep(time.Second)
		w, client := watched(t)
		for i := range 5 {
			w.push(t, 422, fmt.Sprint("broken_", i), tooMany)
		}
		synctest.Wait()
		a := look(t, client, "of=audit&from="+from)
		defer a.Body.Close()
		lines := bufio.NewScanner(a.Body)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			for i := 0; ok && i < 5; i++ {
				if !strings.Contains(data, fmt.Sprint("broken_", i)) {
					t.Errorf("broken_%d is missing", i)
				}
			}
			if ok {
				return
			}
		}
		t.Error("nothing came")
	})
}

// TestMissedRecordsAreTold writes more records at once than a message has: the reader
// hears how many are not there.
func TestMissedRecordsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, client := watched(t)
		from := end(t, w)
		for i := range 60 {
			w.push(t, 200, fmt.Sprint("changed_", i, "_"), "rows{run_id=\"1\"} 1\n")
		}
		for i := range 10 {
			w.push(t, 422, fmt.Sprint("broken_", i), tooMany)
		}
		synctest.Wait() // the console has them all
		a := look(t, client, "of=audit&from="+from+"&outcome=changed")
		defer a.Body.Close()
		lines := bufio.NewReader(a.Body)
		for {
			text, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if data, ok := strings.CutPrefix(text, "data: "); ok {
				if !strings.Contains(data, "10 records came too fast") || !strings.Contains(data, `"missed":10`) || strings.Contains(data, "changed_9_") || !strings.Contains(data, "changed_10_") {
					t.Errorf("60 records, of which a message has 50: %s", data)
				}
				return
			}
		}
	})
}

// TestGroupsByThePage turns the pages of a job's 250 groups.
func TestGroupsByThePage(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(http.MethodPut, fmt.Sprintf("/metrics/job/trial_many/part/%03d", i), strings.NewReader("rows 1\n")))
		if r.Code != http.StatusOK {
			t.Fatalf("push %d: %d %s", i, r.Code, r.Body)
		}
	}
	for _, tc := range []struct {
		query     string
		has, lack []string
	}{
		{"", []string{"1–100 of 250 groups", "part=&#34;000", "groups=2&amp;name"}, []string{"part=&#34;100", "older"}},
		{"&groups=2", []string{"101–200 of 250", "part=&#34;100", "part=&#34;199", "groups=1&amp;name", "groups=3&amp;name"}, []string{"part=&#34;099", "part=&#34;200"}},
		{"&groups=3", []string{"201–250 of 250", "part=&#34;249"}, []string{"part=&#34;199", "newer"}},
		{"&groups=99999999999999999999", []string{"201–250 of 250"}, []string{"newer"}},
		{"&groups=-1", []string{"1–100 of 250"}, nil},
	} {
		page := w.get(t, http.StatusOK, "/guard/job?name=trial_many"+tc.query)
		for _, text := range tc.has {
			if !strings.Contains(page, text) {
				t.Errorf("%q has no %q", tc.query, text)
			}
		}
		for _, text := range tc.lack {
			if strings.Contains(page, text) {
				t.Errorf("%q has %q", tc.query, text)
			}
		}
	}
}
