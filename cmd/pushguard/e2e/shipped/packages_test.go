package shipped

import (
	"debug/buildinfo"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// rpmArch is what rpm calls an architecture of Go's.
var rpmArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// releasedEnv names a folder that make dist has made, to be held to what a release is.
const releasedEnv = "PUSHGUARD_DIST"

// released are the files that a release has for one architecture.
type released struct{ version, arch, deb, rpm, tarball, sbom string }

func releasedIn(dir, version, arch string) released {
	name, debs := filepath.Join(dir, "pushguard-"+version+".linux-"+arch), strings.ReplaceAll(version, "-", "~")
	return released{
		version, arch, filepath.Join(dir, "pushguard_"+debs+"-1_"+arch+".deb"), filepath.Join(dir, "pushguard-"+debs+"-1."+rpmArch[arch]+".rpm"),
		name + ".tar.gz", name + ".cdx.json",
	}
}

// A release, here of this machine's architecture alone, is the same bytes when it is made
// again, and holds what it should.
func TestDist(t *testing.T) {
	world.Need(t, "/usr/bin/rpm")
	world.Need(t, "/usr/bin/lintian")
	dir := t.TempDir()
	t.Setenv("ARCHES", runtime.GOARCH)
	t.Setenv("VERSION", "v1.2.3")
	for _, out := range []string{"one", "two"} {
		run(t, "deploy/packages/dist.sh", filepath.Join(dir, out))
	}
	sums := string(read(t, filepath.Join(dir, "one/SHA256SUMS")))
	if diff := cmp.Diff(sums, string(read(t, filepath.Join(dir, "two/SHA256SUMS")))); diff != "" || strings.Count(sums, "\n") != 4 {
		t.Errorf("%s\n%s", diff, sums)
	}
	r := releasedIn(filepath.Join(dir, "one"), "1.2.3", runtime.GOARCH)
	r.holds(t)
	t.Run("installed", func(t *testing.T) { installs(t, r.deb) })
}

// The folder that PUSHGUARD_DIST names holds that for every architecture.
func TestRelease(t *testing.T) {
	dir := os.Getenv(releasedEnv)
	if dir == "" {
		t.Skip(releasedEnv + " names no release; the release workflow has it name that of make dist")
	}
	tarballs, err := filepath.Glob(filepath.Join(dir, "pushguard-*.linux-"+runtime.GOARCH+".tar.gz"))
	if err != nil || len(tarballs) != 1 {
		t.Fatalf("%s: %v, %v", dir, tarballs, err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(tarballs[0]), "pushguard-"), ".linux-")
	for _, arch := range slices.Sorted(maps.Keys(rpmArch)) {
		t.Run(arch, releasedIn(dir, version, arch).holds)
	}
}

// packaged are the files of both kinds of packages.
var packaged = []string{
	"/etc/default/pushguard", "/etc/pushguard/policy.yml", "/usr/bin/pushguard", "/usr/lib/systemd/system/pushguard.service",
	"/usr/share/bash-completion/completions/pushguard", "/usr/share/fish/vendor_completions.d/pushguard.fish", "/usr/share/man/man1/pushguard.1.gz",
}

func (r released) holds(t *testing.T) {
	unpacked := t.TempDir()
	run(t, "dpkg-deb", "-x", r.deb, unpacked)
	r.hasTheBinary(t, unpacked+"/usr/bin/pushguard")
	if got := run(t, "dpkg-deb", "-f", r.deb, "Architecture"); strings.TrimSpace(got) != r.arch {
		t.Errorf("the deb is for %s", got)
	}
	isList(t, "deb", filesBelow(t, unpacked), append(slices.Clone(packaged),
		"/usr/share/zsh/vendor-completions/_pushguard", "/usr/share/lintian/overrides/pushguard",
		"/usr/share/doc/pushguard/changelog.Debian.gz", "/usr/share/doc/pushguard/changelog.gz",
		"/usr/share/doc/pushguard/copyright", "/usr/share/doc/pushguard/third-party-licenses.gz"))
	if out, said, err := try("lintian", "--fail-on", "error", r.deb); err != nil {
		t.Errorf("lintian: %v: %s%s", err, out, said)
	}
	if got := run(t, "rpm", "-qp", "--nosignature", "--qf", "%{VERSION} %{ARCH} %{LICENSE}", r.rpm); got != strings.ReplaceAll(r.version, "-", "~")+" "+rpmArch[r.arch]+" Apache-2.0" {
		t.Errorf("the rpm is of %s", got)
	}
	isList(t, "rpm", strings.Fields(run(t, "rpm", "-qpl", "--nosignature", r.rpm)), append(slices.Clone(packaged),
		"/usr/share/zsh/site-functions/_pushguard", "/usr/share/doc/pushguard/CHANGELOG.md",
		"/usr/share/licenses/pushguard/LICENSE", "/usr/share/licenses/pushguard/third-party-licenses.gz"))
	var inside []string
	for _, name := range strings.Fields(run(t, "tar", "-tzf", r.tarball)) {
		if _, base, _ := strings.Cut(name, "/"); base != "" && !strings.HasSuffix(base, "/") {
			inside = append(inside, base)
		}
	}
	isList(t, "tarball", inside, []string{
		"CHANGELOG.md", "LICENSE", "README.md", "completions/_pushguard", "completions/pushguard.bash", "completions/pushguard.fish",
		"policy.example.yml", "pushguard", "pushguard.1.gz", "pushguard.service", "third-party-licenses.gz",
	})
	sbom := string(read(t, r.sbom))
	if !strings.Contains(sbom, `"CycloneDX"`) || !strings.Contains(sbom, "pkg:golang/github.com/prometheus/prometheus@v") {
		t.Error("the SBOM names no prometheus/prometheus")
	}
}

// hasTheBinary holds a binary to its architecture, its version and the policy that comes
// with it, as far as this machine can run it; and to the licences of what it is linked from.
func (r released) hasTheBinary(t *testing.T, binary string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["GOARCH"] != r.arch || settings["GOOS"] != "linux" || settings["CGO_ENABLED"] != "0" {
		t.Errorf("built for %v", settings)
	}
	root := strings.TrimSuffix(binary, "/usr/bin/pushguard")
	licences := run(t, "zcat", root+"/usr/share/doc/pushguard/third-party-licenses.gz")
	for _, module := range info.Deps {
		if !strings.Contains(licences, "\n==== "+module.Path+" "+module.Version+": ") {
			t.Errorf("no licence of %s %s", module.Path, module.Version)
		}
	}
	if r.arch != runtime.GOARCH {
		return
	}
	if got := run(t, binary, "--version"); !strings.Contains(got, "pushguard, version "+r.version+" ") {
		t.Errorf("the binary of the deb is %s", got)
	}
	run(t, binary, "check", root+"/etc/pushguard/policy.yml")
}

func isList(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the %s (-want +got):\n%s", what, diff)
	}
}

