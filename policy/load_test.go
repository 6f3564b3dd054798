package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// folder writes files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFolder(t *testing.T) {
	dir := folder(t, map[string]string{
		"b-data.yml":   "jobs:\n- {job: nightly_.*, owner: data}\n- {job: load, owner: data}\n",
		"a-ml.yaml":    "version: v1\njobs:\n- {job: ml_.*, owner: ml}\n- {job: nightly_ml, owner: ml}\n",
		"z.yml":        "version: v1\nbudget: {series: 100}\nfold_jobs: [trailing_time]\ndefault:\n  mode: enforce\n  rules:\n  - {id: ids, labels: [run], action: drop}\n",
		"z_test.yml":   "tests: []\n",
		".hidden.yml":  "nonsense",
		"README.md":    "nonsense",
		"b-data.yml~":  "nonsense",
		"b-data.yml.1": "nonsense",
	})
	p, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if diff := cmp.Diff([]string{in("a-ml.yaml"), in("b-data.yml"), in("z.yml")}, p.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, test := range []struct{ job, owner, file, line string }{
		{"ml_train", "ml", "a-ml.yaml", "3"},
		{"nightly_ml", "ml", "a-ml.yaml", "4"}, // before nightly_.* of a later file
		{"nightly_load", "data", "b-data.yml", "2"},
		{"load", "data", "b-data.yml", "3"},
		{"other", "", "z.yml", "5"},
	} {
		e := p.Entry(test.job)
		if got := fmt.Sprint(e.Owner, " ", e.File, ":", e.Line); got != test.owner+" "+in(test.file)+":"+test.line {
			t.Errorf("job %s: governed by %s, want %s %s:%s", test.job, got, test.owner, in(test.file), test.line)
		}
		if e.Mode != Enforce {
			t.Errorf("job %s: mode %s is not default's", test.job, e.Mode)
		}
		if got, want := e.PlaceOf("ids", time.Now()), (Place{in("z.yml"), 7}); got != want {
			t.Errorf("job %s: the rule stands at %v, want %v", test.job, got, want)
		}
	}
	if p.SeriesBudget() != 100 || p.FoldJob("load_20260101") != "load" {
		t.Errorf("budget %d, folded %q", p.SeriesBudget(), p.FoldJob("load_20260101"))
	}
}

func TestFolderFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{
			"what there is one of",
			map[string]string{
				"a.yml": "version: v1\nbudget: {series: 1}\nfold_jobs: [uuid]\ndefault: {mode: open}\n",
				"b.yml": "version: v1\n\nbudget: {series: 1}\nfold_jobs: [uuid]\ndefault: {mode: open}\n",
			},
			[]string{
				"b.yml:3:9: budget: stands in two files: first at a.yml:2:9",
				"b.yml:4:12: fold_jobs: stands in two files: first at a.yml:3:12",
				"b.yml:5:10: default: stands in two files: first at a.yml:4:10",
			},
		},
		{
			"a pattern in two files and in one",
			map[string]string{"a.yml": "version: v1\njobs: [{job: a.*}]\n", "b.yml": "jobs:\n- {job: b.*}\n- {job: a.*}\n- {job: b.*}\n"},
			[]string{
				"b.yml:3:9: job \"a.*\": duplicate job pattern: first at a.yml:2:14",
				"b.yml:4:9: job \"b.*\": duplicate job pattern: first on line 2",
			},
		},
		{
			"an entry that another file leaves nothing",
			map[string]string{"a.yml": "version: v1\njobs: [{job: a.*}]\n", "b.yml": "jobs:\n- {job: ab}\n"},
			[]string{"b.yml:2:9: job \"ab\": never governs a job: \"a.*\" at a.yml:2:14 comes first"},
		},
		{
			"no version anywhere",
			map[string]string{"a.yml": "jobs: []\n", "b.yml": "default: {mode: open}\n"},
			[]string{"a.yml:1:1: version is missing: want version: v1"},
		},
		{
			"a fault in each",
			map[string]string{"a.yml": "version: v2\n", "b.yml": "mood: x\n", "c.yml": "", "d.yml": "{"},
			[]string{
				"a.yml:1:10: unknown version \"v2\": want v1",
				"b.yml:1:1: unknown key \"mood\": want version,",
				"c.yml:1:1: the file is empty: want at least version: v1",
				"d.yml:1:",
			},
		},
		{
			"rules and budgets",
			map[string]string{
				"a.yml": "version: v1\nbudget: {series: 5}\njobs:\n- {job: a, budget: {series: 3}}\n",
				"b.yml": "jobs:\n- {job: b, budget: {series: 3}, rules: [{id: x, labels: [l], action: drop}, {id: x, labels: [m], action: drop}]}\n",
			},
			[]string{
				"a.yml:2:18: budget: series: the entries guarantee 6 series together",
				"b.yml:2:82: job \"b\": rule \"x\": duplicate rule id \"x\": rule 1 has it",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := folder(t, test.files)
			_, err := Load(dir)
			if !errors.As(err, new(Faults)) {
				t.Fatalf("want faults, got %v", err)
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""), "\n")
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("faults:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestFolderThatCannotBeRead(t *testing.T) {
	dir := folder(t, map[string]string{"a_test.yml": "version: v1\n", ".a.yml": "version: v1\n"})
	if _, err := Load(dir); err == nil || errors.As(err, new(Faults)) || !strings.Contains(err.Error(), "no policy file in the folder") {
		t.Errorf("nothing in it: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b.yml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a folder by the name of a file: %v", err)
	}
}

// A reload that waits for somebody to write would be the last one.
func TestAPipeThatNobodyWritesTo(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "policy.yml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir} {
		_, err := Load(path)
		if want := pipe + ":1:1: the file is empty: want at least version: v1"; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
		_ = Stamp(path, nil)
	}
}

