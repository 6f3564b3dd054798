package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// scrape is how one page was served.
type scrape struct {
	took, first time.Duration // the whole page; its first byte
	cpu         time.Duration
	bytes       int64
	peak        float64 // the most memory meanwhile, over that before
}

// scraped reads a contender's page as text, uncompressed.
func scraped(ctx context.Context, c *contender) (scrape, error) {
	p := c.front()
	before, err := p.Memory()
	if err != nil {
		return scrape{}, err
	}
	if err := p.ResetPeak(); err != nil {
		return scrape{}, err
	}
	cpu, err := c.cpu()
	if err != nil {
		return scrape{}, err
	}
	s, err := readPage(ctx, p.URL+"/metrics")
	if err != nil {
		return scrape{}, err
	}
	after, err := c.cpu()
	if err != nil {
		return scrape{}, err
	}
	peak, err := p.Peak()
	s.cpu, s.peak = after-cpu, float64(peak)/float64(before)
	return s, err
}

func readPage(ctx context.Context, url string) (scrape, error) {
	client := http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return scrape{}, err
	}
	begun := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return scrape{}, err
	}
	defer resp.Body.Close()
	var first [1]byte
	if _, err := io.ReadFull(resp.Body, first[:]); err != nil || resp.StatusCode != http.StatusOK {
		return scrape{}, fmt.Errorf("the page has status %d: %w", resp.StatusCode, err)
	}
	s := scrape{first: time.Since(begun)}
	n, err := io.Copy(io.Discard, resp.Body)
	s.took, s.bytes = time.Since(begun), n+1
	return s, err
}
