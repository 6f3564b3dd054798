package wire

// Other is the label value that stands for all those which a budget has no room
// for.
const Other = "__other__"

// PrintOther is what Print gives for the label of that name with the value Other.
func PrintOther(seed uint64, name string) LabelValue {
	return LabelValue{Label: hashLabel(seed, name, ""), Value: hashLabel(seed, name, Other)}
}

// Reprint returns the fingerprint that Print would give for a metric if one of
// its label values were another. The fingerprint and both values must be of one
// seed, and was a value of that metric.
func Reprint(fingerprint uint64, was, is LabelValue) uint64 {
	return mix(unmix(fingerprint) - was.Value + is.Value)
}

// unmix undoes mix: a shift by more than half the word is its own inverse, and
// an odd factor has one.
func unmix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0x9cb4b2f8129337db
	h ^= h >> 33
	h *= 0x4f74430c22a54005
	return h ^ h>>33
}
