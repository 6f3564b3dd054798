package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// OwnFamilies returns the families that the upstream exposes of itself, such as
// go_goroutines, with their types: those with a sample that has no label job, which
// every pushed one has. It costs the upstream a scrape; ctx is its only limit.
func (u *Upstream) OwnFamilies(ctx context.Context) (map[string]dto.MetricType, error) {
	resp, err := u.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readOwn(resp.Body)
}

// readOwn reads a page in the text format, as a Pushgateway writes it.
func readOwn(page io.Reader) (map[string]dto.MetricType, error) {
	own := map[string]dto.MetricType{}
	r := bufio.NewReaderSize(page, 64<<10)
	name, typ := "", dto.MetricType_UNTYPED
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case bytes.HasPrefix(line, []byte("# TYPE ")):
			var word string
			name, word, _ = strings.Cut(strings.TrimSpace(string(line[len("# TYPE "):])), " ")
			typ = dto.MetricType(dto.MetricType_value[strings.ToUpper(word)])
		case err == nil && line[0] != '#' && name != "" && !hasJob(line):
			own[name] = typ
		}
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a line that is pushed: own ones are short
			_, err = r.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return own, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// hasJob reports whether a sample has a label job. A value may hold the same text, but
// then it is escaped.
func hasJob(sample []byte) bool {
	return bytes.Contains(sample, []byte(`{job="`)) || bytes.Contains(sample, []byte(`,job="`))
}

// Page returns what the upstream shows to Prometheus, in the text format, names in
// UTF-8 as they are. The caller closes it; ctx is the only limit.
func (u *Upstream) Page(ctx context.Context) (io.ReadCloser, error) {
	resp, err := u.getAs(ctx, "/metrics", "text/plain;version=1.0.0;escaping=allow-utf-8,text/plain;q=0.5")
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// EachFamily calls each for every family that the upstream shows to Prometheus, names in
// UTF-8 as they are, until it fails. ctx is the only limit.
func (u *Upstream) EachFamily(ctx context.Context, each func(*dto.MetricFamily) error) error {
	resp, err := u.getAs(ctx, "/metrics", string(expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(model.NoEscaping))+";q=1,text/plain;version=0.0.4;q=0.5")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from := expfmt.NewDecoder(bufio.NewReader(resp.Body), expfmt.ResponseFormat(resp.Header).WithEscapingScheme(model.NoEscaping))
	for {
		family := &dto.MetricFamily{}
		if err := from.Decode(family); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := each(family); err != nil {
			return err
		}
	}
}

// Families returns them all.
func (u *Upstream) Families(ctx context.Context) (out []*dto.MetricFamily, err error) {
	err = u.EachFamily(ctx, func(family *dto.MetricFamily) error {
		out = append(out, family)
		return nil
	})
	return out, err
}
