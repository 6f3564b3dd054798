package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// maxWalk is how many masks of a value are looked at for one of the same shapes.
const maxWalk = 256

// Mask replaces values by others that the shapes tell from the original by nothing:
// letters become letters and digits digits, each by a secret, and a value has the
// shapes after that it had before, with the same normal forms. Equal values stay equal
// and different ones different. It is safe for concurrent use.
//
// It hides; it does not encrypt. Lengths and separators stay, and whoever can push
// values of their own and read what became of them learns how some are replaced.
type Mask struct{ key [sha256.Size]byte }

// NewMask returns the mask of a secret.
func NewMask(secret [32]byte) Mask { return Mask{secret} }

// Value masks a value of label. What the normal form of its shape keeps, and a value
// that has no shape, is given to plain, which says what stands there instead: it may
// be called several times. Dates and times stay, and so
// do the ids of Airflow's runs, which are times. ok is false if no mask of the value
// has its shapes; what is returned then is random letters and digits.
func (m Mask) Value(label, value string, plain func(string) string) (masked string, ok bool) {
	first, parts := allShapes().parts(label, value)
	if first == nil {
		return plain(value), true
	}
	masked, ok = m.around(first, parts, label, value, plain)
	if !ok { // the words that it keeps are what another shape goes by
		masked, ok = m.around(first, parts, label, value, func(s string) string { return s })
	}
	if !ok {
		return m.noise(value), false
	}
	return masked, true
}

// around masks what stands around the parts that the normal form of its shape keeps.
func (m Mask) around(first *shape, parts []part, label, value string, plain func(string) string) (string, bool) {
	want := allShapes().all(label, value)
	b := []byte(value)
	in := first.alphabets()
	open := in.maskable(value)
	for i := len(parts) - 1; i >= 0; i-- { // from behind: what is before stays in place
		p := parts[i]
		if first.spelled(i) {
			clear(open[p.start:p.end])
			continue
		}
		inner, fits := m.Value(label, value[p.start:p.end], plain)
		if !fits {
			return "", false
		}
		b = slices.Replace(b, p.start, p.end, []byte(inner)...)
		open = slices.Replace(open, p.start, p.end, make([]bool, len(inner))...)
	}
	if first.isTime() {
		return string(b), allShapes().all(label, string(b)) == want
	}
	return m.walk(in, b, open, func(s string) bool { return allShapes().all(label, s) == want })
}

// Whole masks a value that has no shape, into one that has none.
func (m Mask) Whole(label, value string) string {
	masked, ok := m.walk(&wide, []byte(value), wide.maskable(value), func(s string) bool { return allShapes().all(label, s) == 0 })
	if !ok {
		return m.noise(value)
	}
	return masked
}

// walk permutes the bytes that are open until the whole is like the original, which
// every walk comes back to at last. So two values never become one.
func (m Mask) walk(in *alphabets, b []byte, open []bool, alike func(string) bool) (string, bool) {
	if !slices.Contains(open, true) {
		return string(b), alike(string(b))
	}
	for range maxWalk {
		m.permute(in, b, open)
		if s := string(b); alike(s) {
			return s, true
		}
	}
	return "", false
}

// noise is what stands for a value of which no mask has the shapes.
func (m Mask) noise(value string) string {
	sum := sha256.Sum256(append(m.key[:], value...))
	const letters = "bcdfghjkmnpqrstvwxz"
	out := []byte("masked-")
	for _, c := range sum[:12] {
		out = append(out, letters[int(c)%len(letters)])
	}
	return string(out)
}

// alphabets are the sets of bytes that are taken for one another, by byte; those that
// are in none stay.
type alphabets [256]string

