package wire

import (
	"bytes"
	"hash/maphash"
	"strings"
)

// block is the label block of one text line, scanned without allocation. It
// accepts only the plain form that every reading agrees on.
type block struct {
	inner []byte // between the braces
	// hasBound and the following say where the pair le="…" or quantile="…" is,
	// as offsets from the opening brace, and its value as written.
	hasBound             bool
	boundStart, boundEnd uint32
	boundValue           []byte

	pairs  []pairSpan
	empty  bool // a value is empty
	sorted bool // the names so far ascend
}

// pairSpan is where a name="value" stands, as offsets from the opening brace;
// valueEnd is past the closing quote.
type pairSpan struct{ start, end, valueStart, valueEnd int }

// scan reads the block that src begins with, if it does, and returns where it
// ends. src ends in a newline and holds no other. The name of the label that
// makes samples in a family of this type is bound, or empty.
func (b *block) scan(src []byte, bound string, limits Limits) (int, error) {
	b.inner, b.hasBound, b.empty, b.pairs = nil, false, false, b.pairs[:0]
	if src[0] != '{' {
		return 0, nil
	}
	i := skipBlanks(src, 1)
	for src[i] != '}' {
		next, err := b.pair(src, i, bound, limits)
		if err != nil {
			return 0, err
		}
		if i = skipBlanks(src, next); src[i] == ',' {
			i = skipBlanks(src, i+1)
		} else if src[i] != '}' {
			return 0, errDoubt
		}
	}
	b.inner = src[1:i]
	return i + 1, nil
}

// pair reads one name="value" from i and returns where it ends.
func (b *block) pair(src []byte, i int, bound string, limits Limits) (int, error) {
	start := i
	for i < len(src) && isLabelChar(src[i]) {
		i++
	}
	name := src[start:i]
	if len(name) == 0 || name[0] <= '9' || reserved(name) || b.repeats(src, name) {
		return 0, errDoubt
	}
	if limits.Labels > 0 && len(b.pairs) == limits.Labels {
		return 0, &LimitError{What: "labels", Limit: limits.Labels}
	}
	i = skipBlanks(src, i)
	if src[i] != '=' {
		return 0, errDoubt
	}
	i = skipBlanks(src, i+1)
	if src[i] != '"' {
		return 0, errDoubt
	}
	n, err := valueLength(src[i+1:])
	if err != nil {
		return 0, err
	}
	if err := limits.checkText("", max(n, len(name))); err != nil {
		return 0, err
	}
	end := i + n + 2
	b.empty = b.empty || n == 0
	b.pairs = append(b.pairs, pairSpan{start, start + len(name), i + 1, end})
	if bound != "" && string(name) == bound {
		b.hasBound, b.boundStart, b.boundEnd, b.boundValue = true, uint32(start), uint32(end), src[i+1:end-1]
	}
	return end, nil
}

// repeats reports whether a name was seen in this block before. Clients sort
// their labels, so that one comparison mostly is enough.
func (b *block) repeats(src, name []byte) bool {
	n := len(b.pairs)
	if n == 0 {
		b.sorted = true
		return false
	}
	last := b.pairs[n-1]
	b.sorted = b.sorted && bytes.Compare(src[last.start:last.end], name) < 0
	if b.sorted {
		return false
	}
	for _, seen := range b.pairs {
		if bytes.Equal(src[seen.start:seen.end], name) {
			return true
		}
	}
	return false
}

// valueLength is the length of a label value up to its closing quote, with only
// the escapes that expfmt knows.
func valueLength(src []byte) (int, error) {
	n := bytes.IndexByte(src, '"')
	if n >= 0 && bytes.IndexByte(src[:n], '\\') < 0 {
		return n, nil
	}
	n = closingQuote(src)
	if n == len(src) || !escapesKnown(src[:n]) {
		return 0, errDoubt
	}
	return n, nil
}

// closingQuote is the index of the first quote that is not escaped, or the
// length of src.
func closingQuote[T []byte | string](src T) int {
	for i := 0; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(src)
}

// escapesKnown reports whether every backslash begins one of the escapes that
// expfmt knows, in label values and help texts alike.
func escapesKnown(src []byte) bool {
	for i := bytes.IndexByte(src, '\\'); i >= 0 && i < len(src); i++ {
		if src[i] != '\\' {
			continue
		}
		i++
		if i == len(src) || strings.IndexByte(`\n"`, src[i]) < 0 {
			return false
		}
	}
	return true
}

// appendIdentity appends the inside of the block without the bound's pair.
func (b *block) appendIdentity(dst []byte) []byte {
	if !b.hasBound {
		return append(dst, b.inner...)
	}
	before, after := b.inner[:b.boundStart-1], b.inner[b.boundEnd-1:]
	switch {
	case len(before) == 0 && len(after) == 0:
		return dst
	case len(before) == 0:
		return append(dst, after[1:]...)
	case len(after) == 0:
		return append(dst, before[:len(before)-1]...)
	default:
		return append(append(dst, before...), after[1:]...)
	}
}

// pairHash is a hash of the labels but the bound's, whatever their order. The
// seed is the process's own, so that no client can make two label sets meet.
func (b *block) pairHash(seed maphash.Seed) uint64 {
	var sum uint64
	for _, n := range b.pairs {
		if b.hasBound && uint32(n.start) == b.boundStart {
			continue
		}
		name, value := b.inner[n.start-1:n.end-1], b.inner[n.valueStart-1:n.valueEnd-1]
		sum += maphash.Bytes(seed, name) * (maphash.Bytes(seed, value) | 1)
	}
	return sum
}

func skipBlanks(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' {
		i++
	}
	return i
}

func isLabelChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}
