package main

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/trial"
)

// tell prints what came out of a suite: faults to stderr, as check does.
func (s *suite) tell(stdout, stderr io.Writer) {
	switch {
	case errors.As(s.fault, new(policy.Faults)):
		fmt.Fprintln(stderr, s.fault)
		return
	case s.fault != nil: // which the end tells
		return
	case len(s.tests) == 0:
		fmt.Fprintf(stdout, "%s: no tests\n", s.file)
		return
	case len(s.done) == 0: // of those that were asked for
		return
	}
	fmt.Fprintln(stdout, s.file)
	for _, t := range s.done {
		if len(t.differences) == 0 {
			fmt.Fprintf(stdout, "  ok    %s\n", t.test.Name)
			continue
		}
		fmt.Fprintf(stdout, "  FAIL  %s\n%s", t.test.Name, t.story("        "))
	}
}

// story is what is not as expected, each line indented.
func (t *tested) story(indent string) string {
	var b strings.Builder
	for _, d := range t.differences {
		s := t.test.Steps[d.Step]
		where := ""
		if len(t.test.Steps) > 1 {
			where = fmt.Sprintf("push %d, ", d.Step+1)
		}
		fmt.Fprintf(&b, "%s%s:%d: %sat %s: %s (-want +got)\n", indent, t.test.File, s.Line, where, model.Duration(s.At), d.What)
		for _, line := range diff(d) {
			b.WriteString(indent + "  " + line + "\n")
		}
	}
	return b.String()
}

// diff merges two sorted sets of lines, and says of each line where it is. One line,
// and what is no set, stays as it is.
func diff(d trial.Difference) []string {
	var out []string
	want, got := d.Want, d.Got
	if d.What == "answer" || len(want) == 1 && len(got) == 1 {
		return append(marked("- ", want), marked("+ ", got)...)
	}
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0] < got[0]:
			out, want = append(out, "- "+want[0]), want[1:]
		case len(want) == 0 || got[0] < want[0]:
			out, got = append(out, "+ "+got[0]), got[1:]
		default:
			out, want, got = append(out, "  "+want[0]), want[1:], got[1:]
		}
	}
	return out
}

func marked(mark string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = mark + cmp.Or(line, "(nothing)")
	}
	return out
}

// The types below are the JUnit XML that CI systems read.
type (
	junitReport struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Seconds string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"`
	}
)

// writeJUnit writes what came out. A file that could not be run is a case in error,
// so that no reader takes it for one without tests.
func writeJUnit(path string, suites []suite) error {
	var report junitReport
	for _, s := range suites {
		out := s.junit()
		report.Tests += out.Tests
		report.Failures += out.Failures
		report.Errors += out.Errors
		report.Suites = append(report.Suites, out)
	}
	text, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	if err := os.WriteFile(path, append([]byte(xml.Header), append(text, '\n')...), 0o666); err != nil { // #nosec G306 -- a report for others, as their umask has it
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}

func (s *suite) junit() junitSuite {
	out := junitSuite{Name: s.file}
	if s.fault != nil {
		out.Errors = 1
		out.Cases = append(out.Cases, junitCase{
			Name: "the file can be read", Class: s.file, File: s.file, Seconds: "0",
			Error: &junitMessage{Message: "faults", Text: s.fault.Error()},
		})
	}
	for _, t := range s.done {
		c := junitCase{
			Name: t.test.Name, Class: s.file, File: t.test.File, Line: t.test.Line,
			Seconds: strconv.FormatFloat(t.took.Seconds(), 'f', 6, 64),
		}
		if n := len(t.differences); n > 0 {
			out.Failures++
			c.Failure = &junitMessage{Message: plural(n, "difference"), Text: "\n" + t.story("")}
		}
		out.Cases = append(out.Cases, c)
	}
	out.Tests = len(out.Cases)
	return out
}
