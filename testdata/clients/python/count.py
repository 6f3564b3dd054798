"""A batch job with prometheus_client that counts, see ../README.md."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, pushadd_to_gateway

URL, JOB, MODE, *NUMBERS = sys.argv[1:]
NUMBERS = [int(n) for n in NUMBERS]


def new():
    registry = CollectorRegistry()
    return registry, Counter("work", "Work done.", registry=registry)


def push(registry):
    pushadd_to_gateway(URL, JOB, registry)


def once(value):
    registry, work = new()
    work.inc(value)
    push(registry)


def periodic():
    registry, work = new()
    for before, value in zip([0, *NUMBERS], NUMBERS):
        work.inc(value - before)
        push(registry)


def tasks():
    threads, pushes = NUMBERS
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(once, [1] * threads * pushes))


def forked():
    registry, work = new()
    for _ in range(NUMBERS[0]):
        if os.fork() == 0:
            work.inc()
            push(registry)
            os._exit(0)
    for _ in range(NUMBERS[0]):
        if os.wait()[1] != 0:
            raise SystemExit("a child failed")


def retry():
    registry, work = new()
    work.inc(NUMBERS[0])
    try:
        push(registry)
    except OSError:
        push(registry)
        return
    raise SystemExit("the first push was answered")


{"once": lambda: once(NUMBERS[0]), "periodic": periodic, "tasks": tasks, "forked": forked, "retry": retry}[MODE]()
print("ok")
