#!/usr/bin/env bash
# Runs fuzz targets, those that are named or all there are, for FUZZTIME (30s) each: on one
# thread, as many beside one another as there are cores. Fails if one of them finds
# something, and prints that. With -build first it only builds them.
#
# The time counts from when a target has read what it begins with, and ends with an
# interrupt, as from ^C. Not with -fuzztime: when that is over, the fuzzer of Go before
# 1.27 may say "context deadline exceeded" of a run that found nothing
# (https://go.dev/issue/75804). A finding ends a run by itself.
#
# An input that is new is made smaller by a few tries only: by default that takes up to a
# minute of each, in which nothing else is tried. Files that a target writes are in memory,
# so that syncing them takes no time, either.
set -euo pipefail
cd "$(dirname "$0")/.."

export bin=$PWD/.cache/fuzz

targets() { # targets [NAME...]: the folder and name of each
  local all
  all=$(grep -roE --include='*_test.go' --exclude-dir=testdata '^func Fuzz\w+' . | sed -E 's|^\./(.*)/[^/]*:func |\1 |' | sort)
  [ $# -gt 0 ] || echo "$all"
  for name in "$@"; do
    grep " $name\$" <<<"$all" || { echo "fuzz.sh: there is no $name" >&2; return 1; }
  done
}

build() { # build FOLDER
  go test -c -fuzz . -o "$bin/$1.test" "./$1"
}

fuzz() { # fuzz FOLDER NAME
  cache=$(go env GOCACHE)/fuzz/$(go list "./$1")
  log=$(mktemp)
  [ ! -w /dev/shm ] || export TMPDIR=/dev/shm
  cd "$1"
  "$bin/$1.test" -test.run '^$' -test.fuzz "^$2\$" -test.parallel 1 -test.fuzzminimizetime 10x -test.fuzzcachedir "$cache" &>"$log" &
  pid=$!
  trap 'kill -INT "$pid" 2>/dev/null || true; rm -f "$log"' EXIT
  until grep -q 'now fuzzing' "$log" || ! kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
  done
  timeout "$FUZZTIME" tail --pid="$pid" -f /dev/null || kill -INT "$pid" || true
  if wait "$pid"; then
    echo "$1 $2: $(grep execs: "$log" | tail -1)"
    return
  fi
  echo "$1 $2 found something:"
  cat "$log"
  grep -oE 'testdata/fuzz/\S+' "$log" | sort -u | xargs -r cat
  return 1
}

export FUZZTIME=${FUZZTIME:-30s}
export -f fuzz
timeout "$FUZZTIME" true

only_build=''
[ "${1:-}" != -build ] || { only_build=yes; shift; }
list=$(targets "$@")
for folder in $(cut -d ' ' -f 1 <<<"$list" | sort -u); do
  build "$folder"
done
[ -z "$only_build" ] || exit 0
xargs -P "$(nproc)" -L 1 bash -euo pipefail -c 'fuzz "$@"' fuzz <<<"$list"
