package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPages walks the pages of a log that is rotated between them, of every size: each
// record that was there comes once, newest first.
func TestPages(t *testing.T) {
	for _, size := range []int{1, 2, 7, 39, 40, 41, 1000} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		f, err := OpenFile(path, Rotation{MaxSize: 1500})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l := New(f, func(err error) { t.Error(err) })
		begin := time.Now().Add(-time.Hour)
		var want []string
		for i := range 40 {
			// Some came at one time, and some were written before what came earlier.
			at := begin.Add(time.Duration(i/3) * time.Second)
			if i%10 == 9 {
				at = at.Add(-2 * time.Second)
			}
			name := fmt.Sprint("j", i)
			l.Write(Record{Time: at, Job: name, Outcome: "passed"})
			l.Write(Record{Time: at, Job: "other", Outcome: "passed"})
			want = append(want, fmt.Sprintf("%020d %s", at.UnixNano(), name))
		}
		slices.Sort(want)
		var got []string
		cursor, pages := "", 0
		for {
			page, err := readPage(t.Context(), path, &Filter{Job: regexp.MustCompile("^j")}, cursor, size)
			if err != nil || len(page.Records) > size {
				t.Fatalf("%d records, %v", len(page.Records), err)
			}
			pages++
			last := ""
			for _, text := range page.Records {
				r, ok := parse(text)
				key := fmt.Sprintf("%020d", r.Time.UnixNano())
				if !ok || last != "" && key > last {
					t.Errorf("%s after %s", text, last)
				}
				last = key
				got = append(got, key+" "+r.Job)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
			l.Write(Record{Time: time.Now(), Job: "j-new", Outcome: "passed"}) // after the walk began
			if err := f.rotate(); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || pages != (40+size-1)/size {
			t.Errorf("pages of %d: %d pages (-want +got):\n%s", size, pages, diff)
		}
	}
}

// A page is short where its records are large, and none is lost for it.
func TestLargeRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var b strings.Builder
	const records = 12 // more than a page has room for
	for i := range records {
		fmt.Fprintf(&b, `{"time":"2026-03-04T05:06:%02dZ","outcome":"passed","job":"%d","x":"%s"}`+"\n", i, i, strings.Repeat("x", 900<<10))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cursor, seen := "", map[string]bool{}
	for range records {
		page, err := readPage(t.Context(), path, &Filter{}, cursor, 100)
		if err != nil || len(page.Records) > maxPage/(900<<10) {
			t.Fatalf("%d records, %v", len(page.Records), err)
		}
		for _, text := range page.Records {
			r, _ := parse(text)
			seen[r.Job] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != records {
		t.Errorf("%d records, want %d", len(seen), records)
	}
}

func TestCursors(t *testing.T) {
	for _, cursor := range []string{"x", "1", "1-", "-1", "1-0", "1--1", "1-100001", "99999999999999999999-1", "1-1-1"} {
		if _, err := parseCursor(cursor); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
	if p, err := parseCursor("17-100000"); err != nil || p.given != 100000 || p.at.UnixNano() != 17 {
		t.Errorf("%+v, %v", p, err)
	}
}
