"""Deletes the groups that nobody pushes to any more, once an hour.

A guard that runs with stale_after sweeps by itself and needs no such DAG. This one is
for a bare Pushgateway, and for who wants the sweep, and what it deleted, among their
DAGs. It runs `pushguard sweep`, whose binary the workers need; its exit code is the
task's.

Airflow Variables, each with its default:

    pushguard_sweep_url    http://pushguard:9091
    pushguard_sweep_after  7d
"""

import datetime

try:  # Airflow 3
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

try:  # Airflow 3, where it is a provider of its own
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator

with DAG(
    dag_id="pushguard_sweep",
    description="delete what nobody pushes to any more",
    schedule="@hourly",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["pushguard"],
) as dag:
    BashOperator(
        task_id="sweep",
        # Values reach the command by its environment, never as part of it.
        bash_command='pushguard sweep --older-than="$SWEEP_AFTER" "$SWEEP_URL"',
        env={
            "SWEEP_URL": "{{ var.value.get('pushguard_sweep_url', 'http://pushguard:9091') }}",
            "SWEEP_AFTER": "{{ var.value.get('pushguard_sweep_after', '7d') }}",
        },
        append_env=True,
        execution_timeout=datetime.timedelta(minutes=10),
        retries=1,
    )
