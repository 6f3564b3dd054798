package policy

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/rules"
)

// manual is what written.go and written_tests.go say about each type, under the empty
// key, and about its fields that have a key.
type manual map[string][]manualField

type manualField struct {
	key, want, kind, text string
	value, unset, example string // of the tags default, unset and example
}

func readManual(t *testing.T) manual {
	t.Helper()
	m := manual{}
	for _, file := range []string{"written.go", "written_tests.go"} {
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range source.Decls {
			declared, ok := d.(*ast.GenDecl)
			if !ok || declared.Tok != token.TYPE || declared.Lparen.IsValid() {
				continue
			}
			spec := declared.Specs[0].(*ast.TypeSpec)
			if s, ok := spec.Type.(*ast.StructType); ok {
				m.read(t, spec.Name.Name, declared.Doc.Text(), s)
			}
		}
	}
	return m
}

// read takes in a type whose fields have keys.
func (m manual) read(t *testing.T, name, doc string, s *ast.StructType) {
	t.Helper()
	for _, f := range s.Fields.List {
		m.add(t, name, f)
	}
	if len(m[name]) > 0 {
		m[name] = append([]manualField{{text: strings.Join(strings.Fields(doc), " ")}}, m[name]...)
	}
}

func (m manual) add(t *testing.T, owner string, f *ast.Field) {
	t.Helper()
	if f.Tag == nil {
		return
	}
	text, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		t.Fatal(err)
	}
	tag := reflect.StructTag(text)
	kind := ""
	switch x := f.Type.(type) {
	case *ast.Ident:
		kind = x.Name
	case *ast.ArrayType:
		kind = "[]" + x.Elt.(*ast.Ident).Name
	}
	said := strings.Join(strings.Fields(f.Doc.Text()), " ")
	if said == "" {
		t.Errorf("%s.%s says nothing", owner, tag.Get("key"))
	}
	m[owner] = append(m[owner], manualField{tag.Get("key"), tag.Get("want"), kind, said, tag.Get("default"), tag.Get("unset"), tag.Get("example")})
}

// doc is what is said of a type, from its verb on.
func (m manual) doc(kind string) string {
	said := regexp.MustCompile(`^\w+ (?:is|are|says) `).ReplaceAllString(m[kind][0].text, "")
	return strings.ToUpper(said[:1]) + said[1:]
}

// mustBe compares a file with what it should be, or writes it with -update.
func mustBe(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(want), read(t, file)); diff != "" {
		t.Errorf("%s is not what written.go says; run the test with -update (-want +got):\n%s", file, diff)
	}
}

type object = map[string]any

// spanPattern is what model.ParseDuration accepts, but for its range.
const spanPattern = "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"

// asked are policies with one word that is wrong, to be told which are right.
var asked = map[string]string{
	"file.version":           "{version: '?'}",
	"auth.push":              "{version: v1, auth: {push: '?'}}",
	"entry.mode":             "{version: v1, default: {mode: '?'}}",
	"entry.on_over_budget":   "{version: v1, default: {on_over_budget: '?'}}",
	"entry.merge":            "{version: v1, default: {merge: '?'}}",
	"entry.on_refuse":        "{version: v1, default: {on_refuse: '?'}}",
	"counters.route":         "{version: v1, default: {counters: {route: '?'}}}",
	"counters.semantics":     "{version: v1, default: {counters: {semantics: '?'}}}",
	"counters.unknown_first": "{version: v1, default: {counters: {unknown_first: '?'}}}",
	"family.as":              "{version: v1, default: {counters: {families: [{metrics: [a], as: '?'}]}}}",
	"family.semantics":       "{version: v1, default: {counters: {families: [{metrics: [a], as: counter, semantics: '?'}]}}}",
	"testPush.method":        "{version: v1, tests: [{name: a, job: a, push: '', want: {status: 200}, method: '?'}]}",
	"testWant.outcome":       "{version: v1, tests: [{name: a, job: a, push: '', want: {outcome: '?'}}]}",
	"testWant.would":         "{version: v1, tests: [{name: a, job: a, push: '', want: {would: '?'}}]}",
	"rule.action":            "{version: v1, default: {rules: [{id: a, labels: [a], action: '?'}]}}",
	"rule.gauges":            "{version: v1, default: {rules: [{id: a, labels: [a], action: drop, gauges: '?'}]}}",
	"relabelConfig.action":   "{version: v1, default: {relabel_configs: [{source_labels: [a], target_label: a, action: '?'}]}}",
}

// link is a link of the manual, of which an editor shows the words.
var link = regexp.MustCompile(`\[([^]]+)\]\(#[^)]+\)`)

