package event

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// clickhouse inserts into a table over HTTP, a row a record. A batch that is sent
// again has the same token, by which a table that deduplicates takes it once; one
// that replaces by event_id, as that in deploy/clickhouse.sql, takes each record
// once.
type clickhouse struct {
	*endpoint
	query string
	// plain leaves out the settings that servers before asynchronous inserts and
	// tokens do not know.
	plain bool
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// newClickhouse takes the database and the table out of the URL's path.
func newClickhouse(e *endpoint) (*clickhouse, error) {
	path := strings.Split(strings.Trim(e.url.Path, "/"), "/")
	if len(path) != 2 || !identifier.MatchString(path[0]) || !identifier.MatchString(path[1]) {
		return nil, errors.New("want clickhouse+http://HOST:PORT/DATABASE/TABLE")
	}
	e.url.Path, e.url.RawPath = "/", ""
	return &clickhouse{endpoint: e, query: fmt.Sprintf("INSERT INTO `%s`.`%s` FORMAT JSONEachRow", path[0], path[1])}, nil
}

func (c *clickhouse) close() error { return nil }

// send implements sink. The server answers once the rows are in the table.
func (c *clickhouse) send(ctx context.Context, records [][]byte) (delivery, error) {
	body := append(bytes.Join(records, []byte("\n")), '\n')
	_, err := c.post(ctx, c.at(records), "application/x-ndjson", body)
	if err != nil && !c.plain && isUnknownSetting(err) {
		c.plain = true
		_, err = c.post(ctx, c.at(records), "application/x-ndjson", body)
	}
	return delivery{}, rowsAtFault(err)
}

func (c *clickhouse) at(records [][]byte) *url.URL {
	q := url.Values{
		"query": {c.query}, "input_format_skip_unknown_fields": {"1"}, "date_time_input_format": {"best_effort"},
	}
	if !c.plain {
		q.Set("async_insert", "1")
		q.Set("wait_for_async_insert", "1")
		q.Set("insert_deduplication_token", tokenOf(records))
	}
	to := *c.url
	to.RawQuery = q.Encode()
	return &to
}

// tokenOf is the same for the same records.
func tokenOf(records [][]byte) string {
	h := sha256.New()
	for _, r := range records {
		_, _ = h.Write(r) // never fails
		_, _ = h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

var (
	errorCode = regexp.MustCompile(`Code: (\d+)`)
	// rowCodes are ClickHouse's numbers of what a row can be at fault for: it
	// cannot be parsed, or holds what its column cannot.
	rowCodes = map[string]bool{
		"6": true, "26": true, "27": true, "38": true, "41": true, "53": true, "69": true, "70": true,
		"72": true, "117": true, "130": true, "131": true, "349": true,
	}
)

func codeOf(err error) string {
	if m := errorCode.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// isUnknownSetting tells of the server's error 115.
func isUnknownSetting(err error) bool { return codeOf(err) == "115" }

// rowsAtFault tells an error of the rows from one of the server or of the table,
// whatever status it came with: the latter goes by when somebody mends it.
func rowsAtFault(err error) error {
	if err == nil {
		return nil
	}
	var refused *refusedError
	code := codeOf(err)
	switch isRefused := errors.As(err, &refused); {
	case code != "" && rowCodes[code] && !isRefused:
		return &refusedError{err}
	case code != "" && !rowCodes[code] && isRefused:
		return refused.err
	default:
		return err
	}
}
