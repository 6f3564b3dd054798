"""A batch job with prometheus_client, see ../README.md."""

import sys

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    delete_from_gateway,
    push_to_gateway,
    pushadd_to_gateway,
)

RUNS = ("6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d", "b2f7d3b0-51a4-4f0e-8f43-7c1d2e3f4a5b")


def loaded():
    registry = CollectorRegistry()
    rows = Counter("rows", "Rows loaded.", ["table", "run_id"], registry=registry)
    rows.labels("orders", RUNS[0]).inc(3)
    rows.labels("orders", RUNS[1]).inc(4)
    rows.labels("users", RUNS[0]).inc(5)
    seconds = Histogram("load_seconds", "Time of a load.", ["run_id"], registry=registry)
    seconds.labels(RUNS[0]).observe(0.2)
    seconds.labels(RUNS[0]).observe(3)
    seconds.labels(RUNS[1]).observe(0.7)
    Gauge("last_success_timestamp_seconds", "When it last went well.", registry=registry).set(1700000000)
    return registry


def offending():
    registry = CollectorRegistry()
    Gauge("mails", "Mails sent.", ["recipient"], registry=registry).labels("jane.doe@example.org").set(1)
    return registry


def main(url, operation, job, *labels):
    key = dict(label.split("=", 1) for label in labels)
    if operation == "push":
        push_to_gateway(url, job, loaded(), key)
    elif operation == "add":
        pushadd_to_gateway(url, job, loaded(), key)
    elif operation == "delete":
        delete_from_gateway(url, job, key)
    elif operation == "offend":
        push_to_gateway(url, job, offending(), key)
    else:
        raise SystemExit(f"unknown operation {operation}")


try:
    main(*sys.argv[1:])
except OSError as e:
    print(f"{type(e).__name__}: {e}")
    raise SystemExit(1)
print("ok")
