package store

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPageOfMuch has groups hold far more than a browser takes: the page names each of
// them, to be deleted, and says of how many families it has no room.
func TestPageOfMuch(t *testing.T) {
	const groups, families = 3, 60
	var body strings.Builder
	for f := range families {
		for i := range 80 {
			fmt.Fprintf(&body, "family_%d{table=\"table_%0190d\"} 1\n", f, i)
		}
	}
	s := opened(t, Config{})
	for i := range groups {
		push(t, s, http.MethodPut, key("run", fmt.Sprint(i)), body.String())
	}
	text := get(t, s.Proxy(), "/").Body.String()
	if len(text) > 3<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
	for i := range groups {
		if path := fmt.Sprintf(`data-path="metrics/job/a/run/%d"`, i); !strings.Contains(text, path) {
			t.Errorf("the page lacks %s", path)
		}
	}
	told, lacking := strings.Count(text, "<pre>"), 0
	for _, m := range regexp.MustCompile(`(\d+) families have no room on this page`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		told, lacking = told+n, lacking+n
	}
	if want := groups * families; told != want || lacking == 0 {
		t.Errorf("%d families, %d of them without room, want %d", told, lacking, want)
	}
	if strings.Contains(text, "It holds nothing") {
		t.Error("a group that has no room holds nothing")
	}
}
