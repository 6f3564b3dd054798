package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// Group is a group as the upstream lists it.
type Group struct {
	Key wire.Key
	// Families are the names of the families pushed to it, without
	// push_time_seconds and push_failure_time_seconds, which every group has.
	Families []string
}

// Groups lists what the upstream holds. The listing is read as it arrives;
// what is kept is the result. It may take long where much is stored, and ctx is
// its only limit.
//
// A group whose labels the listing does not tell is left out: a family named
// "labels" hides them.
func (u *Upstream) Groups(ctx context.Context) ([]Group, error) {
	body, err := u.get(ctx, "/api/v1/metrics")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	groups, err := readGroups(body)
	if err != nil {
		return nil, fmt.Errorf("listing of the upstream: %w", err)
	}
	return groups, nil
}

// UTF8Names reports whether the upstream runs with --push.enable-utf8-names. One
// that does not know the flag does not.
func (u *Upstream) UTF8Names(ctx context.Context) (bool, error) {
	if u.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, u.timeout)
		defer cancel()
	}
	body, err := u.get(ctx, "/api/v1/status")
	if err != nil {
		return false, err
	}
	defer body.Close()
	var status struct {
		Data struct {
			Flags map[string]string `json:"flags"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&status); err != nil {
		return false, fmt.Errorf("status of the upstream: %w", err)
	}
	return status.Data.Flags["push.enable-utf8-names"] == "true", nil
}

func (u *Upstream) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "", nil)
	if err != nil {
		return nil, err
	}
	req.URL = u.at(path)
	req.Header.Set("User-Agent", u.userAgent)
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("get %s from the upstream: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("get %s from the upstream: status %d", path, resp.StatusCode)
	}
	return resp.Body, nil
}

var errListing = errors.New("not the listing of a pushgateway")

// readGroups reads {"status":"success","data":[group, …]}.
func readGroups(r io.Reader) ([]Group, error) {
	dec := json.NewDecoder(r)
	groups := []Group(nil)
	found := false
	err := object(dec, func(name string) error {
		if name != "data" {
			return skip(dec)
		}
		found = true
		return array(dec, func() error {
			g, ok, err := readGroup(dec)
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

// readGroup reads {"labels":{…},"last_push_successful":…,"<family>":{…}, …}.
func readGroup(dec *json.Decoder) (g Group, ok bool, err error) {
	var ls []labels.Label
	err = object(dec, func(name string) error {
		switch name {
		case "labels":
			ls, err = readLabels(dec)
			return err
		case "last_push_successful", "push_time_seconds", "push_failure_time_seconds":
		default:
			g.Families = append(g.Families, name)
		}
		return skip(dec)
	})
	g.Key = wire.NewKey(ls...)
	return g, g.Key.Job() != "", err
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
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		if err := member(name.(string)); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
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
	for dec.More() {
		if err := element(); err != nil {
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