// schema returns what the fields of a type must be; without are keys left out.
func (m manual) schema(t *testing.T, kind string, without ...string) object {
	t.Helper()
	properties, required := object{}, []string{}
	for _, f := range m[kind][1:] {
		if len(without) > 0 && f.key == without[0] {
			continue
		}
		s := m.value(t, kind, f)
		s["description"] = link.ReplaceAllString(f.text, "$1")
		properties[f.key] = s
		if f.want == "required" {
			required = append(required, f.key)
		}
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (m manual) value(t *testing.T, owner string, f manualField) object {
	t.Helper()
	whole := object{"type": "integer", "minimum": 0, "maximum": 1<<31 - 1}
	list := func(of string) object { return object{"type": "array", "items": object{"$ref": "#/$defs/" + of}} }
	text := object{"type": "string", "minLength": 1}
	if policy, ok := asked[owner+"."+f.key]; ok {
		return object{"enum": accepted(t, policy)}
	}
	switch f.kind + " " + f.want {
	case "number positive":
		whole["minimum"] = 1
		return whole
	case "number size":
		return object{"anyOf": []any{whole, object{"type": "string", "pattern": "^[0-9]+([KMG]i?)?B$"}}}
	case "words types":
		return object{"type": "array", "minItems": 1, "items": object{"enum": typeNames()}}
	case "words shapes":
		return object{"anyOf": []any{object{"const": "all"}, object{"type": "array", "items": object{"enum": append(rules.ShapeNames(), "all")}}}}
	case "word text":
		return object{"type": "string"}
	case "word scalar":
		return object{"type": []string{"string", "number", "boolean"}}
	}
	switch f.kind {
	case "number":
		return whole
	case "word":
		if f.key == "owner" {
			delete(text, "minLength")
		}
		return text
	case "words":
		return object{"type": "array", "items": text}
	case "date":
		return object{"type": "string", "format": "date"}
	case "entry":
		return object{"$ref": "#/$defs/default"}
	case "truth":
		return object{"type": "boolean"}
	case "span":
		return object{"anyOf": []any{object{"const": 0}, object{"type": "string", "minLength": 1, "pattern": spanPattern}}}
	case "familyList":
		return list("family")
	case "[]entry":
		return list("entry")
	case "[]test":
		return list("test")
	case "[]testPush":
		return list("testPush")
	case "pairs":
		return object{"type": "object", "additionalProperties": object{"type": "string"}}
	case "ruleList":
		return list("rule")
	case "relabelList":
		return list("relabelConfig")
	}
	return object{"$ref": "#/$defs/" + f.kind}
}

func TestSchemaIsMadeOfTheTypes(t *testing.T) {
	m := readManual(t)
	s := m.schema(t, "file")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "pushguard policy"
	s["$defs"] = object{
		"default": m.schema(t, "entry", "job"), "entry": m.schema(t, "entry"), "budget": m.schema(t, "budget"),
		"auth": m.schema(t, "auth"), "entryBudget": m.schema(t, "entryBudget"), "guardBudget": m.schema(t, "guardBudget"),
		"counters": m.schema(t, "counters"), "family": m.schema(t, "family"),
		"limits": m.schema(t, "limits"), "rule": m.schema(t, "rule"), "relabelConfig": m.schema(t, "relabelConfig"),
	}
	m.defineTests(t, s["$defs"].(object))
	mustBeSchema(t, "../deploy/policy.schema.json", s)
}

func TestSchemaOfTestFilesIsMadeOfTheTypes(t *testing.T) {
	m := readManual(t)
	s := m.schema(t, "testFile")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "tests of a pushguard policy"
	s["$defs"] = object{}
	m.defineTests(t, s["$defs"].(object))
	mustBeSchema(t, "../deploy/policy_test.schema.json", s)
}

// defineTests adds what tests are made of. A test has the keys of a push, too.
func (m manual) defineTests(t *testing.T, defs object) {
	t.Helper()
	test, push := m.schema(t, "test"), m.schema(t, "testPush")
	for key, s := range push["properties"].(object) {
		test["properties"].(object)[key] = s
	}
	defs["test"], defs["testPush"] = test, push
	defs["testWant"], defs["testLeft"] = m.schema(t, "testWant"), m.schema(t, "testLeft")
}

func mustBeSchema(t *testing.T, file string, s object) {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	mustBe(t, file, out.Bytes())
}

// valid holds a policy to the shipped schema.
func valid(t *testing.T, schema *jsonschema.Schema, file string) error {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(read(t, file)), &doc); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	plain, err := json.Marshal(doc)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	doc, err = jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return schema.Validate(doc)
}

func TestSchemaAcceptsWhatIsAccepted(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../deploy/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../deploy/policy.example.yml", "../deploy/policy.run-snapshots.yml", "testdata/good/everything.yml", "testdata/good/minimal.yml", "testdata/good/aliases.yml", "testdata/good/empty_lists.yml"} {
		if err := valid(t, schema, file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	tests, err := jsonschema.NewCompiler().Compile("../deploy/policy_test.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("../deploy/*_test.yml")
	if len(files) == 0 {
		t.Error("no tests of shipped policies")
	}
	for _, file := range files {
		if err := valid(t, tests, file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"unknown_keys", "wrong_words", "wrong_limits", "wrong_budgets", "wrong_lifetimes", "wrong_counters", "no_version", "incomplete_rules", "wrong_tests"} {
		if valid(t, schema, "testdata/bad/"+name+".yml") == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}
