package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// page is what is counted on a /metrics page.
type page struct {
	series    int                // lines that are no comments
	neighbour map[string]float64 // the series of the well-behaved job, by the whole line before the value
}

// longest is the length of a line that is still read.
const longest = 1 << 20

// readPage reads the /metrics of a server as text, a line at a time.
func readPage(ctx context.Context, client *http.Client, url string) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		return page{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return page{}, fmt.Errorf("GET %s/metrics: %s", url, resp.Status)
	}
	return scan(resp.Body)
}

func scan(r io.Reader) (page, error) {
	p := page{neighbour: map[string]float64{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), longest)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		p.series++
		if !bytes.HasPrefix(line, []byte(neighbourMetric+"{")) {
			continue
		}
		at := bytes.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(string(line[at+1:]), 64)
		if err != nil {
			return page{}, fmt.Errorf("%.100q: %w", line, err)
		}
		p.neighbour[string(line[:at])] = value
	}
	return p, lines.Err()
}

// shows reports whether every series of the well-behaved job is there, with a
// value from low to high.
func (p page) shows(low, high int64) bool {
	if len(p.neighbour) != len(neighbourTables) {
		return false
	}
	for _, value := range p.neighbour {
		if value < float64(low) || value > float64(high) {
			return false
		}
	}
	return true
}
