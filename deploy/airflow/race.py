"""Ten mapped tasks of one run that fail at once, each in a process of its own.

    python3 deploy/airflow/race.py http://127.0.0.1:9091

It calls the hooks of plugins/pushguard_listener.py as Airflow does, without Airflow,
and so shows what the listener does to a Pushgateway, and through pushguard.
"""

import concurrent.futures
import datetime
import os
import sys
import types


def stand_in():
    """The two names of Airflow that the listener wants."""
    airflow, listeners, plugins = (types.ModuleType(n) for n in ("airflow", "airflow.listeners", "airflow.plugins_manager"))
    listeners.hookimpl = lambda hook: hook
    plugins.AirflowPlugin = object
    for module in (airflow, listeners, plugins):
        sys.modules.setdefault(module.__name__, module)


def task(map_index):
    stand_in()
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins"))
    import pushguard_listener

    now = datetime.datetime.now(datetime.timezone.utc)
    instance = types.SimpleNamespace(
        dag_id="orders", task_id="load", run_id="manual__" + now.date().isoformat(), map_index=map_index,
        try_number=1, state="failed", start_date=now - datetime.timedelta(seconds=20 + map_index), end_date=now,
    )
    pushguard_listener.on_task_instance_running(None, instance)
    pushguard_listener.on_task_instance_failed("running", instance)


def main(url):
    os.environ["PUSHGUARD_URL"] = url
    with concurrent.futures.ProcessPoolExecutor(10) as pool:
        list(pool.map(task, range(10)))


if __name__ == "__main__":
    main(sys.argv[1])
