package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxSize is the largest policy file, in bytes.
	maxSize = 1 << 20
	// maxDepth is how deep a file may nest. A policy needs 5.
	maxDepth = 32
	// maxNodes bounds the values read, so that aliases of aliases cost no more
	// than a large file written out.
	maxNodes = 1 << 18
)

// decoder walks YAML nodes and collects every fault on its way; yaml's own
// decoding into structs would word and place them less well, and loses
// strictness inside custom unmarshalers.
type decoder struct {
	// source is the file that is being read, and end its end. YAML places what it
	// misses there a line further.
	source string
	end    spot
	nodes  int
	faults Faults
}

func (d *decoder) fault(place spot, where, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if where != "" {
		msg = where + ": " + msg
	}
	d.faults = append(d.faults, Fault{
		File:   cmp.Or(place.file, d.source),
		Line:   max(place.line, 1),
		Column: max(place.column, 1),
		Msg:    strings.Map(printable, msg),
	})
}

// printable keeps a message on one line of a terminal, whatever it quotes.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

// document returns the root of the one YAML document in data, or nil after a
// fault that leaves nothing to walk.
func (d *decoder) document(data []byte) *yaml.Node {
	if !d.text(data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		d.syntax(err, data)
		return nil
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case errors.Is(err, io.EOF):
		d.fault(spot{}, "", "the file is empty: want at least version: v1")
		return nil
	case err != nil:
		d.syntax(err, data)
		return nil
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err, data)
	default:
		d.fault(d.at(&second), "", "a second YAML document: a policy is one")
	}
	return first.Content[0]
}

// text refuses what is no plain UTF-8 text. Beyond what YAML refuses those are
// the characters at which YAML counts a new line and editors do not.
func (d *decoder) text(data []byte) bool {
	if len(data) > maxSize {
		d.fault(spot{}, "", "the file is larger than %d bytes", maxSize)
		return false
	}
	place := spot{d.source, 1, 1}
	for i := 0; i < len(data); {
		d.end = place
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			d.fault(place, "", "not UTF-8: byte 0x%02x", data[i])
			return false
		case r == '\n':
			place = spot{d.source, place.line + 1, 0}
		case r == '\t' || r == '\r' && bytes.HasPrefix(data[i+1:], []byte("\n")):
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufffe' || r == '\uffff':
			d.fault(place, "", "control character %U", r)
			return false
		}
		place.column++
		i += size
	}
	d.end = place
	return true
}

// syntax reports why data is no YAML. The parser stops at the first reason, and says of
// a tab only that it is a character.
func (d *decoder) syntax(err error, data []byte) {
	place, msg := spot{}, err.Error()
	if e := (*yaml.LoadError)(nil); errors.As(err, &e) {
		place, msg = d.place(e.Mark.Line, e.Mark.Column), e.Message
		if from := e.ContextMark.Line; e.ContextMsg != "" && from > 0 && from < place.line {
			msg = fmt.Sprintf("%s, from line %d on: %s", e.ContextMsg, from, msg)
		} else if e.ContextMsg != "" {
			msg = e.ContextMsg + ": " + msg
		}
		if runeAt(data, place) == '\t' {
			msg += "; indent with spaces, not with tabs"
		}
	}
	d.fault(place, "", "not YAML: %s", msg)
}

// runeAt is the character at a place of a text, 0 if there is none.
func runeAt(text []byte, at spot) rune {
	line, n := 1, 0
	for _, r := range string(text) {
		if line == at.line {
			n++
		}
		if line == at.line && n == at.column {
			return r
		}
		if r == '\n' {
			line++
		}
	}
	return 0
}

// at is where a node of the file stands that is being read.
func (d *decoder) at(n *yaml.Node) spot { return d.place(n.Line, n.Column) }

// place is a place in the file that is being read, and no further than its end.
func (d *decoder) place(line, column int) spot {
	if line > d.end.line {
		return d.end
	}
	return spot{d.source, line, column}
}

// target is the node itself or what it is an alias of. YAML knows no alias of
// an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// follow counts a node that is about to be read and returns its target.
func (d *decoder) follow(n *yaml.Node) *yaml.Node {
	d.nodes++
	return target(n)
}

// value is the scalar under key in a mapping, for use in messages; it may be
// wrong, twice or absent.
func value(n *yaml.Node, key string) string {
	n = target(n)
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return target(n.Content[i+1]).Value
		}
	}
	return ""
}

// field is one key that a mapping may hold.
type field struct {
	name string
	// missing is the hint when the key is not there; empty permits that.
	missing string
	read    func(n *yaml.Node, where string)
}

