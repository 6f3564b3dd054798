package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Group is a group as the upstream lists it.
type Group struct {
	Key wire.Key
	// Families are those pushed to it, without push_time_seconds and
	// push_failure_time_seconds, which every group has.
	Families []wire.FamilyPrint
	// Pushed is when the last push that was accepted came, as the upstream says:
	// by this machine's clock where the two differ by more than 2 s, and never in
	// the future. Zero is never, or not told.
	Pushed time.Time
	// Failed is the same of the last push that was not. A client whose group has
	// been pushed before can make it up.
	Failed time.Time
	// Stamp is push_time_seconds as the upstream wrote it, or
	// push_failure_time_seconds if no push was ever accepted. It changes with the
	// time it is taken from and with nothing else, whatever the clocks.
	Stamp float64
	// Success tells of a family whose name contains last_success.
	Success bool
}

// Partial says that a listing, which is there all the same, says nothing of some groups.
type Partial struct{ Unknown func(wire.Key) bool }

// Error says so.
func (*Partial) Error() string { return "the listing says nothing of some groups" }

// Groups lists what the upstream holds, its metrics as wire.Print has them under
// the seed. The listing is read as it arrives; what is kept is the result. It may
// take long where much is stored, and ctx is its only limit.
//
// A group whose labels the listing does not tell is left out: a family named
// "labels" hides them.
func (u *Upstream) Groups(ctx context.Context, seed uint64) ([]Group, error) {
	resp, err := u.get(ctx, "/api/v1/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	groups, err := readGroups(resp.Body, seed, clockOf(resp.Header, time.Now()))
	if err != nil {
		return nil, fmt.Errorf("listing of the upstream: %w", err)
	}
	return groups, nil
}

// get returns an answer of status 200.
func (u *Upstream) get(ctx context.Context, path string) (*http.Response, error) {
	return u.getAs(ctx, path, "")
}

// getAs is get for an answer of a type.
func (u *Upstream) getAs(ctx context.Context, path, accept string) (*http.Response, error) {
	resp, err := u.askOver(ctx, u.reads, path, accept)
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("get %s from the upstream: status %d%s", path, resp.StatusCode, advice(resp.StatusCode))
	}
	return resp, err
}

// advice is what to do about a status that no Pushgateway answers a read of its own with.
func advice(status int) string {
	if status != http.StatusNotFound {
		return ""
	}
	return ": its URL must have its route prefix, and it must be a Pushgateway since 1.2"
}

// askOver returns any answer.
func (u *Upstream) askOver(ctx context.Context, transport http.RoundTripper, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "", nil)
	if err != nil {
		return nil, err
	}
	req.URL = u.at(path)
	req.Header.Set("User-Agent", u.userAgent)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("get %s from the upstream: %w", path, err)
	}
	return resp, nil
}

var errListing = errors.New("not the listing of a pushgateway")

// readGroups reads {"status":"success","data":[group, …]}.
func readGroups(r io.Reader, seed uint64, at clock) ([]Group, error) {
	dec := json.NewDecoder(r)
	groups := []Group(nil)
	found := false
	err := object(dec, func(name string) error {
		if name != "data" {
			return skip(dec)
		}
		found = true
		return array(dec, func() error {
			g, ok, err := readGroup(dec, seed, at)
			if ok {
				groups = append(groups, g)
			}
			return err
		})
	})
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case !found:
		return nil, errListing
	}
	return groups, nil
}

// readGroup reads {"labels":{…},"last_push_successful":…,"<family>":{…}, …}, in
// whatever order.
func readGroup(dec *json.Decoder, seed uint64, at clock) (g Group, ok bool, err error) {
	var ls []labels.Label
	var pushed, failed []stamp
	prints := wire.GroupPrinter{Seed: seed}
	err = object(dec, func(name string) error {
		switch name {
		case "labels":
			ls, err = readLabels(dec)
			return err
		case "last_push_successful":
			return skip(dec)
		case "push_time_seconds":
			pushed, err = readStamps(dec)
			return err
		case "push_failure_time_seconds":
			failed, err = readStamps(dec)
			return err
		default:
			g.Success = g.Success || strings.Contains(name, "last_success")
			prints.Family(name)
			return readFamily(dec, &prints)
		}
	})
	g.Key = wire.NewKey(ls...)
	g.Families = prints.Finish(g.Key)
	push, failure := ownStamp(g.Key, pushed), ownStamp(g.Key, failed)
	g.Pushed, g.Failed = at.time(push), at.time(failure)
	if g.Stamp = push; push == 0 {
		g.Stamp = failure
	}
	return g, g.Key.Job() != "", err
}

