package rules

import (
	"math"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// class is a set of kinds of bytes. Kinds are as fine as telling the shapes
// apart needs: hexadecimal letters from the others, each separator by itself.
type class uint32

const (
	digits class = 1 << iota
	hexLower
	lower
	hexUpper
	upper
	dash
	underscore
	dot
	colon
	slash
	at
	equals
	plus
	blank
	newline
	punct
	nonASCII
)

// classOf returns the kind of one byte.
func classOf(c byte) class {
	switch {
	case c >= utf8.RuneSelf:
		return nonASCII
	case '0' <= c && c <= '9':
		return digits
	case 'a' <= c && c <= 'f':
		return hexLower
	case 'g' <= c && c <= 'z':
		return lower
	case 'A' <= c && c <= 'F':
		return hexUpper
	case 'G' <= c && c <= 'Z':
		return upper
	}
	switch c {
	case '-':
		return dash
	case '_':
		return underscore
	case '.':
		return dot
	case ':':
		return colon
	case '/':
		return slash
	case '@':
		return at
	case '=':
		return equals
	case '+':
		return plus
	case '\n':
		return newline
	case ' ', '\t', '\r', '\v', '\f':
		return blank
	}
	return punct
}

// classes is classOf as a table.
var classes = func() (t [256]class) {
	for c := range t {
		t[c] = classOf(byte(c))
	}
	return t
}()

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) add(c byte) { s[c>>6] |= 1 << (c & 63) }

func (s *byteSet) has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

func (s byteSet) union(o byteSet) byteSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

// traits is what one pass over a value tells about it.
type traits struct {
	size, digits int
	kind         class
	whole        bool // the patterns read all of it
}

func traitsOf(value string) traits {
	head := headOf(value)
	t := traits{size: len(value), whole: len(head) == len(value)}
	for i := 0; i < len(head); i++ {
		c := classes[head[i]]
		t.kind |= c
		t.digits += int(c & digits)
	}
	return t
}

// bounds is what a value must be like for a pattern to have a chance. They are
// derived from the pattern, so the two cannot disagree; most values fall
// outside most bounds, and no regexp runs.
type bounds struct {
	min, max    int     // bytes
	digits      int     // at least as many
	only        class   // every byte is one of these
	some        []class // of each of these, one byte at least
	first, last byteSet // the first and the last byte are one of these
	literal     string  // occurs
}

// permit reports whether value, which has these traits and is not empty, may
// match.
func (b *bounds) permit(value string, t *traits) bool {
	if t.size < b.min || t.size > b.max || t.digits < b.digits || t.kind&^b.only != 0 ||
		!b.first.has(value[0]) || t.whole && !b.last.has(value[len(value)-1]) {
		return false
	}
	for _, c := range b.some {
		if t.kind&c == 0 {
			return false
		}
	}
	return strings.Contains(value, b.literal)
}

// boundless is the longest length that is still counted.
const boundless = math.MaxInt32

// boundsOf derives the bounds of what re matches as a whole.
func boundsOf(re *syntax.Regexp) bounds {
	switch re.Op {
	case syntax.OpLiteral:
		b, fold := bounds{}, re.Flags&syntax.FoldCase != 0
		for _, r := range re.Rune {
			b = b.then(literalBounds(r, fold))
		}
		if !fold {
			b.literal = string(re.Rune)
		}
		return b
	case syntax.OpCharClass:
		return runeBounds(re.Rune)
	case syntax.OpAnyChar:
		return runeBounds([]rune{0, unicode.MaxRune})
	case syntax.OpAnyCharNotNL:
		return runeBounds([]rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune})
	case syntax.OpCapture:
		return boundsOf(re.Sub[0])
	case syntax.OpStar:
		return boundsOf(re.Sub[0]).times(0, -1)
	case syntax.OpPlus:
		return boundsOf(re.Sub[0]).times(1, -1)
	case syntax.OpQuest:
		return boundsOf(re.Sub[0]).times(0, 1)
	case syntax.OpRepeat:
		return boundsOf(re.Sub[0]).times(re.Min, re.Max)
	case syntax.OpConcat:
		b := bounds{}
		for _, sub := range re.Sub {
			b = b.then(boundsOf(sub))
		}
		return b
	case syntax.OpAlternate:
		b := boundsOf(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			b = b.or(boundsOf(sub))
		}
		return b
	}
	return bounds{} // an assertion, which takes no bytes
}

