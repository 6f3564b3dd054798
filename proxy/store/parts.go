package store

import (
	"bytes"
	"context"
	"io"
	"iter"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// partOf is from how many metrics on a part of a family is encoded: messages weigh ten
	// times what is stored, so that a page is never there as messages, nor for many readers
	// what of it is.
	partOf = 1000
	// mostKept is how much of an encoded family is kept until its length is known.
	mostKept = 1 << 20
)

// made are the metrics of a family as messages, a part after the other. They are made when
// they are asked for.
func (p *Page) made(name string) iter.Seq[func() []*dto.Metric] {
	return func(yield func(func() []*dto.Metric) bool) {
		if name == pushTime || name == pushFailure {
			for groups := range slices.Chunk(p.groups, partOf) {
				if !yield(func() []*dto.Metric { return ownMetrics(groups, name) }) {
					return
				}
			}
			return
		}
		var part []member
		metrics := func() (out []*dto.Metric) {
			for _, m := range part {
				out = append(out, m.family.metrics(m.group)...)
			}
			return out
		}
		n := 0
		for m := range p.each(name) {
			part, n = append(part, m), n+m.family.shape.metrics()
			if n < partOf {
				continue
			}
			if !yield(metrics) {
				return
			}
			part, n = part[:0], 0
		}
		if len(part) > 0 {
			yield(metrics)
		}
	}
}

// parts has a family encoded, a part after the other and by one reader at a time, and each
// part written before the next is made.
func (p *Page) parts(ctx context.Context, name string, encode func(part *dto.MetricFamily) error, write func() error) error {
	part := p.bare(name)
	for metrics := range p.made(name) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.alone(func() error {
			part.Metric = metrics()
			return encode(part)
		}); err != nil {
			return err
		}
		part.Metric = nil
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// alone does what makes messages, while no other reader's are made.
func (p *Page) alone(do func() error) error {
	p.making.Lock()
	defer p.making.Unlock()
	return do()
}

// WriteLines writes a family in a format of lines, as the encoder has it, until ctx ends. A
// histogram is encoded as one: what becomes of it may depend on each of its metrics.
func (p *Page) WriteLines(ctx context.Context, w io.Writer, name string, encoder func(io.Writer) expfmt.Encoder) error {
	if typ, _, _ := p.head(name); typ == dto.MetricType_HISTOGRAM {
		return p.writeWhole(ctx, w, name, encoder)
	}
	var text bytes.Buffer
	to, first := encoder(&text), true
	return p.parts(ctx, name, func(part *dto.MetricFamily) error {
		text.Reset()
		return to.Encode(part)
	}, func() error {
		lines := text.Bytes()
		for !first && bytes.HasPrefix(lines, []byte("#")) { // what the family begins with
			_, lines, _ = bytes.Cut(lines, []byte("\n"))
		}
		first = false
		_, err := w.Write(lines)
		return err
	})
}

// writeWhole writes a family that cannot be encoded in parts.
func (p *Page) writeWhole(ctx context.Context, w io.Writer, name string, encoder func(io.Writer) expfmt.Encoder) error {
	var encoded bytes.Buffer
	if err := p.alone(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return encoder(&encoded).Encode(p.Message(name))
	}); err != nil {
		return err
	}
	_, err := encoded.WriteTo(w)
	return err
}

// writeDelimited writes a family as a message with its length before it. Of a large one
// the metrics are made twice, for that length and for the message, so that no reader
// keeps them.
func (p *Page) writeDelimited(ctx context.Context, w io.Writer, name string, scheme model.EscapingScheme) error {
	head, err := proto.Marshal(model.EscapeMetricFamily(p.bare(name), scheme))
	if err != nil {
		return err
	}
	var part []byte
	encode := func(mf *dto.MetricFamily) (err error) {
		metrics := &dto.MetricFamily{Metric: model.EscapeMetricFamily(mf, scheme).Metric}
		part, err = proto.MarshalOptions{}.MarshalAppend(part[:0], metrics)
		return err
	}
	kept, size := head, len(head)
	if err := p.parts(ctx, name, encode, func() error {
		if size += len(part); size <= mostKept {
			kept = append(kept, part...)
		}
		return nil
	}); err != nil {
		return err
	}
	if _, err := w.Write(protowire.AppendVarint(nil, uint64(size))); err != nil {
		return err
	}
	if size <= mostKept {
		_, err := w.Write(kept)
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	return p.parts(ctx, name, encode, func() error {
		_, err := w.Write(part)
		return err
	})
}
