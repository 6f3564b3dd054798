"""Tests of the listener, with pluggy, by which Airflow calls its listeners.

    /usr/bin/python3 -m unittest discover -s deploy/airflow/testdata

The hooks are specified here as the documentation of each version of Airflow has them;
Airflow itself does not run.
"""

import contextlib
import datetime
import enum
import http.server
import importlib
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock

import pluggy

PLUGINS = pathlib.Path(__file__).parent.parent / "plugins"
spec = pluggy.HookspecMarker("airflow")


class Airflow2:  # until 2.9
    @spec
    def on_task_instance_running(self, previous_state, task_instance, session): ...
    @spec
    def on_task_instance_success(self, previous_state, task_instance, session): ...
    @spec
    def on_task_instance_failed(self, previous_state, task_instance, session): ...


class Airflow210(Airflow2):
    @spec
    def on_task_instance_failed(self, previous_state, task_instance, error, session): ...


class Airflow30:
    @spec
    def on_task_instance_running(self, previous_state, task_instance): ...
    @spec
    def on_task_instance_success(self, previous_state, task_instance): ...
    @spec
    def on_task_instance_failed(self, previous_state, task_instance, error): ...


class Airflow32(Airflow30):
    @spec
    def on_task_instance_skipped(self, previous_state, task_instance): ...


VERSIONS = {"2.x": Airflow2, "2.10": Airflow210, "3.0": Airflow30, "3.2": Airflow32}


class State(str, enum.Enum):  # as airflow.utils.state.TaskInstanceState
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    UP_FOR_RETRY = "up_for_retry"
    SKIPPED = "skipped"


def instance(**changes):
    start = datetime.datetime(2026, 2, 1, 3, 0, tzinfo=datetime.timezone.utc)
    fields = dict(
        dag_id="orders", task_id="group.load", run_id="scheduled__2026-02-01T00:00:00+00:00", map_index=3,
        try_number=2, state=State.SUCCESS, start_date=start, end_date=start + datetime.timedelta(seconds=20),
    )
    return types.SimpleNamespace(**{**fields, **changes})


