package finding

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names are cut at maxName bytes and a fix at maxFix in String, so that one
// line of an answer stays one line on a screen.
const (
	maxName = 64
	maxFix  = 240
)

// String returns the finding as one line for people, without a line break or
// any other control character whatever the data:
//
//	ids: label run_id, metric rows, seen 3 times, such as 3f2b8c1e…; fix: leave the label out
//	sample_limit: 6000, limit 5000; fix: push fewer series
//
// Parts that are empty are left out. Sample is shown as it is, only cut and
// cleaned: whoever fills it passes it through Redact first.
func (f Finding) String() string {
	var parts []string
	add := func(prefix, s string, limit int) {
		if s != "" {
			parts = append(parts, prefix+oneLine(s, limit))
		}
	}
	add("label ", f.Label, maxName)
	add("metric ", f.Metric, maxName)
	if n := f.count(); n != "" {
		parts = append(parts, n)
	}
	add("such as ", f.Sample, maxSample)

	line := oneLine(f.ID, maxName)
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	if f.Fix != "" {
		line += "; fix: " + oneLine(f.Fix, maxFix)
	}
	return line
}

// count says how many were seen, and against which limit if there is one.
func (f Finding) count() string {
	switch {
	case f.Limit > 0:
		return strconv.Itoa(f.Count) + ", limit " + strconv.Itoa(f.Limit)
	case f.Count == 1:
		return "seen once"
	case f.Count > 1:
		return "seen " + strconv.Itoa(f.Count) + " times"
	}
	return ""
}

// oneLine returns s in at most limit bytes, every character printable.
func oneLine(s string, limit int) string {
	head := s[:min(len(s), limit+utf8.UTFMax)]
	return string(cut(appendPrintable(nil, head), limit, len(head) < len(s)))
}

// appendPrintable appends s to dst with every character that does not print
// replaced: white space by a space, all else by U+FFFD.
func appendPrintable(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		case unicode.IsPrint(r):
			dst = append(dst, s[i:i+size]...)
		case unicode.IsSpace(r):
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		i += size
	}
	return dst
}

const ellipsis = "…"

// cut shortens b, which is valid UTF-8, to at most limit bytes. An ellipsis
// ends it when something is missing, here or (more) already before.
func cut(b []byte, limit int, more bool) []byte {
	if len(b) <= limit && !more {
		return b
	}
	end := min(len(b), limit-len(ellipsis))
	for end > 0 && end < len(b) && !utf8.RuneStart(b[end]) {
		end--
	}
	return append(bytes.TrimSuffix(b[:end], []byte(ellipsis)), ellipsis...)
}

// Head returns the first n bytes of s, fewer where they would end within a character. It
// shares the memory of s.
func Head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > max(0, n-utf8.UTFMax) && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
