package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestALongLineIsSkipped(t *testing.T) {
	head, tail := `{"time":"2026-03-04T05:06:07Z","outcome":"passed","job":"`, `"}`
	for size, want := range map[int]int{longestLine - 1: 2, longestLine: 2, longestLine + 1: 1, 3 * longestLine: 1} {
		line := head + strings.Repeat("x", size-len(head)-len(tail)) + tail
		var skipped Skipped
		n := 0
		for _, err := range Scan(strings.NewReader(line+"\n"+head+tail+"\n"), "log", &skipped) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want || skipped.Lines != 2-want {
			t.Errorf("%d bytes: %d records and %d skipped, want %d records", size, n, skipped.Lines, want)
		}
	}
}

// A log that is rotated while it is read yields every record once.
func TestRotatedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := OpenFile(path, Rotation{MaxSize: 300})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := New(f, func(err error) { t.Error(err) })
	write := func(n int) { l.Write(Record{Time: time.Unix(int64(n), 0), Outcome: "passed", Samples: n}) }
	for n := range 20 {
		write(n)
	}
	var skipped Skipped
	next := 0
	for line, err := range Read([]string{path}, &skipped) {
		if err != nil || line.Samples != next {
			t.Fatalf("record %d, want %d, %v", line.Samples, next, err)
		}
		if next++; next <= 20 {
			write(100)
			if next == 20 {
				break
			}
		}
	}
	if next != 20 || skipped.Lines != 0 {
		t.Errorf("%d records, %s", next, skipped.String())
	}
}

// FuzzScan holds the reader to encoding/json, line by line: whatever stands in a
// file, the records that are whole are read and the rest is counted.
func FuzzScan(f *testing.F) {
	whole := `{"time":"2026-03-04T05:06:07Z","outcome":"passed","findings":[{"id":"a","count":1}]}`
	for _, seed := range []string{"", whole, whole + "\n", whole[:20] + "\n" + whole, "\n\n" + whole + "\r\n", "\x00\xff\n", `{"time":1}`, whole + whole} {
		f.Add([]byte(seed))
	}
	b, err := os.ReadFile("../../cmd/pushguard/testdata/audit/audit.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		want, bad := 0, 0
		for part := range bytes.SplitSeq(data, []byte("\n")) {
			if part = bytes.TrimSpace(part); len(part) == 0 {
				continue
			}
			var r Record
			if json.Unmarshal(part, &r) == nil && !r.Time.IsZero() && r.Outcome != "" {
				want++
			} else {
				bad++
			}
		}
		var skipped Skipped
		got := 0
		for line, err := range Scan(bytes.NewReader(data), "log", &skipped) {
			if err != nil || line.Outcome == "" {
				t.Fatalf("%+v, %v", line, err)
			}
			got++
		}
		if got != want || skipped.Lines != bad || len(skipped.Places) > maxPlaces {
			t.Errorf("%d records and %d skipped, want %d and %d", got, skipped.Lines, want, bad)
		}
	})
}
