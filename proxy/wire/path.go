package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// ErrNotGroup says that a path is not the path of a group at all. A Pushgateway
// answers it with 404.
var ErrNotGroup = errors.New("not the path of a group")

// ErrUnclean says that a path has an empty segment or a dot segment written out.
// A Pushgateway answers it with a redirect, on which clients lose the push: some
// take it for success, others repeat it as a GET without a body.
var ErrUnclean = errors.New("path with an empty or a dot segment")

const (
	base64Suffix = "@base64"
	base64Fix    = "encode it by the URL alphabet of base64, with - and _ in place of + and /; padding may be left out"
)

// ParsePath reads the grouping key out of the path of a push, as a Pushgateway
// does. The path is escaped (as by url.URL.EscapedPath) and without the route
// prefix; it is matched decoded, so an escaped slash separates like a plain one.
// With utf8Names, label names are those of a Pushgateway with
// --push.enable-utf8-names: any valid UTF-8, names that begin with U__ being
// unescaped.
//
// The error is ErrNotGroup, or an *Error: in a Pushgateway's words for what a
// Pushgateway refuses, otherwise because the key would break the gateway for
// every job (a value that is not UTF-8, a reserved name behind an escape) or
// would be lost on a redirect; then it is ErrUnclean too. What the checks are
// and their order: segments, base64 of the job, labels from left to right, the
// job's presence, UTF-8 of the values.
func ParsePath(escaped string, utf8Names bool) (Key, error) {
	if !strings.HasPrefix(escaped, "/") {
		return Key{}, ErrNotGroup
	}
	if strings.Contains(escaped, "//") || strings.Contains(escaped, "/.") {
		if err := checkSegments(strings.Split(escaped[1:], "/")); err != nil {
			return Key{}, err
		}
	}
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return Key{}, &Error{Reason: fmt.Sprintf("invalid path: %.200s", err), Fix: "write a percent sign of the path as %25"}
	}
	job, rest, encoded, ok := cutJob(path)
	if !ok {
		return Key{}, ErrNotGroup
	}
	name := job
	if encoded {
		if name, err = decodeBase64(job); err != nil {
			return Key{}, &Error{Reason: fmt.Sprintf("invalid base64 encoding in job name %.200q: %v", job, err), Fix: base64Fix}
		}
	}
	ls, err := splitLabels(rest, utf8Names)
	if err != nil {
		return Key{}, err
	}
	if name == "" {
		return Key{}, &Error{Reason: "job name is required", Fix: "name the job in the path: /metrics/job/NAME"}
	}
	// Last, so that no label of the path overrides the job.
	key := keyOf(append(ls, labels.Label{Name: model.JobLabel, Value: name}))
	if err := checkUTF8(key); err != nil {
		return Key{}, err
	}
	return key, nil
}

// cutJob takes a decoded path apart into the job, which may be empty, and the
// labels with the slash before them.
func cutJob(path string) (job, rest string, encoded, ok bool) {
	after, ok := strings.CutPrefix(path, "/metrics/job")
	if !ok {
		return "", "", false, false
	}
	after, encoded = strings.CutPrefix(after, base64Suffix)
	if len(after) < 2 || after[0] != '/' {
		return "", "", false, false
	}
	job = after[1:]
	if i := strings.IndexByte(job, '/'); i >= 0 {
		job, rest = job[:i], job[i:]
	}
	return job, rest, encoded, true
}

// splitLabels reads /name/value/name/value…; the last value may be empty. Less
// than two bytes are no labels.
func splitLabels(s string, utf8Names bool) ([]labels.Label, error) {
	if len(s) < 2 {
		return nil, nil
	}
	slashes := strings.Count(s, "/")
	if slashes%2 != 0 {
		return nil, &Error{
			Reason: fmt.Sprintf("odd number of components in label string %.200q", s),
			Fix:    "write what follows the job as /NAME/VALUE; a job or a value that holds a slash is written in base64, as job@base64/… or NAME@base64/…",
		}
	}
	ls := make([]labels.Label, 0, slashes/2+1) // and the job
	for rest, more := s[1:], true; more; {
		var written, text string
		written, rest, _ = strings.Cut(rest, "/")
		text, rest, more = strings.Cut(rest, "/")
		written, encoded := strings.CutSuffix(written, base64Suffix)
		name, err := pathLabel(written, utf8Names)
		if err != nil {
			return nil, err
		}
		value := text
		if encoded {
			if value, err = decodeBase64(text); err != nil {
				return nil, &Error{Reason: fmt.Sprintf("invalid base64 encoding for label %.200s=%.200q: %v", written, text, err), Fix: base64Fix}
			}
		}
		ls = append(ls, labels.Label{Name: name, Value: value})
	}
	return ls, nil
}

