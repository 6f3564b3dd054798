#!/usr/bin/env bash
# Makes what a release has into dist (or the folder named): for each architecture the
# binary with its manual and completions, a deb, an rpm and an SBOM, and the checksums of
# them all. The same commit makes the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-dist}
tool=(go tool -modfile=deploy/release.mod)
version=${VERSION:-$(git describe --tags --always --dirty)}
revision=${REVISION:-$(git rev-parse HEAD)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C

version=${version#v}
case $version in
  [0-9]*.[0-9]*) ;;
  *) version=0.0.0~$version ;; # a commit without a tag: older than any release
esac
export PACKAGE_VERSION=${version//-/\~}

stages=$(mktemp -d)
trap 'rm -rf "$stages"' EXIT
umask 022
rm -rf "$out"
mkdir -p "$out"

# What every architecture shares comes from a binary that runs here.
make -s build VERSION="$version" REVISION="$revision" BIN="$stages/here/pushguard"
mkdir -p "$stages/all/completions"
"$stages/here/pushguard" man | gzip -9n >"$stages/all/pushguard.1.gz"
"$stages/here/pushguard" completion bash >"$stages/all/completions/pushguard.bash"
"$stages/here/pushguard" completion zsh >"$stages/all/completions/_pushguard"
"$stages/here/pushguard" completion fish >"$stages/all/completions/pushguard.fish"
gzip -9n <CHANGELOG.md >"$stages/all/changelog.gz"
gzip -9n >"$stages/all/changelog.Debian.gz" <<EOF
pushguard ($PACKAGE_VERSION-1) unstable; urgency=medium

  * Version $version: changelog.gz has what is new.

 -- The pushguard authors <pushguard@users.noreply.github.com>  $(date -R -d "@$SOURCE_DATE_EPOCH")
EOF
# What the binary is linked from asks that its licences come with it.
go list -deps -f '{{with .Module}}{{.Path}} {{.Version}} {{.Dir}}{{end}}' ./cmd/pushguard | sort -u |
  while read -r module moduleversion dir; do
    [ -n "$dir" ] || continue # pushguard itself
    find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort |
      while read -r file; do printf '\n==== %s %s: %s\n\n' "$module" "$moduleversion" "${file##*/}" && cat "$file"; done
  done | gzip -9n >"$stages/all/third-party-licenses.gz"
for packager in deb rpm; do
  grep -v "# not of $packager" deploy/packages/nfpm.yaml >"$stages/$packager.yaml"
done

for arch in ${ARCHES:-amd64 arm64}; do
  name=pushguard-$version.linux-$arch
  export ARCH=$arch STAGE=$stages/$name
  cp -r "$stages/all" "$STAGE"
  GOOS=linux GOARCH=$arch make -s build VERSION="$version" REVISION="$revision" BIN="$STAGE/pushguard"
  for packager in deb rpm; do
    "${tool[@]}" nfpm package -f "$stages/$packager.yaml" -p "$packager" -t "$out/" >&2
  done
  "${tool[@]}" cyclonedx-gomod bin -json -noserial -notimestamp -version "v$version" -output "$out/$name.cdx.json" "$STAGE/pushguard"
  cp LICENSE README.md CHANGELOG.md deploy/policy.example.yml deploy/systemd/pushguard.service "$STAGE/"
  rm "$STAGE/"changelog*.gz
  tar -C "$stages" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
done
(cd "$out" && sha256sum -- * >SHA256SUMS)
