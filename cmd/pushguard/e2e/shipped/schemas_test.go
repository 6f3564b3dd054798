package shipped

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The schemas are Kubernetes' own, of the version named, and the Prometheus Operator's.
const (
	kubernetes    = "k8s.io/kubernetes@v1.37.2"
	kubernetesSum = "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="
	operator      = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
	operatorSum   = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
)

// schemas writes JSON schemas for kubeconform and returns where they are, as it wants it.
func schemas(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var swagger struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(read(t, filepath.Join(module(t, kubernetes, kubernetesSum), "api/openapi-spec/swagger.json")), &swagger); err != nil {
		t.Fatal(err)
	}
	for _, definition := range swagger.Definitions {
		strict(definition)
	}
	put(t, filepath.Join(dir, "definitions.json"), map[string]any{"definitions": swagger.Definitions})
	for name, definition := range swagger.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			kind := k.(map[string]any)
			group, _ := kind["group"].(string)
			put(t, filepath.Join(dir, fileOf(group, kind["version"].(string), kind["kind"].(string))),
				map[string]any{"$ref": "definitions.json#/definitions/" + name})
		}
	}
	var crd map[string]any
	if err := yaml.Unmarshal(read(t, filepath.Join(module(t, operator, operatorSum), "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml")), &crd); err != nil {
		t.Fatal(err)
	}
	monitor := at(crd, "spec", "versions", "0", "schema", "openAPIV3Schema")
	strict(monitor)
	at(monitor, "properties").(map[string]any)["metadata"] = map[string]any{"type": "object"} // which a CRD leaves to Kubernetes
	put(t, filepath.Join(dir, fileOf("monitoring.coreos.com", "v1", "ServiceMonitor")), monitor)
	return dir + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"
}

// fileOf is what kubeconform calls the schema of a kind.
func fileOf(group, version, kind string) string {
	first, _, _ := strings.Cut(group, ".")
	name := kind + "-" + version
	if first != "" {
		name = kind + "-" + first + "-" + version
	}
	return strings.ToLower(name) + ".json"
}

func put(t *testing.T, file string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// strict makes of a schema one that refuses what it does not name, and says in JSON
// Schema's terms where Kubernetes takes a number for a text.
func strict(v any) {
	switch s := v.(type) {
	case []any:
		for _, each := range s {
			strict(each)
		}
	case map[string]any:
		if _, isName := s["type"].(string); isName && (s["format"] == "int-or-string" || strings.Contains(describe(s), "Quantity is a fixed-point")) {
			delete(s, "type")
			delete(s, "format")
		}
		if _, closed := s["additionalProperties"]; !closed && at(s, "properties", "x") == nil {
			if properties, ok := s["properties"].(map[string]any); ok && len(properties) > 0 && s["x-kubernetes-preserve-unknown-fields"] == nil {
				s["additionalProperties"] = false
			}
		}
		for _, each := range s {
			strict(each)
		}
	}
}

// putText writes a file.
func putText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func describe(s map[string]any) string {
	text, _ := s["description"].(string)
	return text
}
