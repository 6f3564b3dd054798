package counter

import (
	"errors"
	"fmt"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// TotalsConfig is what Totals are made of. The zero value is good.
type TotalsConfig struct {
	// Series bounds the totals that are kept; a histogram or summary is one. Over it
	// the labels of new ones become __other__, but for job. 0 is 100,000.
	Series int
	// Now is the clock, nil that of the system.
	Now func() time.Time
}

// Totals add increments up, one total for each output series, to be scraped. It
// is a Sink, safe for concurrent use.
type Totals struct {
	cfg TotalsConfig
}

// NewTotals returns totals that are kept in memory alone.
func NewTotals(cfg TotalsConfig) *Totals { return &Totals{cfg: cfg} }

// ErrFull says that there is no room for the totals of one more family.
var ErrFull = errors.New("the totals are full")

// ConflictError is a family that is totals of another kind already.
type ConflictError struct {
	Family     string
	Held, Want Kind
}

// Error names the family and both kinds.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("family %.100q is a %s here, not a %s", e.Family, e.Held, e.Want)
}

// Claim makes a family one of totals, of that kind, for good. It is called before
// a push is forwarded, for each family of its outputs. The error is a
// *ConflictError or ErrFull.
func (t *Totals) Claim(family string, kind Kind) error { return nil }

// Holds reports whether a family is one of totals.
func (t *Totals) Holds(family string) bool { return false }

// Add adds increments to their totals. Of a family that nobody claimed it is the
// first claim; increments that could not be claimed are dropped and counted.
func (t *Totals) Add(increments []Increment) {}

// Page is the totals as one scrape sees them.
type Page struct{}

// Page takes the totals as they are. A scraper is told by a name of its own, such
// as its address; it sees a total that is new at zero once, so that increase() in
// Prometheus sees the first increment. The empty name is a person, who sees every
// value at once.
func (t *Totals) Page(scraper string) (*Page, error) { return nil, nil }

// Families renders the totals, sorted by name and labels, with created
// timestamps. The caller may change them.
func (p *Page) Families() []*dto.MetricFamily { return nil }

// Done says that the page was written to its end: what it showed at zero shows
// its value in the scraper's next.
func (p *Page) Done() {}
