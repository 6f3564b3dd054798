package proxy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestShapesOfLabels pushes labels of every kind, and holds what the guard says of them
// to what was pushed; a rule that it proposes is one that a policy may have.
func TestShapesOfLabels(t *testing.T) {
	t.Parallel()
	g := newLiving(t, gatewaytest.Start(t), "version: v1\ndefault: {mode: enforce, rules: [{id: ids, labels: [run_id], action: drop}]}\n", nil)
	for i := range 4 {
		id := fmt.Sprintf("6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3%d", i)
		if i == 3 {
			id = "manual"
		}
		g.push(t, 200, http.MethodPost, "/metrics/job/shapely", fmt.Sprintf(
			"rows{run_id=%q,pod=\"etl-7d9f8b6c5-x2k9%c\",part=\"%d\",table=%q,note=\"two words %d\",user=\"u%d@example.com\"} 1\n", id, "2456"[i], i, []string{"a", "b", "c", "d"}[i], i, i))
	}
	labels := map[string]map[string]any{}
	for _, l := range g.job(t, "shapely")["labels"].([]any) {
		labels[l.(map[string]any)["label"].(string)] = l.(map[string]any)
	}
	for _, tc := range []struct {
		label, shape, example, rule string
		share                       float64
		fixed                       bool
	}{
		{"run_id", "uuid", "6f1c6c1e…", "{id: bound-run_id, labels: [run_id], shapes: [uuid], action: drop}", 0.75, true},
		{"pod", "k8s_deploy_pod", "etl-7d9f8b6c5-x2k92", "{id: bound-pod, labels: [pod], shapes: [k8s_deploy_pod], action: template}", 1, true},
		{"user", "email", "u…@…", "{id: bound-user, labels: [user], shapes: [email], action: drop}", 1, true},
		{"part", "number", "0", "", 1, false},
		{"table", "word", "a", "", 1, false},
		{"note", "text", "two words 0", "", 1, false},
		{"job", "word", "shapely", "", 1, false},
	} {
		l := labels[tc.label]
		if l == nil || l["shapes"] == nil {
			t.Errorf("%s: %v", tc.label, l)
			continue
		}
		first := l["shapes"].([]any)[0].(map[string]any)
		if first["shape"] != tc.shape || first["share"] != tc.share || first["example"] != tc.example || (first["unbounded"] == true) != tc.fixed {
			t.Errorf("%s: %v, want %+v", tc.label, first, tc)
		}
		fix, _ := l["fix"].(map[string]any)
		if (fix != nil) != tc.fixed || tc.fixed && fix["rule"] != tc.rule {
			t.Errorf("%s: fix %v, want %+v", tc.label, fix, tc)
		}
		if tc.fixed {
			if _, err := policy.Parse("p.yml", []byte("version: v1\ndefault:\n  rules:\n  - "+tc.rule+"\n")); err != nil {
				t.Errorf("no policy can have the rule that is proposed: %v", err)
			}
		}
	}
}
