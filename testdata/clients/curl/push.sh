#!/usr/bin/env bash
# A shell job with curl, see ../README.md. What it is answered goes to its output.
set -euo pipefail

url=$1 operation=$2 path=/metrics/job/$3
shift 3
for label; do path+=/${label%%=*}/${label#*=}; done
runs=(6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d b2f7d3b0-51a4-4f0e-8f43-7c1d2e3f4a5b)

loaded() {
  cat <<END
# TYPE rows_total counter
rows_total{table="orders",run_id="${runs[0]}"} 3
rows_total{table="orders",run_id="${runs[1]}"} 4
rows_total{table="users",run_id="${runs[0]}"} 5
# TYPE load_seconds histogram
load_seconds_bucket{run_id="${runs[0]}",le="1"} 1
load_seconds_bucket{run_id="${runs[0]}",le="+Inf"} 2
load_seconds_sum{run_id="${runs[0]}"} 3.2
load_seconds_count{run_id="${runs[0]}"} 2
load_seconds_bucket{run_id="${runs[1]}",le="1"} 1
load_seconds_bucket{run_id="${runs[1]}",le="+Inf"} 1
load_seconds_sum{run_id="${runs[1]}"} 0.7
load_seconds_count{run_id="${runs[1]}"} 1
# TYPE last_success_timestamp_seconds gauge
last_success_timestamp_seconds 1700000000
END
}

case $operation in
push) loaded | curl -sS --fail-with-body -X PUT --data-binary @- "$url$path" ;;
add) loaded | curl -sS --fail-with-body --data-binary @- "$url$path" ;;
delete) curl -sS --fail-with-body -X DELETE "$url$path" ;;
offend) echo 'mails{recipient="jane.doe@example.org"} 1' | curl -sS --fail-with-body --data-binary @- "$url$path" ;;
*) echo "unknown operation $operation"; exit 2 ;;
esac && echo ok
