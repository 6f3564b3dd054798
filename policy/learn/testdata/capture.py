"""Pushes as Airflow, Spark and CronJobs do to the Pushgateway given as the argument.

The pages beside this file are its /metrics after one of airflow, spark and cronjobs,
each of a fresh prometheus-pushgateway --persistence.file= that keeps nothing:
    capture.py 127.0.0.1:9091 airflow; curl -s 127.0.0.1:9091/metrics > airflow.prom
"""

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, pushadd_to_gateway


def push(job, grouping, fill):
    registry = CollectorRegistry()
    fill(registry)
    pushadd_to_gateway(sys.argv[1], job=job, grouping_key=grouping, registry=registry)


def airflow():
    for dag in ("orders", "users"):
        for day in (1, 2, 3):
            run = f"scheduled__2026-01-0{day}T00:00:00+00:00"

            def task(registry):
                names = ["dag_id", "task_id", "run_id", "try_number"]
                rows = Counter("airflow_task_rows", "Rows.", names, registry=registry)
                took = Gauge("airflow_task_duration_seconds", "Time.", names + ["state"], registry=registry)
                for n, name in enumerate(("extract", "load"), 1):
                    rows.labels(dag, name, run, str(n)).inc(100 * n)
                    took.labels(dag, name, run, str(n), "success").set(n)

            push("airflow", {"dag_id": dag, "run_id": run}, task)


def spark():
    for n in range(1, 4):
        app = f"application_1767225600000_000{n}"

        def driver(registry):
            took = Histogram("spark_stage_duration_seconds", "Time.", ["app_id", "stage"], registry=registry, buckets=(1, 10))
            heap = Gauge("spark_executor_heap_bytes", "Heap.", ["app_id", "executor", "host"], registry=registry)
            for stage in ("read", "join", "write"):
                took.labels(app, stage).observe(n)
            heap.labels(app, "1", f"10.0.0.{n}").set(1 << 30)

        push(f"load_{app}", {"role": "driver"}, driver)


def cronjobs():
    for n, name in enumerate(("backup-28412345-x2k9z", "backup-28412405-b7c4d", "cleanup-28412345-q9w8f")):

        def run(registry):
            Gauge("job_last_success_unixtime", "Time.", registry=registry).set(1767225600 + n)
            files = Counter("job_files", "Files.", ["volume", "pod"], registry=registry)
            for volume in ("data", "logs"):
                files.labels(volume, name).inc(n)

        push(name.rsplit("-", 2)[0], {"namespace": "ops", "pod": name}, run)


{"airflow": airflow, "spark": spark, "cronjobs": cronjobs}[sys.argv[2]]()
