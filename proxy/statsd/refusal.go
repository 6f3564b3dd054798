package statsd

// Refusal is why an increment was not taken. It is the label reason of
// pushguard_statsd_dropped_total.
type Refusal string

// The refusals.
const (
	RefusedValue     Refusal = "value"      // NaN, infinite, negative, over 1e200, or buckets that do not add up
	RefusedName      Refusal = "name"       // no name, or one over 200 bytes
	RefusedReserved  Refusal = "reserved"   // a name that the exporter or Prometheus uses itself
	RefusedLabel     Refusal = "label"      // a label without a name, over 200 bytes, that starts with __, or le in a histogram
	RefusedCollision Refusal = "collision"  // the same as another name or label once cleaned
	RefusedKind      Refusal = "kind"       // a name in use by a family of another kind
	RefusedBounds    Refusal = "bounds"     // bucket bounds that are not finite and ascending, or over 500 of them
	RefusedSize      Refusal = "size"       // a line over 4,000 bytes, or lines over 60,000 together
	RefusedFull      Refusal = "max_series" // a new series, while as many as may be all have something pending
)

var refusals = []Refusal{
	RefusedValue, RefusedName, RefusedReserved, RefusedLabel, RefusedCollision,
	RefusedKind, RefusedBounds, RefusedSize, RefusedFull,
}