// pathLabel is the label name that a component of the path stands for.
func pathLabel(written string, utf8Names bool) (string, error) {
	scheme := model.LegacyValidation
	name := written
	unescaped := model.UnescapeName(written, model.ValueEncodingEscaping)
	if utf8Names {
		scheme, name = model.UTF8Validation, unescaped
	}
	var fix string
	switch {
	case strings.HasPrefix(written, model.ReservedLabelPrefix):
		fix = reservedFix
	case strings.ContainsAny(name, unreadable):
		fix = unreadableFix
	case utf8Names && !scheme.IsValidLabelName(name):
		fix = "give the label a name, in UTF-8"
	case !scheme.IsValidLabelName(name):
		fix = nameFix("label", labelPattern)
	case strings.HasPrefix(unescaped, model.ReservedLabelPrefix):
		// Refused without utf8Names too: a Pushgateway that unescapes after all
		// would lose every scrape over it.
		fix = fmt.Sprintf("it stands for %.200q, and ", unescaped) + reservedFix
	case utf8Names && !escapable(name):
		fix = fmt.Sprintf("it stands for %.200q, itself an escaped name: rename the label", unescaped)
	default:
		return name, nil
	}
	return "", &Error{Reason: fmt.Sprintf("improper label name %.200q", written), Fix: fix}
}

// decodeBase64 decodes the URL alphabet; padding may be there or not.
func decodeBase64(s string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return string(b), err
}

func checkUTF8(key Key) error {
	for _, l := range key.labels {
		if !utf8.ValidString(l.Value) {
			return &Error{
				Reason: fmt.Sprintf("value %.200q of label %.200q in the path is not valid UTF-8", l.Value, l.Name),
				Fix:    "encode it as UTF-8: with other bytes in a grouping key, every scrape and every later push of any job fails",
			}
		}
	}
	return nil
}

// uncleanError is an *Error that is ErrUnclean too.
type uncleanError struct{ cause *Error }

func (e uncleanError) Error() string   { return e.cause.Error() }
func (e uncleanError) Unwrap() []error { return []error{e.cause, ErrUnclean} }

// checkSegments refuses the first segment, of an escaped path split at its
// slashes, for which net/http's ServeMux redirects. An empty last one is a
// trailing slash, and good.
func checkSegments(segments []string) error {
	for i, s := range segments {
		switch {
		case s == "" && i < len(segments)-1:
			return uncleanError{&Error{Reason: "empty segment" + place(segments, i), Fix: segmentFix(segments, i)}}
		case s == "." || s == "..":
			return uncleanError{&Error{Reason: fmt.Sprintf("segment %q%s", s, place(segments, i)), Fix: segmentFix(segments, i)}}
		}
	}
	return nil
}

func place(segments []string, i int) string {
	const why = ": a Pushgateway answers with a redirect, which loses the push"
	if i == 0 {
		return " at the start of the path" + why
	}
	return fmt.Sprintf(" after %.100q in the path%s", segments[i-1], why)
}

// segmentFix says how the segment is to be written, if it is where the job or
// the value of a label belongs: /metrics/job/JOB/NAME/VALUE…
func segmentFix(segments []string, i int) string {
	if i < 2 || i%2 != 0 || segments[0] != "metrics" || strings.TrimSuffix(segments[1], base64Suffix) != model.JobLabel {
		return "leave it out; a value that holds a slash is written NAME@base64/VALUE"
	}
	name := strings.TrimSuffix(segments[i-1], base64Suffix)
	return fmt.Sprintf("write %.100s@base64/%s; a value that holds a slash is written in base64 too", name, base64Value(segments[i]))
}
