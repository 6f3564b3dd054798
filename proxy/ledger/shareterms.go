package ledger

import "encoding/binary"

// tellTerms is Regovern of a book that guards share.
func (b *Book) tellTerms(terms func(job string) (entry int, budget Budget)) {
	body := []byte{cmdTerms, 1}
	for name, j := range b.jobs {
		if id, budget := terms(name); id != j.entry || budget != *j.terms {
			body = appendTerms(body, name, id, &budget)
		}
	}
	if len(body) > 2 {
		b.tell(body)
	}
}

func (b *Book) tellTermsOf(job string, entry int, budget *Budget) {
	b.tell(appendTerms([]byte{cmdTerms, 0}, job, entry, budget))
}

func appendTerms(dst []byte, job string, entry int, budget *Budget) []byte {
	return appendBudget(binary.AppendVarint(appendString(dst, job), int64(entry)), budget)
}

func (b *Book) applyTerms(in *reader) {
	all := in.Byte() == 1
	if all {
		for _, e := range b.entries {
			b.guarantee(e, 0)
		}
	}
	for in.Len() > 0 {
		name, entry, budget := in.Text(), int(in.Varint()), in.budget()
		if j := b.jobs[name]; j != nil && in.Err() == nil {
			b.setTerms(j, entry, &budget)
		}
	}
	if !all {
		return
	}
	for _, name := range b.jobNames() {
		j := b.jobs[name]
		b.guarantee(b.entry(j.entry), j.terms.Guaranteed)
	}
	b.dropEntries()
}
