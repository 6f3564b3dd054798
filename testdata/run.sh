#!/usr/bin/env bash
# Starts bin/pushguard with the example policy in front of a Pushgateway and says
# what to try. PUSHGATEWAY_URL names a Pushgateway; without it Debian's is started
# on a free port. LISTEN is the guard's own address. Ctrl-C stops what was started.
set -euo pipefail
cd "$(dirname "$0")/.."

listen=${LISTEN:-127.0.0.1:9091}
upstream=${PUSHGATEWAY_URL:-}
dir=$(mktemp -d)
guard='' gateway=''

# The guard goes first, so that pushes in flight still find their Pushgateway.
stop() {
  for pid in $guard $gateway; do
    kill "$pid" 2>/dev/null && wait "$pid" || true
  done
  rm -rf "$dir"
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

# await CONDITION...: waits up to 10 s for it to hold.
await() {
  for _ in {1..100}; do
    "$@" && return
    sleep 0.1
  done
  return 1
}

command -v curl >/dev/null || testdata/install.sh pushgateway
if [ -z "$upstream" ]; then
  command -v prometheus-pushgateway >/dev/null || testdata/install.sh pushgateway
  prometheus-pushgateway --web.listen-address=127.0.0.1:0 --persistence.file= >"$dir/pushgateway.log" 2>&1 &
  gateway=$!
  await grep -qs 'Listening on' "$dir/pushgateway.log" || { cat "$dir/pushgateway.log" >&2; exit 1; }
  upstream=http://$(sed -n 's/.*Listening on.*address=//p' "$dir/pushgateway.log")
fi

bin/pushguard serve --web.listen-address="$listen" --pushgateway.url="$upstream" \
  --policy.file=deploy/policy.example.yml --audit.file="$dir/audit.jsonl" 2> >(tee "$dir/pushguard.log" >&2) &
guard=$!
# Its own word comes first: another server may already answer at this address.
ready() {
  kill -0 "$guard" 2>/dev/null || return 0
  grep -qs msg=Ready "$dir/pushguard.log" && curl -fso /dev/null "http://$listen/-/ready"
}
await ready || echo "The Pushgateway at $upstream does not answer yet." >&2
kill -0 "$guard" 2>/dev/null || { wait "$guard"; exit; }

cat <<END

pushguard listens on http://$listen, in front of the Pushgateway at $upstream.
Try, in another terminal:

  # ten tasks that fail at once: a Pushgateway would say 1
  for i in {1..10}; do echo 'failure_count 1' | curl -s --data-binary @- http://$listen/metrics/job/nightly_load & done; wait; curl -s http://$listen/metrics | grep ^failure_count

  # a push with a run_id, which would be a new series every night
  echo 'rows_loaded{table="orders",run_id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} 8' | curl -i --data-binary @- http://$listen/metrics/job/nightly_load

  # what happened
  curl -s http://$listen/metrics | grep ^rows_loaded; cat $dir/audit.jsonl

Ctrl-C stops it.
END
wait "$guard"