func TestManyFiles(t *testing.T) {
	files := map[string]string{"a.yml": "version: v1\n"}
	for i := range maxFiles - 1 {
		files[fmt.Sprintf("f%d.yml", i)] = fmt.Sprintf("jobs: [{job: j%d}]\n", i)
	}
	dir := folder(t, files)
	if p, err := Load(dir); err != nil || len(p.Entries()) != maxFiles {
		t.Errorf("%d files: %v", maxFiles, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "one-more.yml"), []byte("jobs: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "more than 1000 policy files") {
		t.Errorf("one more: %v", err)
	}
}

// What is read of a folder was there at one time, as long as it ever rests.
func TestFolderThatChanges(t *testing.T) {
	reading := func(seen ...string) ([]source, error) {
		i := 0
		return readStill(func() ([]source, error) {
			s := seen[min(i, len(seen)-1)]
			i++
			if s == "" {
				return nil, os.ErrNotExist
			}
			return []source{{"a.yml", []byte(s)}}, nil
		})
	}
	for _, test := range []struct {
		seen []string
		want string
	}{
		{[]string{"a"}, "a"},
		{[]string{"a", "b", "b"}, "b"},
		{[]string{"a", "", "b"}, "b"}, // the file was away for a moment
		{[]string{"", "b"}, "b"},
		{[]string{""}, "file does not exist"},
		{[]string{"a", "b", "c", "d", "e", "f", "g"}, "the folder changes while it is read"},
	} {
		got, err := reading(test.seen...)
		if err != nil {
			if err.Error() != test.want {
				t.Errorf("%q: %v, want %s", test.seen, err, test.want)
			}
			continue
		}
		if string(got[0].data) != test.want {
			t.Errorf("%q: read %q, want %q", test.seen, got[0].data, test.want)
		}
	}
}

func TestDigestOfFolder(t *testing.T) {
	of := func(files map[string]string) string {
		p, err := Load(folder(t, files))
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	const a, b = "version: v1\njobs: [{job: a}]\n", "version: v1\njobs: [{job: b}]\n"
	digests := []string{
		of(map[string]string{"1.yml": a, "2.yml": b}),
		of(map[string]string{"1.yml": b, "2.yml": a}),
		of(map[string]string{"1.yml": a}),
		of(map[string]string{"1.yml": a, "3.yml": b}),
	}
	if again := of(map[string]string{"1.yml": a, "2.yml": b}); again != digests[0] {
		t.Errorf("the same folder elsewhere: %s, then %s", digests[0], again)
	}
	if alone, _ := Parse("x", []byte(a)); alone.Digest() != digests[2] {
		t.Error("a folder of one file has another digest than the file")
	}
	slices.Sort(digests)
	if len(slices.Compact(digests)) != 4 {
		t.Errorf("different folders with one digest: %v", digests)
	}
}
