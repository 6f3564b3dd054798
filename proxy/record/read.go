package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/pushguard/pushguard/proxy/audit"
)

// Line is an entry of a file, and how it stands there.
type Line struct {
	Entry
	// Raw is the entry's JSON. It is valid until the next one is read.
	Raw json.RawMessage
}

// Read yields the entries of a file, compressed or not, one after the other; their
// number begins with 1. Of a file that a guard recorded the lines that a crash has torn
// are left out, and counted in torn. Of others what is no JSON yields its error last.
func Read(r io.Reader, torn *int) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		plain, err := audit.Decompress(r)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer plain.Close()
		in, recorded := json.NewDecoder(plain), false
		for n := 1; ; n++ {
			var line Line
			broken := in.Decode(&line.Raw)
			if errors.Is(broken, io.EOF) {
				return
			}
			err := broken
			if err == nil {
				err = json.Unmarshal(line.Raw, &line.Entry)
			}
			switch {
			case err == nil:
				recorded = recorded || line.Happened != nil
				if !yield(line, nil) {
					return
				}
				continue
			case !recorded:
				yield(Line{}, fmt.Errorf("capture %d: %w", n, err))
				return
			}
			*torn++
			if errors.As(broken, new(*json.SyntaxError)) {
				in = afterLine(in, plain)
			} else if broken != nil {
				return // in the middle of the last line
			}
		}
	}
}

// afterLine reads on behind the line that could not be read.
func afterLine(in *json.Decoder, rest io.Reader) *json.Decoder {
	left := bufio.NewReader(io.MultiReader(in.Buffered(), rest))
	for begun := false; ; {
		part, err := left.ReadSlice('\n')
		for _, c := range part {
			begun = begun || c > ' ' // what ends the line before comes first
		}
		if err == nil && begun || err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return json.NewDecoder(left)
		}
	}
}
