package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const testData = "testdata/test/"

func TestTest(t *testing.T) {
	for _, tc := range []struct {
		golden string
		code   int
		args   []string
	}{
		{"kept", 0, []string{testData + "kept/policy.yml"}},
		{"kept-by-file", 0, []string{testData + "kept/policy_test.yml"}},
		{"kept-each-once", 0, []string{testData + "kept/policy_test.yml", testData + "kept/policy.yml", testData + "kept/../kept/policy.yml"}},
		{"kept-some", 0, []string{testData + "kept/policy.yml", "--run=^(a group|nor)"}},
		{"kept-none", 1, []string{testData + "kept/policy.yml", "--run=^nothing is called so$"}},
		{"broken", 1, []string{testData + "broken/policy.yml"}},
		{"faulty", 1, []string{testData + "faulty/policy.yml"}},
		{"faulty-beside", 1, []string{testData + "faulty/good.yml"}},
		{"empty", 0, []string{testData + "empty/policy.yml"}},
		{"several", 1, []string{testData + "empty/policy.yml", testData + "faulty/policy.yml", testData + "kept/policy.yml"}},
		{"missing", 2, []string{testData + "nowhere.yml", testData + "kept/policy.yml"}},
		{"of-a-missing-policy", 2, []string{testData + "kept/unrelated_test.yml"}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			code, stdout, stderr := command(t, append([]string{"test"}, tc.args...)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			golden(t, testData+tc.golden+".golden", stdout+"--- stderr\n"+stderr)
		})
	}
}

func TestTestWrongFlags(t *testing.T) {
	code, stdout, stderr := command(t, "test", "--run=(", testData+"kept/policy.yml")
	if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, `pushguard: --run="(": error parsing regexp: `) {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	code, _, stderr = command(t, "test", testData+"kept/policy.yml", "--junit="+filepath.Join(t.TempDir(), "no", "such.xml"))
	if code != exitFailure || !strings.HasPrefix(stderr, "pushguard: --junit: open ") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestTestWritesJUnit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.xml")
	code, _, _ := command(t, "test", "--junit="+file, testData+"broken/policy.yml", testData+"kept/policy.yml", testData+"faulty/policy.yml")
	if code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A reader of its own, not the types that wrote it.
	type result struct {
		Name string `xml:"name,attr"`
		Text string `xml:"failure"`
		Err  string `xml:"error"`
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suites   []struct {
			Name  string   `xml:"name,attr"`
			Cases []result `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 18 || got.Failures != 2 || got.Errors != 1 || len(got.Suites) != 4 {
		t.Errorf("%d tests, %d failures, %d errors, %d suites", got.Tests, got.Failures, got.Errors, len(got.Suites))
	}
	if c := got.Suites[0].Cases[1]; c.Name != "everything is wrong" || !strings.Contains(c.Text, "- x 1\n  + x{b=\"c\"} 1\n") {
		t.Errorf("%+v", c)
	}
	if c := got.Suites[3].Cases[0]; !strings.Contains(c.Err, `unknown mode "strict"`) {
		t.Errorf("%+v", c)
	}
	untimed := regexp.MustCompile(` time="[0-9.]+"`).ReplaceAllString(string(text), ` time="…"`)
	golden(t, testData+"report.xml.golden", untimed)
}

// The tests that docs/policy.md shows pass, and would not without what they test.
func TestTestsOfTheDocsPass(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(block[1], "\ntests:\n") {
			continue
		}
		ran++
		code, stdout, stderr := command(t, "test", write(t, "policy.yml", block[1]))
		if code != exitOK {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		lax := strings.NewReplacer("mode: enforce", "mode: report").Replace(block[1])
		if code, stdout, _ := command(t, "test", write(t, "policy.yml", lax)); code != exitFailure {
			t.Errorf("without enforcement: exit code %d\n%s", code, stdout)
		}
	}
	if ran == 0 {
		t.Error("docs/policy.md shows no tests")
	}
}

// The shipped policies do what they promise.
func TestShippedPoliciesKeepTheirTests(t *testing.T) {
	files, err := filepath.Glob("../../deploy/policy*_test.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files of tests: %v", len(files), err)
	}
	policies, _ := filepath.Glob("../../deploy/policy*.yml")
	code, stdout, stderr := command(t, append([]string{"test"}, policies...)...)
	if code != exitOK || stderr != "" {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, file := range files {
		if !strings.Contains(stdout, file+"\n") {
			t.Errorf("%s was not run", file)
		}
	}
}

// check looks at files of tests, too.
func TestCheckOfTests(t *testing.T) {
	code, stdout, stderr := command(t, "check", testData+"kept/policy_test.yml", testData+"faulty/good_test.yml")
	if diff := cmp.Diff(testData+"kept/policy_test.yml: ok (8 tests of "+testData+"kept/policy.yml)\n", stdout); code != exitFailure || diff != "" {
		t.Errorf("exit code %d\n%s", code, diff)
	}
	if !strings.HasPrefix(stderr, testData+"faulty/good_test.yml:3:39: ") {
		t.Error(stderr)
	}
}
