package wire

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// droppingRun are the fates of a push whose label run goes.
func droppingRun(p *Push) []Fate {
	fates := make([]Fate, len(p.Metrics()))
	for i := range fates {
		ls := p.Labels(nil, i)
		kept := slices.DeleteFunc(slices.Clone(ls), func(l labels.Label) bool { return l.Name == "run" })
		fates[i] = Fate{Act: Pass, Labels: kept, Output: Fingerprint(1, kept)}
		if len(kept) < len(ls) {
			fates[i].Act, fates[i].Block = Relabel, AppendLabels(nil, p.Encoding, kept)
		}
	}
	return fates
}

func TestMergedTellsPartsAndSum(t *testing.T) {
	const body = `# TYPE rows_total counter
rows_total{run="1",table="a"} 1
rows_total{run="2",table="a"} 2
rows_total{run="3",table="a"} 4
rows_total{run="1",table="b"} 8
# TYPE took histogram
took_bucket{run="1",le="1"} 1
took_bucket{run="1",le="+Inf"} 2
took_sum{run="1"} 3
took_count{run="1"} 2
took_bucket{run="2",le="1"} 0
took_bucket{run="2",le="+Inf"} 1
took_sum{run="2"} 5
took_count{run="2"} 1
`
	want := []Merged{
		{
			Metrics: 3,
			Parts:   []string{"rows_total{run=\"1\",table=\"a\"} 1\n", "rows_total{run=\"2\",table=\"a\"} 2\n"},
			Whole:   "rows_total{table=\"a\"} 7\n",
		},
		{
			Metrics: 2,
			Parts: []string{
				"took_bucket{run=\"1\",le=\"1\"} 1\ntook_bucket{run=\"1\",le=\"+Inf\"} 2\ntook_sum{run=\"1\"} 3\ntook_count{run=\"1\"} 2\n",
				"took_bucket{run=\"2\",le=\"1\"} 0\ntook_bucket{run=\"2\",le=\"+Inf\"} 1\ntook_sum{run=\"2\"} 5\ntook_count{run=\"2\"} 1\n",
			},
			Whole: "took_bucket{le=\"1\"} 1\ntook_bucket{le=\"+Inf\"} 3\ntook_sum 8\ntook_count 3\n",
		},
	}
	protobuf, err := renderByExpfmt(nil, []byte(body), false)
	if err != nil {
		t.Fatal(err)
	}
	for enc, body := range map[Encoding][]byte{Text: []byte(body), Protobuf: protobuf} {
		var p Push
		if err := p.Parse(body, enc, NewKey(labels.Label{Name: "job", Value: "j"}), Options{}); err != nil {
			t.Fatal(err)
		}
		fates := droppingRun(&p)
		if err := Merge(&p, fates, Key{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.Merged(fates, 2)); diff != "" {
			t.Errorf("encoding %d: %s", enc, diff)
		}
	}
}
