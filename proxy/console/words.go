package console

import (
	"fmt"
	"hash/fnv"
	"html/template"
	"math"
	"net"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// parse reads all pages and their parts.
func parse() *template.Template {
	funcs := template.FuncMap{
		"number": number, "clock": clock, "stamp": stamp, "ago": ago, "share": share, "percent": percent, "portion": portion, "host": host,
		"query": query, "labels": groupText, "list": list, "plural": plural,
		"quote": regexp.QuoteMeta, "span": span, "finding": findingOf, "recordLink": recordLinkOf, "reason": reasonText, "answered": answeredOf,
	}
	return template.Must(template.New("").Funcs(funcs).ParseFS(files, "pages/*.html"))
}

// sum tells data from other data.
func sum(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data) // never fails
	return h.Sum64()
}

// number writes a number with a thin space between thousands.
func number(v any) string {
	var n float64
	switch v := v.(type) {
	case int:
		n = float64(v)
	case *int:
		n = float64(*v) // templates have none that is nil
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	case float64:
		n = v
	default:
		return fmt.Sprint(v)
	}
	if math.Abs(n) < 10 && n != math.Trunc(n) {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	s := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func list(v ...any) []any { return v }

func plural(n any, one, many string) string {
	if text := number(n); text == "1" {
		return text + " " + one
	}
	return number(n) + " " + many
}

// moment is the time in v, which may be a *time.Time; the zero one if there is none.
func moment(v any) time.Time {
	switch v := v.(type) {
	case time.Time:
		return v.UTC()
	case *time.Time:
		if v != nil {
			return v.UTC()
		}
	}
	return time.Time{}
}

// clock is a time as it is read, stamp as it is for machines.
func clock(v any) string {
	if t := moment(v); !t.IsZero() {
		return t.Format("2006-01-02 15:04:05")
	}
	return "never"
}

func stamp(v any) string {
	if t := moment(v); !t.IsZero() {
		return t.Format(time.RFC3339Nano)
	}
	return ""
}

// ago is how long ago a time was, in one unit.
func ago(now time.Time, v any) string {
	t := moment(v)
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= u.of {
			return strconv.Itoa(int(d/u.of)) + " " + u.name + " ago"
		}
	}
	return "just now"
}

// span is a duration as a policy has it, such as 7d: weeks are written as days.
func span(text string) string {
	const day = 24 * time.Hour
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return text
	case d >= day && d%day == 0:
		return strconv.Itoa(int(d/day)) + "d"
	default:
		return model.Duration(d).String()
	}
}

// share is how much of a whole a part is, in percent of at most 100; 0 of nothing.
func share(part, whole int) float64 {
	if whole <= 0 {
		return 0
	}
	return math.Round(min(100, 100*float64(part)/float64(whole))*10) / 10
}

func percent(part, whole int) string {
	if whole <= 0 {
		return ""
	}
	return strconv.Itoa(int(math.Floor(100*float64(part)/float64(whole)))) + "%"
}

// portion is a share of 0 to 1 as it is read: none that is there is 0 %, and only all are
// 100 %.
func portion(share float64) string {
	switch n := int(math.Round(100 * share)); {
	case n == 0 && share > 0:
		return "< 1 %"
	case n == 100 && share < 1:
		return "> 99 %"
	default:
		return strconv.Itoa(n) + " %"
	}
}

// host is an address without its port.
func host(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// query is a query of names and values in turn; those that are empty are left out.
func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return "?" + q.Encode()
}

// groupText writes a grouping key as Prometheus writes labels, the job first.
func groupText(key map[string]string) string {
	names := make([]string, 0, len(key))
	for name := range key {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		if (names[i] == "job") != (names[j] == "job") {
			return names[i] == "job"
		}
		return names[i] < names[j]
	})
	for i, name := range names {
		names[i] = name + "=" + strconv.Quote(key[name])
	}
	return "{" + strings.Join(names, ", ") + "}"
}
