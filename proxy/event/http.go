package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/klauspost/compress/gzip"
)

const (
	maxResponse = 4 << 20 // bytes read of an answer
	maxWords    = 300     // bytes of an answer that an error repeats
	mostLater   = 5 * time.Minute
)

// endpoint posts batches to a URL.
type endpoint struct {
	client  *http.Client
	url     *url.URL
	header  http.Header
	timeout time.Duration
	// passwordFile has that of ClickHouse, and is read for each batch, as the files of
	// http_config are: passwords change. "" is none.
	passwordFile string

	zipped bytes.Buffer
	zipper *gzip.Writer
}

// post sends a body, compressed, and returns the answer if its status is 2xx. Any
// other answer is an error: a *refusedError where the body is at fault.
func (e *endpoint) post(ctx context.Context, to *url.URL, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	e.zipped.Reset()
	if e.zipper == nil {
		e.zipper, _ = gzip.NewWriterLevel(&e.zipped, gzip.BestSpeed) // the level is one
	} else {
		e.zipper.Reset(&e.zipped)
	}
	_, err := e.zipper.Write(body)
	if err = errors.Join(err, e.zipper.Close()); err != nil {
		return nil, err // cannot be: memory takes everything
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(e.zipped.Bytes()))
	if err != nil {
		return nil, err
	}
	for name, values := range e.header {
		req.Header[name] = values
	}
	if e.passwordFile != "" {
		password, err := readPassword(e.passwordFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-ClickHouse-Key", password)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, plainError(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, plainError(err)
	}
	return answer, statusError(resp, answer)
}

// readPassword returns what a file has, without the end of its line.
func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\r\n"), err
}

// plainError is the error of a request without its URL, which the log has already.
func plainError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// statusError is nil for a status of 2xx.
func statusError(resp *http.Response, answer []byte) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err := fmt.Errorf("status %d%s: %s", resp.StatusCode, whereTo(resp), words(answer))
	if isAtFault(resp.StatusCode) {
		return &refusedError{err}
	}
	if after := retryAfter(resp.Header.Get("Retry-After"), time.Now()); after > 0 {
		return &laterError{err, min(after, mostLater)}
	}
	return err
}

// whereTo is what an error says of where a redirect leads, for who is to mend the URL.
func whereTo(resp *http.Response) string {
	if resp.StatusCode/100 != 3 {
		return ""
	}
	return fmt.Sprintf(" to %.100q, which is not followed", resp.Header.Get("Location"))
}

// isAtFault reports whether a status tells of what was sent: anything else goes by, or
// somebody mends it.
func isAtFault(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity
}

// words is what an answer says, short and in one line.
func words(answer []byte) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, cut(string(answer), maxWords))
	return strings.TrimSpace(s)
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), int(mostLater/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}
