package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// The draft of what a real Pushgateway holds has its jobs, and names in UTF-8 as they
// are if it knows them.
func TestLearnFromAPushgateway(t *testing.T) {
	at := gatewaytest.Start(t)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, at.JoinPath("/metrics/job/nightly/team/data").String(), strings.NewReader("rows{table=\"orders\"} 1\n"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("push: %v, %v", resp, err)
	}
	resp.Body.Close()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"learn", "--from", at.String()}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, want := range []string{"- job: nightly\n", "  - table  # 1 value: \"orders\"\n", "  - team  # 1 value: \"data\"\n", "    groups: 100  # seen: 1\n", "stale_after: 7d"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if !strings.HasPrefix(errs.String(), "3 series of 1 job read, ") {
		t.Errorf("stderr is %q", &errs)
	}
}

// Who leaves out the scheme is told so; a file that is not there is one whatever its name.
func TestLearnFromWhatIsNotThere(t *testing.T) {
	const scheme = "there is no such file, and a URL begins with http:// or https://, try --help"
	for from, want := range map[string]string{
		"localhost:9091":                 `--from="localhost:9091": ` + scheme,
		"[::1]:9091/prefix":              `--from="[::1]:9091/prefix": ` + scheme,
		"HTTP://localhost":               `--from="HTTP://localhost": ` + scheme,
		"etl:secret@guard:9091":          `--from="…@guard:9091": ` + scheme,
		"none.prom":                      "open none.prom: no such file or directory",
		"audit-2026-03-04T05:06:07.json": "open audit-2026-03-04T05:06:07.json: no such file or directory",
	} {
		if code, stdout, stderr := command(t, "learn", "--from", from); code == 0 || stdout != "" || stderr != "pushguard: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, %q", from, code, stdout, stderr)
		}
	}
}

// A reading that is interrupted ends at once, and leaves no half of a draft.
func TestLearnIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endless := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("a{job=\"x\"} 1\n"))
		http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	})}
	go endless.Serve(l)
	defer endless.Close()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"learn", "--from", "http://" + l.Addr().String()}, nil, &out, &errs); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if out.Len() > 0 || !strings.Contains(errs.String(), "context canceled") {
		t.Errorf("stdout %q, stderr %q", &out, &errs)
	}
}

// Names in UTF-8 are asked for as they are; escaped ones would be allowed in place of
// those that clients push.
func TestLearnAsksForNamesAsTheyAre(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/prefix/metrics" || !strings.Contains(r.Header.Get("Accept"), "escaping=allow-utf-8") {
			http.Error(w, "no", http.StatusNotAcceptable)
			return
		}
		io.WriteString(w, "rows{job=\"x\",\"größe.cm\"=\"7\"} 1\n")
	}))
	defer page.Close()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"learn", "--from", page.URL + "/prefix"}, nil, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if want := "  - \"größe\\\\.cm\"  # 1 value: \"7\"\n"; !strings.Contains(out.String(), want) {
		t.Errorf("%q is not in\n%s", want, &out)
	}
}
