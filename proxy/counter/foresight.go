package counter

// Foresight is Totals with claims that are not made: it answers a push that is only
// explained as Totals answer one that is taken. It sees what others claim meanwhile.
// Not safe for concurrent use.
type Foresight struct {
	totals   *Totals
	families map[string]Kind
	names    map[string]holder
}

// holder is the family that has a name.
type holder struct {
	family string
	kind   Kind
}

// Foresee returns a foresight without any claim.
func (t *Totals) Foresee() *Foresight {
	return &Foresight{totals: t, families: map[string]Kind{}, names: map[string]holder{}}
}

// Claim answers as Totals.Claim would, were all that it was asked before claimed.
func (f *Foresight) Claim(name string, kind Kind) error {
	if held, ok := f.families[name]; ok && held == kind {
		return nil
	}
	f.totals.mu.Lock()
	defer f.totals.mu.Unlock()
	known, err := f.totals.claimable(name, kind, len(f.families), f.holder)
	if err != nil || known {
		return err
	}
	f.families[name] = kind
	for _, n := range exposed(name, kind) {
		f.names[n] = holder{name, kind}
	}
	return nil
}

func (f *Foresight) holder(name string) (holder, bool) {
	if h, taken := f.totals.holder(name); taken {
		return h, true
	}
	h, taken := f.names[name]
	return h, taken
}

// Holds answers as Totals.Holds would, were all of that claimed.
func (f *Foresight) Holds(name string) bool {
	f.totals.mu.Lock()
	defer f.totals.mu.Unlock()
	h, ok := f.holder(name)
	return ok && h.has(name)
}
