package wire

import "bytes"

// Cut is the first place from there on at which a text falls in two between families, if
// each of them stands by itself: before a comment that follows a sample. It is the end of
// the text if there is no such place.
func Cut(text []byte, from int) int {
	before := bytes.TrimRight(text[:min(from, len(text))], "\n")
	after := false // a sample, and what is blank
	for at := bytes.LastIndexByte(before, '\n') + 1; at < len(text); {
		if after && text[at] == '#' {
			return at
		}
		after = isNameStart(text[at]) || after && text[at] == '\n'
		next := bytes.IndexByte(text[at:], '\n') + 1
		if next == 0 {
			break
		}
		at += next
	}
	return len(text)
}

// Contains reports whether the families of a part of the text, in their order, are those
// of p from one on, and each is all there: then the part says of them what the whole does.
func (p *Push) Contains(part *Push, from int) bool {
	if part.Encoding != p.Encoding || len(part.Families) > len(p.Families)-from {
		return false
	}
	for i := range part.Families {
		is, was := &part.Families[i], &p.Families[from+i]
		if is.Name != was.Name || is.Type != was.Type || is.Metrics != was.Metrics || !bytes.Equal(part.bytes(is.Help), p.bytes(was.Help)) {
			return false
		}
	}
	return true
}