// wide is for text, narrow as fine as the patterns of identifiers ask for: hexadecimal
// letters, vowels, and what Kubernetes and ULIDs do without.
var (
	wide   = newAlphabets("0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	narrow = newAlphabets("2456789 013 ae bcdf ghjkmnpqrstvwxz iou AE BCDF GHJKMNPQRSTVWXZ IOU")
)

func newAlphabets(sets string) (t alphabets) {
	for _, set := range strings.Fields(sets) {
		for i := range len(set) {
			t[set[i]] = set
		}
	}
	rest := make([]byte, 0, 64)
	for c := byte(0x80); c < 0xc0; c++ {
		rest = append(rest, c) // the last byte of a character keeps it valid
	}
	for _, c := range rest {
		t[c] = string(rest)
	}
	return t
}

// alphabets are those of the values of a shape.
func (s *shape) alphabets() *alphabets {
	switch s.name {
	case "email", "url", "path", "sql", "error_class", "stack_trace", "tempfile", "entity_id", "pull_request", "phone", "big_int", "float_value", "free_text":
		return &wide
	}
	return &narrow
}

// keptWords are what patterns look for by the letter.
var keptWords = strings.Fields(`application app local spark sha1 sha256 sha512 md5 jr ip mailto
	select insert update delete merge with create alter drop truncate from into set table values as view using
	error exception warning failure timeout traceback most recent call last at goroutine part
	pull refs t z utc manual scheduled backfill r m job task attempt container appattempt e`)

// keptPrefixes are those of words that go on with what is masked.
var keptPrefixes = []string{"tmp", "pr", "0x", "eyj"}

// maskable tells which bytes of a value may become others.
func (in *alphabets) maskable(value string) []bool {
	open := make([]bool, len(value))
	for i := 0; i < len(value); {
		end := i
		for end < len(value) && isWordByte(value[end]) {
			end++
		}
		if end == i {
			open[i] = isTail(value, i)
			i++
			continue
		}
		for j := i + keptOf(value[i:end]); j < end; j++ {
			open[j] = in[value[j]] != ""
		}
		i = end
	}
	return open
}

func isWordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isTail reports whether a byte is the last of a character beyond ASCII.
func isTail(s string, i int) bool {
	return s[i]&0xc0 == 0x80 && (i+1 == len(s) || s[i+1]&0xc0 != 0x80)
}

// keptOf is how many bytes of a word stay.
func keptOf(word string) int {
	if len(word) > 16 {
		return 0
	}
	low := strings.ToLower(word)
	if slices.Contains(keptWords, low) {
		return len(word)
	}
	for _, p := range keptPrefixes {
		if strings.HasPrefix(low, p) {
			return len(p)
		}
	}
	return 0
}

// permute replaces the open bytes within their alphabets, by four rounds in which
// one half of them is shifted by what the other says: a permutation of all values that
// have the same alphabets in the same places.
func (m Mask) permute(in *alphabets, b []byte, open []bool) {
	var places []int
	for i, is := range open {
		if is {
			places = append(places, i)
		}
	}
	for round := range 4 {
		stream := maskStream{key: m.key, round: byte(round)}
		for i := 1 - round%2; i < len(places); i += 2 {
			stream.other = append(stream.other, b[places[i]])
		}
		for i := round % 2; i < len(places); i += 2 {
			c := &b[places[i]]
			set := in[*c]
			*c = set[(strings.IndexByte(set, *c)+int(stream.next()))%len(set)]
		}
	}
}

// maskStream is as many bytes as are asked for, by a secret and what the other half is.
type maskStream struct {
	key   [sha256.Size]byte
	round byte
	other []byte
	block uint32
	left  []byte
}

func (s *maskStream) next() byte {
	if len(s.left) == 0 {
		in := append(binary.LittleEndian.AppendUint32(append(s.key[:len(s.key):len(s.key)], s.round), s.block), s.other...)
		sum := sha256.Sum256(in)
		s.left = sum[:]
		s.block++
	}
	c := s.left[0]
	s.left = s.left[1:]
	return c
}

// part is a piece of a value.
type part struct{ start, end int }

// parts returns the first shape that value has, and the pieces of the value that its
// normal form keeps, in order.
func (set shapeSet) parts(label, value string) (*shape, []part) {
	s, _ := set.match(label, value)
	if s == nil || s.re == nil || !strings.Contains(s.normal, "$") {
		return s, nil
	}
	groups := s.re.FindStringSubmatchIndex(headOf(value))
	var out []part
	for i := 2; i+1 < len(groups); i += 2 {
		if groups[i] < groups[i+1] && strings.Contains(s.normal, "$"+string(rune('0'+i/2))) {
			out = append(out, part{groups[i], groups[i+1]})
		}
	}
	return s, out
}

// all returns every shape of the set that value has.
func (set shapeSet) all(label, value string) shapeSet {
	if value == "" || label == "le" || label == "quantile" {
		return 0
	}
	t := traitsOf(value)
	var out shapeSet
	for rest := set; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(uint64(rest))
		s := &catalogue[i]
		if !s.bounds.permit(value, &t) {
			continue
		}
		if _, ok := s.normalize(label, value); ok {
			out |= 1 << i
		}
	}
	return out
}

// spelled reports whether what is kept at i is a word of the pattern's own, or the name
// of a class, and no name that a client chose.
func (s *shape) spelled(i int) bool {
	switch s.name {
	case "airflow_run_id", "emr_id", "aws_resource", "yarn_container", "hadoop_task", "entity_id", "sql", "error_class", "part_file":
		return true
	}
	return s.name == "spark_k8s_pod" && i == 1
}

// isTime reports whether the shape is that of a date or a time, or of a run that is
// named by one.
func (s *shape) isTime() bool {
	switch s.name {
	case "airflow_run_id", "iso_datetime", "compact_datetime", "date", "date_nodash", "hive_partition", "epoch", "trailing_time":
		return true
	}
	return false
}
