package wire

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestEqualButForEmptyLabels: what tells two series apart is neither an empty label nor one
// that the grouping key overwrites. Two that are equal without any of that are left to the
// Pushgateway, which names them.
func TestEqualButForEmptyLabels(t *testing.T) {
	key := NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: "zone", Value: "z"})
	for name, tt := range map[string]struct {
		body    string
		refused bool
	}{
		"empty beside none":                       {"x{a=\"\"} 1\nx 2\n", true},
		"none beside empty":                       {"x 1\nx{a=\"\"} 2\n", true},
		"two empty ones":                          {"x{a=\"\"} 1\nx{b=\"\"} 2\n", true},
		"and one of the group":                    {"x{a=\"\",zone=\"y\"} 1\nx 2\n", true},
		"and one of the group on the other":       {"x{a=\"\"} 1\nx{job=\"y\"} 2\n", true},
		"the empty one is of the group":           {"x{zone=\"\"} 1\nx 2\n", false},
		"empty beside another value":              {"x{a=\"\"} 1\nx{a=\"1\"} 2\n", false},
		"twice, beside an empty one of another":   {"x 1\nx 2\ny{a=\"\"} 1\n", false},
		"twice by the group, beside an empty one": {"x{zone=\"1\"} 1\nx{zone=\"2\"} 2\ny{a=\"\"} 1\n", false},
		"of two families":                         {"x{a=\"\"} 1\ny 2\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Push{}).Parse([]byte(tt.body), Text, key, Options{})
			var refused *Error
			if errors.As(err, &refused) != tt.refused || err != nil && !strings.Contains(err.Error(), `metric "x": two series are equal but for labels with an empty value`) {
				t.Errorf("%v, want it refused: %t", err, tt.refused)
			}
		})
	}
}

// TestUnreadableNames: what is UTF-8 and still no name that a page of text can have.
func TestUnreadableNames(t *testing.T) {
	for body, refused := range map[string]bool{
		"{\"x\",\"of.table\"=\"t\"} 1\n":     false,
		"{\"x\",\"of|table\"=\"t:\\n\"} 1\n": false,
		"{\"x:y\",\"of.table\"=\"t\"} 1\n":   false,
		"{\"x\",\"of:table\"=\"t\"} 1\n":     true,
		"{\"x\",\"of:the.table\"=\"t\"} 1\n": true,
		"{\"x\",\":\"=\"t\"} 1\n":            true,
		"{\"x\",\"of\x00table\"=\"t\"} 1\n":  true,
		"{\"x\x00\",of=\"t\"} 1\n":           true,
	} {
		err := (&Push{}).Parse([]byte(body), Text, someKey, Options{UTF8Names: true})
		var bad *Error
		if errors.As(err, &bad) != refused || refused && !strings.Contains(bad.Fix, "loses the whole scrape") {
			t.Errorf("%q: %v, want it refused: %t", body, err, refused)
		}
	}
}
