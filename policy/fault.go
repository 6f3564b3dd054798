package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pushguard/pushguard/rules"
)

// Fault is one thing wrong with a policy file and the place where it stands.
type Fault struct {
	// File is the name the policy was read under.
	File string
	// Line and Column count from 1; a column is a character, not a byte.
	Line, Column int
	// Msg says what is wrong, in lower case, led by the entry and rule it is in.
	Msg string
	// Text is the line as it stands there, without secrets; empty if it is not known.
	Text string
}

// Error renders the fault as compilers do: file:line:column: message.
func (f Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Msg)
}

// Faults are all the faults of one policy, sorted by place and without
// repetition. A Faults that Load or Parse return is never empty.
type Faults []Fault

// Error renders one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the faults by place; a fault met twice, through an alias or an
// inherited rule, is kept once.
func (fs Faults) sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Msg, b.Msg))
	})
	return slices.Compact(fs)
}

// in gives each fault the line it is in.
func (fs Faults) in(sources []source) Faults {
	for _, s := range sources {
		var lines []string
		for i := range fs {
			if f := &fs[i]; f.File == s.name {
				if lines == nil {
					lines = redacted(string(s.data))
				}
				if f.Line >= 1 && f.Line <= len(lines) {
					f.Text = shown(lines[f.Line-1])
				}
			}
		}
	}
	return fs
}

// unknown words the complaint about a word that is not one of known, with the
// nearest one when it looks like a slip of the pen.
func unknown(noun, word string, known []string) string {
	msg := fmt.Sprintf("unknown %s %q", noun, cut(word))
	best, distance := "", min(2, len(word)/2)+1
	for _, k := range known {
		if len(word) > maxQuoted {
			break // no slip of the pen
		}
		if d := rules.EditDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" && len(known) > 1 {
		msg += fmt.Sprintf(" (did you mean %s?)", best)
	}
	return msg + ": want " + listed(known)
}

// listed joins words as a sentence does: a, b or c.
func listed(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// maxQuoted is how many characters of an offending value a message repeats.
const maxQuoted = 50

// cut shortens what a message quotes.
func cut(s string) string {
	r := []rune(s[:min(len(s), 4*(maxQuoted+1))])
	if len(r) <= maxQuoted {
		return s
	}
	return string(r[:maxQuoted]) + "…"
}
