package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pushguard/pushguard/proxy"
)

// largestError is how much of an answer that is no explanation is read.
const largestError = 64 << 10

// ask has the guard at --url explain a push.
func (c *explainCommand) ask(ctx context.Context, push proxy.Request) (*proxy.Trace, error) {
	r, client, err := c.question(ctx, push)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	defer answer.Body.Close()
	if to := answer.Header.Get("Location"); answer.StatusCode/100 == 3 {
		return nil, fmt.Errorf("%s: it redirects: status %d to %q", r.URL.Redacted(), answer.StatusCode, to)
	}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, largestError))
		err := fmt.Errorf("%s: status %d%s", r.URL.Redacted(), answer.StatusCode, reason(text))
		if answer.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w; want a guard, with its route prefix if it has one, at its --admin.listen-address if that is set", err)
		}
		return nil, err
	}
	var told struct{ Data *proxy.Trace }
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil || told.Data == nil {
		return nil, fmt.Errorf("%s: the answer is no explanation: %v", r.URL.Redacted(), err)
	}
	return told.Data, nil
}

// question is the request that asks, and by what it is sent.
func (c *explainCommand) question(ctx context.Context, push proxy.Request) (*http.Request, *http.Client, error) {
	to, err := parseUpstream(c.url)
	if err != nil {
		return nil, nil, flagFault("--url=%q: %v", cut(c.url), err)
	}
	// A redirect would make a question without its push of it, and take credentials elsewhere.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Timeout: c.timeout, CheckRedirect: stay}
	from, err := loadClient("config.file", c.configFile)
	switch {
	case err != nil:
		return nil, nil, err
	case from != nil:
		client.Transport = from.Transport()
	}
	header := push.Header.Clone()
	for _, name := range []string{"Authorization", "Accept", "Content-Length", "Host", "Connection", "Transfer-Encoding"} {
		header.Del(name) // of a capture
	}
	login := pushCommand{user: c.user, passwordFile: c.passwordFile, tokenFile: c.tokenFile, url: to}
	if err := login.authorize(header); err != nil {
		return nil, nil, err
	}
	at := url.URL{
		Scheme: to.Scheme, Host: to.Host, Path: strings.TrimSuffix(to.Path, "/") + "/guard/api/v1/explain",
		RawQuery: url.Values{"method": {push.Method}, "path": {push.Path}, "as": {c.as}}.Encode(),
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), push.Body)
	if err != nil {
		return nil, nil, flagFault("--url=%q: %v", cut(c.url), err)
	}
	r.Header, r.ContentLength = header, push.Length
	return r, client, nil
}