// literalBounds returns the bounds of one literal character, in both cases if
// fold is set.
func literalBounds(r rune, fold bool) bounds {
	runes := []rune{r, r}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			runes = append(runes, f, f)
		}
	}
	return runeBounds(runes)
}

// nonASCIIBytes is every byte of a character that takes several.
var nonASCIIBytes = byteSet{2: math.MaxUint64, 3: math.MaxUint64}

// runeBounds returns the bounds of one character out of the given ranges, pairs
// of the lowest and the highest.
func runeBounds(ranges []rune) bounds {
	b := bounds{min: utf8.UTFMax}
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1] // #nosec G602 -- regexp/syntax has them in pairs
		b.min = min(b.min, utf8.RuneLen(lo))
		b.max = max(b.max, utf8.RuneLen(hi))
		if lo <= utf8.RuneError && utf8.RuneError <= hi {
			b.min = 1 // a byte that is no UTF-8 is matched as this character
		}
		for r := lo; r <= hi && r < utf8.RuneSelf; r++ {
			b.only |= classOf(byte(r))
			b.first.add(byte(r))
		}
		if hi >= utf8.RuneSelf {
			b.only |= nonASCII
			b.first = b.first.union(nonASCIIBytes)
		}
	}
	b.last, b.some = b.first, []class{b.only}
	if b.only == digits {
		b.digits = 1
	}
	return b
}

// then returns the bounds of b followed by next.
func (b bounds) then(next bounds) bounds {
	out := bounds{
		min:    b.min + next.min,
		max:    min(b.max+next.max, boundless),
		digits: b.digits + next.digits,
		first:  b.first,
		last:   next.last,
		only:   b.only | next.only,
		some:   narrowest(slices.Concat(b.some, next.some)),
	}
	if out.literal = b.literal; len(next.literal) > len(b.literal) {
		out.literal = next.literal
	}
	if b.min == 0 {
		out.first = out.first.union(next.first)
	}
	if next.min == 0 {
		out.last = out.last.union(b.last)
	}
	return out
}

// or returns the bounds of b or other.
func (b bounds) or(other bounds) bounds {
	out := bounds{
		min:    min(b.min, other.min),
		max:    max(b.max, other.max),
		digits: min(b.digits, other.digits),
		first:  b.first.union(other.first),
		last:   b.last.union(other.last),
		only:   b.only | other.only,
	}
	for _, x := range b.some {
		for _, y := range other.some {
			out.some = append(out.some, x|y)
		}
	}
	out.some = narrowest(out.some)
	return out
}

// times returns the bounds of b at least lo and at most hi times; a negative hi
// is no limit.
func (b bounds) times(lo, hi int) bounds {
	b.min *= lo
	b.digits *= lo
	if hi < 0 {
		b.max = boundless
	} else {
		b.max = min(b.max*hi, boundless)
	}
	if lo == 0 {
		b.some, b.literal = nil, ""
	}
	return b
}

// narrowest drops every set that a smaller one among them already implies.
func narrowest(sets []class) []class {
	var out []class
	for i, s := range sets {
		implied := slices.ContainsFunc(sets[:i], func(o class) bool { return o == s }) ||
			slices.ContainsFunc(sets, func(o class) bool { return o != s && o&^s == 0 })
		if !implied {
			out = append(out, s)
		}
	}
	return out
}