class Gateway:
    """Takes pushes and keeps them."""

    def __init__(self, status=200, text=b"", delay=0, headers={}):
        gateway = self
        self.pushes, self.asked = [], []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                gateway.pushes.append((self.path, self.rfile.read(length).decode(), self.headers))
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text)

            def do_GET(self):
                gateway.asked.append(self.path)
                self.send_error(405)

            def log_message(self, *args): ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class ListenerTest(unittest.TestCase):
    def setUp(self):
        airflow, listeners, plugins = (types.ModuleType(n) for n in ("airflow", "airflow.listeners", "airflow.plugins_manager"))
        listeners.hookimpl = pluggy.HookimplMarker("airflow")
        plugins.AirflowPlugin = type("AirflowPlugin", (), {})
        modules = {m.__name__: m for m in (airflow, listeners, plugins)}
        patch = unittest.mock.patch
        for p in (patch.dict(sys.modules, modules), patch.dict(os.environ), patch.object(sys, "path", [str(PLUGINS)] + sys.path)):
            p.start()
            self.addCleanup(p.stop)
        sys.dont_write_bytecode = True
        sys.modules.pop("pushguard_listener", None)
        self.listener = importlib.import_module("pushguard_listener")

    def gateway(self, **kw):
        g = Gateway(**kw)
        self.addCleanup(g.close)
        os.environ["PUSHGUARD_URL"] = g.url
        return g

    def hooks(self, version):
        manager = pluggy.PluginManager("airflow")
        manager.add_hookspecs(VERSIONS[version])
        for module in self.listener.PushguardPlugin.listeners:
            manager.register(module)
        return manager.hook

    def test_every_version_calls_it(self):
        more = {"2.x": {"session": None}, "2.10": {"session": None}, "3.0": {}, "3.2": {}}
        for version, extra in more.items():
            with self.subTest(version):
                gateway, hooks = self.gateway(), self.hooks(version)
                error = {} if version == "2.x" else {"error": ValueError("x")}
                hooks.on_task_instance_running(previous_state=None, task_instance=instance(state=State.RUNNING), **extra)
                hooks.on_task_instance_success(previous_state=State.RUNNING, task_instance=instance(), **extra)
                hooks.on_task_instance_failed(previous_state=State.RUNNING, task_instance=instance(state=State.FAILED), **extra, **error)
                if version == "3.2":
                    hooks.on_task_instance_skipped(previous_state=State.RUNNING, task_instance=instance(state=State.SKIPPED))
                seen = [body.count('airflow_task_state{state="%s"} 1' % s) for (_, body, _), s in zip(gateway.pushes, ("running", "success", "failed", "skipped"))]
                self.assertEqual(seen, [1] * (4 if version == "3.2" else 3))

    def test_what_is_pushed(self):
        gateway = self.gateway()
        self.listener.on_task_instance_success(None, instance())
        (path, body, headers), = gateway.pushes
        self.assertEqual(path, "/metrics/job/airflow_tasks/dag_id/orders/task_id/group.load")
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        source = 'run_id="scheduled__2026-02-01T00:00:00+00:00",map_index="3",try_number="2"'
        for line in (
            'airflow_task_instances_total{state="success",%s} 1' % source,
            'airflow_task_state{state="success"} 1', 'airflow_task_state{state="failed"} 0',
            "airflow_task_last_duration_seconds 20.0", "airflow_task_last_success_timestamp_seconds 1769914820.0",
            'airflow_task_duration_seconds_bucket{%s,le="15"} 0' % source, 'airflow_task_duration_seconds_bucket{%s,le="60"} 1' % source,
            "airflow_task_duration_seconds_count{%s} 1" % source,
        ):
            self.assertIn(line + "\n", body)

    def test_success_stays_where_a_task_fails(self):
        gateway = self.gateway()
        self.listener.on_task_instance_failed(None, instance(state=State.FAILED))
        self.assertNotIn("last_success", gateway.pushes[0][1])

    def test_running_counts_nothing(self):
        gateway = self.gateway()
        self.listener.on_task_instance_running(None, instance(state=State.RUNNING, end_date=None))
        self.assertEqual([l for l in gateway.pushes[0][1].splitlines() if "_state" not in l], [])

    def test_tried_again(self):
        gateway = self.gateway()
        self.listener.on_task_instance_failed(None, instance(state=State.UP_FOR_RETRY))
        self.assertIn('airflow_task_instances_total{state="up_for_retry"', gateway.pushes[0][1])

    def test_the_same_change_has_the_same_key(self):
        gateway = self.gateway()
        for ti in (instance(), instance(), instance(map_index=4), instance(try_number=3)):
            self.listener.on_task_instance_success(None, ti)
        keys = [h["Idempotency-Key"] for _, _, h in gateway.pushes]
        self.assertEqual(keys[0], keys[1])
        self.assertEqual(len(set(keys)), 3)

    def test_names_that_no_path_takes(self):
        gateway = self.gateway()
        self.listener.on_task_instance_success(None, instance(dag_id="a/b", task_id="ü \"\\\n"))
        path = gateway.pushes[0][0]
        self.assertEqual(path, "/metrics/job/airflow_tasks/dag_id@base64/YS9i/task_id/%C3%BC%20%22%5C%0A")

    def test_values_are_escaped(self):
        gateway = self.gateway()
        self.listener.on_task_instance_success(None, instance(run_id='a"b\\c\nd'))
        self.assertIn('run_id="a\\"b\\\\c\\nd"', gateway.pushes[0][1])

    def test_little_is_known(self):
        gateway = self.gateway()
        self.listener.on_task_instance_success(None, types.SimpleNamespace(dag_id="d", task_id="t"))
        self.assertIn('airflow_task_instances_total{state="success",map_index="-1"} 1\n', gateway.pushes[0][1])
        self.assertNotIn("duration", gateway.pushes[0][1])

    def test_nothing_without_a_url(self):
        gateway = self.gateway()
        os.environ["PUSHGUARD_URL"] = ""
        self.listener.on_task_instance_success(None, instance())
        self.assertEqual(gateway.pushes, [])

    def test_token(self):
        gateway = self.gateway()
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("secret\n")
            f.flush()
            os.environ["PUSHGUARD_TOKEN_FILE"] = f.name
            self.listener.on_task_instance_success(None, instance())
        self.assertEqual(gateway.pushes[0][2]["Authorization"], "Bearer secret")

    def test_user_of_the_url(self):
        gateway = self.gateway()
        os.environ["PUSHGUARD_URL"] = gateway.url.replace("http://", "http://etl:s3%40cret@")
        self.listener.on_task_instance_success(None, instance())
        self.assertEqual(gateway.pushes[0][2]["Authorization"], "Basic ZXRsOnMzQGNyZXQ=")

    def test_no_secret_is_logged(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("s3cret\nanother\n")
            f.flush()
            for env in ({"PUSHGUARD_URL": "http://etl:s3cret@127.0.0.1:1"}, {"PUSHGUARD_URL": "http://127.0.0.1:1", "PUSHGUARD_TOKEN_FILE": f.name}):
                with self.subTest(env), unittest.mock.patch.dict(os.environ, env), self.assertLogs("pushguard", "WARNING") as logged:
                    self.listener.on_task_instance_success(None, instance())
                self.assertNotIn("s3cret", "".join(logged.output))

    def test_redirects_are_not_followed(self):
        elsewhere = self.gateway()
        self.gateway(status=302, headers={"Location": elsewhere.url + "/metrics/job/x"})
        with self.assertLogs("pushguard", "WARNING") as logged:
            self.listener.on_task_instance_success(None, instance())
        self.assertEqual(elsewhere.asked, [])
        self.assertIn("302", logged.output[0])

    def test_a_task_never_fails(self):
        os.environ["PUSHGUARD_TIMEOUT"] = "0.3"
        self.gateway(status=422, text=b"sample_limit: 9, limit 8 (owner: data)\n")
        with self.assertLogs("pushguard", "WARNING") as logged:
            self.listener.on_task_instance_success(None, instance())
        self.assertIn("sample_limit: 9, limit 8", logged.output[0])

        free = socket.create_server(("127.0.0.1", 0))
        os.environ["PUSHGUARD_URL"] = "http://127.0.0.1:%d" % free.getsockname()[1]
        silent = time.monotonic()
        with self.assertLogs("pushguard", "WARNING"):
            self.listener.on_task_instance_success(None, instance())  # nobody answers
        self.assertLess(time.monotonic() - silent, 10)
        free.close()
        with self.assertLogs("pushguard", "WARNING"):
            self.listener.on_task_instance_success(None, instance())  # nobody listens
        for broken in ({"PUSHGUARD_URL": "no url"}, {"PUSHGUARD_TIMEOUT": "soon"}, {"PUSHGUARD_TOKEN_FILE": "/no/such/file"}):
            with self.subTest(broken), unittest.mock.patch.dict(os.environ, broken), self.assertLogs("pushguard", "WARNING"):
                self.listener.on_task_instance_success(None, instance())
        with self.assertLogs("pushguard", "WARNING"):
            self.listener.on_task_instance_success(None, object())


if __name__ == "__main__":
    unittest.main()
