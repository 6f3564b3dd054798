package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/exposition"
)

// page is the series of a /metrics with their values. Empty labels are none.
type page map[string]float64

// reading bounds how long a page may take.
const reading = 20 * time.Second

// fetch reads what stands at a URL. An answer other than 200 is an error.
func fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true // so that no connection of ours is counted
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.200s", url, response.Status, body)
	}
	return body, err
}

// readPage reads a page. One that Prometheus would not take whole is an errPage.
func readPage(ctx context.Context, url string) (page, error) {
	body, err := fetch(ctx, url)
	if err != nil {
		return nil, err
	}
	shown, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w: %w", url, errPage, err)
	}
	return shown, nil
}

// errPage is a page that is not one.
var errPage = errors.New("the page cannot be scraped")

func parse(body []byte) (page, error) {
	shown := page{}
	err := exposition.Each(body, "text/plain", func(ls labels.Labels, value float64) { shown[ls.String()] = value })
	return shown, err
}

// jobOf is the job of a series, empty if it has none.
func jobOf(id string) string {
	_, rest, _ := strings.Cut(id, ` job="`)
	job, _, _ := strings.Cut(rest, `"`)
	return job
}

func (p page) hasAny(of page) bool {
	for id := range of {
		if _, ok := p[id]; ok {
			return true
		}
	}
	return false
}

func (p page) hasAll(of page) bool {
	for id := range of {
		if _, ok := p[id]; !ok {
			return false
		}
	}
	return true
}

func (p page) without(those page) {
	for id := range those {
		delete(p, id)
	}
}

// differ returns each series whose value is not as wanted.
func (p page) differ(want page, what string) []string {
	wrong := []string{}
	for id, v := range want {
		if got, ok := p[id]; !ok || got != v {
			wrong = append(wrong, fmt.Sprintf("%s: %s is %v (there: %t), want %v", what, id, got, ok, v))
		}
	}
	return wrong
}