// filesBelow are the paths of all that is below a folder and is no folder.
func filesBelow(t *testing.T, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// bare fills a folder with what the scripts of a Debian package run: a shell, rm, and
// init-system-helpers with its Perl.
const bare = `set -e
{ dpkg -L perl-base init-system-helpers
  for p in /bin/sh /bin/rm /usr/bin/perl; do echo $p; ldd $p | grep -o '/[^ ]*'; done
} | sort -u | while read -r f; do [ -d "$f" ] || echo "$f"; done |
  tar -P -h -cf - -T - --transform='s,^/,,' | tar -C "$1" -xf -
mkdir -p "$1/dev" "$1/var/lib/dpkg/info" "$1/var/lib/dpkg/updates" "$1/var/lib/dpkg/triggers"
touch "$1/dev/null" "$1/var/lib/dpkg/status"`

// installs puts the deb into a system of its own in which no systemd runs, as an image or
// a chroot has none, and takes it away again: the service is enabled, and stays disabled
// where it was; a removal keeps what the guard kept, and a purge leaves nothing.
func installs(t *testing.T, deb string) {
	if os.Geteuid() != 0 {
		world.Missing(t, "root, to run dpkg")
	}
	root := t.TempDir()
	run(t, "sh", "-c", bare, "bare", root)
	before := ours(t, root)
	dpkg := func(args ...string) { run(t, "dpkg", append([]string{"--root=" + root}, args...)...) }
	wanted := root + "/etc/systemd/system/multi-user.target.wants/pushguard.service"
	enabled := func(want bool) {
		t.Helper()
		if _, err := os.Lstat(wanted); (err == nil) != want {
			t.Errorf("enabled: %v, want %t", err, want)
		}
	}
	dpkg("-i", deb)
	enabled(true)
	if got := run(t, "chroot", root, "/usr/bin/pushguard", "check", "/etc/pushguard/policy.yml"); !strings.Contains(got, "ok") {
		t.Error(got)
	}
	if err := os.Remove(wanted); err != nil { // as systemctl disable does
		t.Fatal(err)
	}
	dpkg("-i", deb)
	enabled(false)
	state := root + "/var/lib/private/pushguard/state"
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	putText(t, root+"/etc/default/pushguard", "ARGS=\n") // which dpkg -i leaves alone
	dpkg("-i", deb)
	dpkg("-r", "pushguard")
	for path, content := range map[string]string{"/etc/default/pushguard": "ARGS=\n", "/etc/pushguard/policy.yml": string(read(t, "../../../../deploy/policy.example.yml"))} {
		if diff := cmp.Diff(content, string(read(t, root+path))); diff != "" {
			t.Errorf("%s after a removal:\n%s", path, diff)
		}
	}
	if _, err := os.Stat(state); err != nil {
		t.Errorf("a removal took the state: %v", err)
	}
	dpkg("-P", "pushguard")
	if diff := cmp.Diff(before, ours(t, root)); diff != "" {
		t.Errorf("a purge leaves (+):\n%s", diff)
	}
}

// dpkgsOwn are files that dpkg keeps for itself.
var dpkgsOwn = regexp.MustCompile(`^/var/lib/dpkg/`)

// ours are the files of a system that are not dpkg's own.
func ours(t *testing.T, root string) []string {
	return slices.DeleteFunc(filesBelow(t, root), dpkgsOwn.MatchString)
}