// mapping hands each value to the field of its key, once; false if n is no
// mapping.
func (d *decoder) mapping(n *yaml.Node, where string, fields []field) bool {
	n = d.follow(n)
	if n.Kind != yaml.MappingNode {
		d.fault(d.at(n), where, "want a mapping, got %s", describe(n))
		return false
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		d.pair(n.Content[i], n.Content[i+1], where, fields, seen)
	}
	for _, f := range fields {
		if f.missing != "" && seen[f.name] == 0 {
			d.fault(d.at(n), where, "%s is missing: %s", f.name, f.missing)
		}
	}
	return true
}

// pair reads one key and its value. seen holds the lines of the keys before it.
func (d *decoder) pair(key, value *yaml.Node, where string, fields []field, seen map[string]int) {
	key = d.follow(key)
	if key.Kind != yaml.ScalarNode {
		d.fault(d.at(key), where, "want a word as key, got %s", describe(key))
		return
	}
	if key.ShortTag() == "!!merge" {
		d.fault(d.at(key), where, "merge key <<: an entry inherits from default only")
		return
	}
	if line := seen[key.Value]; line > 0 {
		d.fault(d.at(key), where, "duplicate key %q: first on line %d", cut(key.Value), line)
		return
	}
	seen[key.Value] = key.Line
	names := make([]string, len(fields))
	for i, f := range fields {
		if f.name == key.Value {
			f.read(value, prefix(where, f.name))
			return
		}
		names[i] = f.name
	}
	d.fault(d.at(key), where, "%s", unknown("key", key.Value, names))
}

// items calls read for each item of a list, and returns where the list stands;
// the zero spot if it is none.
func (d *decoder) items(n *yaml.Node, where, want string, read func(i int, item *yaml.Node)) spot {
	n = d.follow(n)
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.ShortTag() == "!!null" {
			hint = "; write [] for an empty list"
		}
		d.fault(d.at(n), where, "want %s, got %s%s", want, describe(n), hint)
		return spot{}
	}
	for i, item := range n.Content {
		if d.nodes > maxNodes {
			d.fault(d.at(n), where, "the file expands to more than %d values", maxNodes)
			break
		}
		read(i, item)
	}
	return d.at(n)
}

// string reads a string. Numbers, dates and truth values are not strings: 0200
// and 1e3 would not stay what was written.
func (d *decoder) string(n *yaml.Node, where string) word {
	n = d.follow(n)
	switch tag := n.ShortTag(); {
	case tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!timestamp":
		d.fault(d.at(n), where, "want a string, got %s; put it in quotes", describe(n))
	case n.Kind != yaml.ScalarNode || tag != "!!str":
		d.fault(d.at(n), where, "want a string, got %s", describe(n))
	case strings.ContainsFunc(n.Value, unicode.IsControl):
		d.fault(d.at(n), where, "control character in %q", cut(n.Value))
	default:
		return word{d.at(n), n.Value}
	}
	return word{}
}

// name reads a string that may not be empty.
func (d *decoder) name(n *yaml.Node, where string) word {
	w := d.string(n, where)
	if w.written() && w.text == "" {
		d.fault(w.spot, where, "is empty")
		return word{}
	}
	return w
}

// oneOf reads the value of the key named noun, which is one of the words in known.
func (d *decoder) oneOf(n *yaml.Node, where, noun string, known ...string) word {
	n = d.follow(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.fault(d.at(n), where, "%s: want %s, got %s", noun, listed(known), describe(n))
		return word{}
	}
	if !slices.Contains(known, n.Value) {
		d.fault(d.at(n), where, "%s", unknown(noun, n.Value, known))
		return word{}
	}
	return word{d.at(n), n.Value}
}

// strings reads a list of strings.
func (d *decoder) strings(n *yaml.Node, where, want string) words {
	list := []word{}
	place := d.items(n, where, want, func(_ int, item *yaml.Node) {
		if w := d.name(item, where); w.written() {
			list = append(list, w)
		}
	})
	return words{place, list}
}

// prefix extends the place in the structure that leads a message.
func prefix(where, name string) string {
	if where == "" {
		return name
	}
	return where + ": " + name
}

// describe says what stands where something else was wanted.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("%q", cut(n.Value))
	case "!!int", "!!float":
		return "the number " + cut(n.Value)
	case "!!bool", "!!timestamp":
		return "the " + tag[2:] + " " + cut(n.Value)
	default:
		return fmt.Sprintf("%q with the tag %s", cut(n.Value), cut(tag))
	}
}
