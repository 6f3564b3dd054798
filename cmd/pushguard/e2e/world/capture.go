package world

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Capture is one recorded request of a real client, with what real Pushgateways
// answered; testdata/captures/README.md explains the fields.
type Capture struct {
	Name        string
	Request     Request
	Pushgateway map[string]Recorded // by version
}

// Recorded is what a Pushgateway answered and held afterwards.
type Recorded struct {
	Status int
	Body   string
	Groups []struct {
		Labels   map[string]string
		Families int
		Pushed   bool `json:"last_push_successful"`
	}
}

// Captures reads every capture, with the requests as they are to be replayed:
// without Expect and Host, and framed as they were.
func Captures(t testing.TB) []Capture {
	t.Helper()
	paths, err := filepath.Glob(Testdata("captures", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	captures := make([]Capture, 0, len(paths))
	for _, path := range paths {
		captures = append(captures, readCapture(t, path))
	}
	return captures
}

func readCapture(t testing.TB, path string) Capture {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Name    string
		Request struct {
			Method, Target string
			HTTPVersion    string `json:"http_version"`
			Headers        [][2]string
			Framing        string `json:"body_framing"`
			Body           string `json:"body_base64"`
		}
		Pushgateway map[string]Recorded
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	r := file.Request
	body, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	request := Request{
		Method: r.Method, Target: r.Target, Proto: r.HTTPVersion, Body: string(body),
		Chunked: r.Framing == "chunked", NoFrame: r.Framing != "chunked",
	}
	for _, h := range r.Headers {
		switch strings.ToLower(h[0]) {
		case "expect", "host", "transfer-encoding":
		default:
			request.Headers = append(request.Headers, h)
		}
	}
	return Capture{Name: file.Name, Request: request, Pushgateway: file.Pushgateway}
}
