#!/usr/bin/env bash
# Installs what the end-to-end tests run against, as root on a Debian, and only
# what is missing. With the argument pushgateway it is no more than a Pushgateway
# and curl, for make demo and make soak; with haproxy that and a haproxy, which only make
# bench-gateway needs. It may be run again at any time, waits for another apt that is
# at work, and tries what comes over the network three times.
set -euo pipefail
cd "$(dirname "$0")/.."

again() { # again COMMAND...: up to three times, until it succeeds
  for pause in 5 20 0; do
    "$@" && return
    echo "install.sh: $* failed" >&2
    sleep "$pause"
  done
  return 1
}

apt_get() { # apt_get ARGUMENT...: apt-get, which waits for others and asks again by itself
  DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 "$@"
}

packages_from_debian() {
  apt_get update && apt_get install -y --no-install-recommends "$@"
}

built() { # built MODULE_FILE TOOL...: tools that the tests run, built into Go's cache
  local file=$1
  shift
  for tool in "$@"; do
    again go tool -modfile="$file" -n "$tool" >/dev/null
  done
}

packages=()
need() { # need PACKAGE COMMAND...: the package is missing unless the command succeeds
  "${@:2}" >/dev/null 2>&1 || packages+=("$1")
}

need prometheus-pushgateway test -x /usr/bin/prometheus-pushgateway
need curl command -v curl
if [ "${1:-all}" = haproxy ]; then
  need haproxy command -v haproxy
fi
if [ "${1:-all}" = all ]; then
  need prometheus test -x /usr/bin/prometheus -a -x /usr/bin/promtool
  need redis-server command -v redis-server
  # By its path: another Python may come first on PATH, without Debian's modules.
  need clickhouse-server test -x /usr/sbin/clickhouse-server
  need python3-prometheus-client /usr/bin/python3 -c 'import prometheus_client'
  need python3-pluggy /usr/bin/python3 -c 'import pluggy'
  need systemd test -x /usr/bin/systemd-analyze
  need prometheus-alertmanager test -x /usr/bin/amtool
  need lintian command -v lintian
  need rpm command -v rpm
  need nodejs command -v node
  need npm command -v npm
  need chromium-headless-shell test -x /usr/bin/chromium-headless-shell
fi

if [ ${#packages[@]} -gt 0 ]; then
  echo "install.sh: installing ${packages[*]}"
  again packages_from_debian "${packages[@]}"
else
  echo "install.sh: every package is there"
fi

if [ "${1:-all}" = all ]; then
  for node in testdata/clients/node testdata/clients/browser; do
    # npm leaves this file behind when node_modules is what the lock file says.
    if [ "$node/node_modules/.package-lock.json" -nt "$node/package-lock.json" ]; then
      echo "install.sh: the modules of $node are there"
    else
      echo "install.sh: installing the modules of $node"
      again npm ci --prefix "$node" --no-audit --no-fund --fetch-retries=5
    fi
  done

  # Here rather than in the tests, whose time is limited, and with more than one try.
  echo "install.sh: building the tools that the tests run"
  built tools.mod statsd_exporter
  built deploy/kubernetes.mod helm kustomize kubeconform
  built deploy/release.mod nfpm cyclonedx-gomod
  for module in $(grep -ohE '"[a-z0-9./-]+@v[0-9.]+"' cmd/pushguard/e2e/shipped/schemas_test.go | tr -d '"'); do
    again go mod download "$module"
  done
fi
