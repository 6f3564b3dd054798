package record

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/pushguard/pushguard/proxy/audit"
)

// Line is an entry of a file, and how it stands there.
type Line struct {
	Entry
	// Raw is the entry's JSON. It is valid until the next one is read.
	Raw json.RawMessage
}

// Read yields the entries of a file, compressed or not, one after the other; their
// number begins with 1. Of a file that a guard recorded the lines that a crash or a full
// disk has torn are left out, and counted in torn, also those before the first whole one.
// Of others what is no JSON yields its error last, and so does any file that cannot be read
// to its end.
func Read(r io.Reader, torn *int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		plain, err := audit.Decompress(r)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer plain.Close()
		source := &source{r: bufio.NewReader(plain)}
		in, rest := json.NewDecoder(source), io.Reader(source)
		recorded, others := false, false // there were such captures
		var fault error                  // the first
		for n := 1; ; n++ {
			var line Line
			broken := in.Decode(&line.Raw)
			if errors.Is(broken, io.EOF) {
				break
			}
			if broken != nil && source.err != nil {
				yield(Line{}, fmt.Errorf("capture %d: %w", n, source.err))
				return
			}
			err := broken
			if err == nil {
				err = json.Unmarshal(line.Raw, &line.Entry)
			}
			recorded = recorded || err == nil && line.Happened != nil
			others = others || err == nil && !recorded
			if err != nil {
				fault = cmp.Or(fault, fmt.Errorf("capture %d: %w", n, err))
			}
			switch {
			case fault != nil && others && !recorded:
				yield(Line{}, fault)
				return
			case err == nil:
				if !yield(line, nil) {
					return
				}
				continue
			}
			*torn++
			if broken != nil {
				in, rest = afterLine(in, rest)
			}
		}
		if fault != nil && !recorded {
			yield(Line{}, fault)
		}
	}
}

// source notes why it cannot be read on, which a decoder does not tell from what it reads.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// afterLine reads on behind the line that could not be read, and returns what is read then.
func afterLine(in *json.Decoder, rest io.Reader) (*json.Decoder, io.Reader) {
	left := io.MultiReader(in.Buffered(), rest) // not by a buffer, of which the next one would know nothing
	var c [1]byte
	for begun := false; !begun || c[0] != '\n'; {
		if _, err := io.ReadFull(left, c[:]); err != nil {
			break // there is no more
		}
		begun = begun || !strings.ContainsRune(" \t\r\n", rune(c[0])) // what ends the line before comes first
	}
	return json.NewDecoder(left), left
}
