#!/usr/bin/env bash
# Starts BIN (bin/pushguard) as it is without a flag, everything embedded, and says what to
# try. LISTEN is its address, PUSHGATEWAY_URL a Pushgateway to stand in front of.
# Ctrl-C stops what was started.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BIN:-bin/pushguard}
listen=${LISTEN:-127.0.0.1:9091}
dir=$(mktemp -d)
guard=''

stop() {
  [ -z "$guard" ] || { kill "$guard" 2>/dev/null && wait "$guard" || true; }
  rm -rf "$dir"
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

flags=(--web.listen-address="$listen" --audit.file="$dir/audit.jsonl")
where='with everything embedded'
if [ -n "${PUSHGATEWAY_URL:-}" ]; then
  flags+=(--pushgateway.url="$PUSHGATEWAY_URL" --policy.file=deploy/policy.example.yml)
  where="in front of the Pushgateway at $PUSHGATEWAY_URL"
fi
"$bin" serve "${flags[@]}" 2> >(tee "$dir/pushguard.log" >&2) &
guard=$!

# Its own word comes first: another server may already answer at this address.
ready() {
  kill -0 "$guard" 2>/dev/null || return 0
  grep -qs msg=Serving "$dir/pushguard.log" && "$bin" health --url="http://$listen" >"$dir/health" 2>&1
}
for _ in {1..100}; do
  ready && break
  sleep 0.1
done
ready || echo "The Pushgateway at ${PUSHGATEWAY_URL:-} does not answer yet." >&2
kill -0 "$guard" 2>/dev/null || { wait "$guard"; exit; }

cat <<END

pushguard listens on http://$listen, $where.
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