// readFamily reads {"type":…,"metrics":[{…}, …], …}. What is anything else has no
// metrics.
func readFamily(dec *json.Decoder, prints *wire.GroupPrinter) error {
	return members(dec, func(name string) error {
		switch name {
		case "type":
			return readType(dec, prints)
		case "metrics":
			return elements(dec, func() error { return readMetric(dec, prints) })
		default:
			return skip(dec)
		}
	})
}

// readType reads a type such as "GAUGE". A word that is none leaves it unknown.
func readType(dec *json.Decoder, prints *wire.GroupPrinter) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if word, ok := t.(string); ok {
		prints.Type(dto.MetricType(dto.MetricType_value[word]))
	}
	return closing(dec, t)
}

// readMetric reads {"labels":{…},"value":…}, or instead of the value the buckets
// or quantiles, count and sum.
func readMetric(dec *json.Decoder, prints *wire.GroupPrinter) error {
	var ls []labels.Label
	samples := int32(1)
	err := members(dec, func(name string) (err error) {
		switch name {
		case "labels":
			ls, err = readLabels(dec)
		case "buckets":
			samples, err = readBuckets(dec)
		case "quantiles":
			samples = 2 // sum and count
			err = members(dec, func(string) error { samples++; return skip(dec) })
		default:
			err = skip(dec)
		}
		return err
	})
	if err == nil {
		prints.Metric(ls, samples)
	}
	return err
}

// readBuckets counts the series of a histogram. An exposition adds a bucket of
// +Inf where there is none; it shows no native buckets, which are listed as an
// array.
func readBuckets(dec *json.Decoder) (int32, error) {
	samples := int32(3) // +Inf, sum and count
	err := members(dec, func(bound string) error {
		if bound != "+Inf" {
			samples++
		}
		return skip(dec)
	})
	return samples, err
}

// readLabels reads an object of strings. One that holds anything else is no
// label set, and it returns none.
func readLabels(dec *json.Decoder) ([]labels.Label, error) {
	var ls []labels.Label
	isLabels := true
	err := object(dec, func(name string) error {
		if !isLabels {
			return skip(dec)
		}
		value, err := dec.Token()
		if err != nil {
			return err
		}
		s, ok := value.(string)
		isLabels = ok
		ls = append(ls, labels.Label{Name: name, Value: s})
		return closing(dec, value)
	})
	if !isLabels {
		return nil, err
	}
	return ls, err
}

// object calls member for every member of the object that comes next, with the
// decoder before its value.
func object(dec *json.Decoder, member func(name string) error) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return errListing
	}
	return rest(dec, func() error {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		return member(name.(string))
	})
}

// members is object for what may be something else, and then has none.
func members(dec *json.Decoder, member func(name string) error) error {
	return either(dec, '{', func() error {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		return member(name.(string))
	})
}

// array calls element for every element of the array that comes next. Null is
// an empty one.
func array(dec *json.Decoder, element func() error) error {
	switch t, err := dec.Token(); {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != json.Delim('['):
		return errListing
	}
	return rest(dec, element)
}

// elements is array for what may be something else, and then has none.
func elements(dec *json.Decoder, element func() error) error { return either(dec, '[', element) }

func either(dec *json.Decoder, open json.Delim, item func() error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != open {
		return closing(dec, t)
	}
	return rest(dec, item)
}

// rest reads the items of an object or array that has begun, and its end.
func rest(dec *json.Decoder, item func() error) error {
	for dec.More() {
		if err := item(); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// skip reads over the value that comes next without keeping it.
func skip(dec *json.Decoder) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	return closing(dec, t)
}

// closing reads to the end of the value that began with the token.
func closing(dec *json.Decoder, t json.Token) error {
	depth := 0
	for {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if t, err = dec.Token(); err != nil {
			return err
		}
	}
}
