"""Pushes what became of every Airflow task to pushguard, for Airflow 2.x and 3.x.

Put this file into the plugins folder of the workers and, in 3.x, of the API server.
It needs nothing but the standard library. A push never fails a task, and holds it up
for PUSHGUARD_TIMEOUT seconds at most.

Pushed to the group {job="airflow_tasks", dag_id, task_id}, by POST:

    airflow_task_instances_total{state}         how many ended so: adds up over tasks
    airflow_task_duration_seconds               a histogram, adds up over tasks
    airflow_task_state{state}                   1 for the state seen last, else 0
    airflow_task_last_duration_seconds          of the task that ended last
    airflow_task_last_end_timestamp_seconds     when it ended
    airflow_task_last_success_timestamp_seconds when one last succeeded

The first two carry run_id, map_index and try_number besides. They tell one task from
another and a retried push from a second one; pushguard's policy takes them off, so
that they never become series. Do not push to a Pushgateway without pushguard: it
would keep the last task only, or, of every run, series for ever.

Environment:

    PUSHGUARD_URL        where it is, with user and password if the policy wants them;
                         nothing is pushed if this is empty
    PUSHGUARD_JOB        the job, airflow_tasks if unset
    PUSHGUARD_TIMEOUT    seconds for one push, 2 if unset
    PUSHGUARD_TOKEN_FILE a file with the token of the job, if the policy wants one
"""

import base64
import datetime
import hashlib
import logging
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger("pushguard")

# The states a task is reported in; any other is reported as what the hook says.
STATES = ("running", "success", "failed", "skipped", "up_for_retry")

# Upper bounds of the histogram, in seconds.
BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400)


@hookimpl
def on_task_instance_running(previous_state, task_instance):
    report(task_instance, "running")


@hookimpl
def on_task_instance_success(previous_state, task_instance):
    report(task_instance, "success")


@hookimpl
def on_task_instance_failed(previous_state, task_instance):
    report(task_instance, "failed")


@hookimpl
def on_task_instance_skipped(previous_state, task_instance):
    report(task_instance, "skipped")


def report(task_instance, state):
    """Pushes one change of state. It raises nothing and returns in time."""
    try:
        url, user = address(os.environ.get("PUSHGUARD_URL", "").rstrip("/"))
        if not url:
            return
        timeout = float(os.environ.get("PUSHGUARD_TIMEOUT") or 2)
        task = read(task_instance, state)
        request = urllib.request.Request(
            url + path(task), data=body(task).encode(), method="POST", headers={**user, **headers(task)}
        )
    except Exception:
        log.warning("pushguard: nothing is pushed", exc_info=True)
        return
    # The timeout of a socket covers neither the look-up of a name nor an answer that
    # comes byte by byte; the thread is left behind where it takes longer, and ends
    # with the process of the task.
    pushing = threading.Thread(target=push, args=(request, timeout), name="pushguard", daemon=True)
    try:
        pushing.start()
        pushing.join(timeout)
        if pushing.is_alive():
            log.warning("pushguard: no answer within %gs from %s", timeout, url)
    except Exception:
        log.warning("pushguard: nothing is pushed", exc_info=True)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Has a redirect be an error: it would make a GET of a push, and take the token elsewhere."""

    def redirect_request(self, *args):
        return None


opener = urllib.request.build_opener(NoRedirects)


def push(request, timeout):
    try:
        with opener.open(request, timeout=timeout) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as err:
        # What pushguard refuses it explains, a finding a line.
        text = err.read(1 << 12).decode("utf-8", "replace").strip()
        log.warning("pushguard: %s: %s", err.code, text or err.reason)
    except Exception as err:
        log.warning("pushguard: %s: %s", request.full_url, err)


def read(ti, state):
    """What is told of a task instance: of 2.x, or a RuntimeTaskInstance of 3.x."""
    own = getattr(ti, "state", None)
    own = str(getattr(own, "value", own) or "").lower()
    # A failed task that is tried again says so itself.
    if state == "failed" and own in STATES and own not in ("running", "success"):
        state = own
    now = time.time()
    start = seconds(getattr(ti, "start_date", None))
    end = seconds(getattr(ti, "end_date", None)) or now
    return {
        "dag_id": str(ti.dag_id),
        "task_id": str(ti.task_id),
        "run_id": str(getattr(ti, "run_id", "") or ""),
        "map_index": str(-1 if getattr(ti, "map_index", None) is None else ti.map_index),
        "try_number": str(getattr(ti, "try_number", "") or ""),
        "state": state,
        "end": end,
        "duration": max(0.0, end - start) if start else None,
    }


def seconds(when):
    return when.timestamp() if isinstance(when, datetime.datetime) else None


def address(url):
    """A URL without its user and password, which no log is to show, and the header that they are."""
    parts = urllib.parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return url, {}
    pair = urllib.parse.unquote(user if ":" in user else user + ":")
    return parts._replace(netloc=host).geturl(), {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def path(task):
    job = os.environ.get("PUSHGUARD_JOB") or "airflow_tasks"
    pairs = (("job", job), ("dag_id", task["dag_id"]), ("task_id", task["task_id"]))
    return "/metrics/" + "/".join(segment(name, value) for name, value in pairs)


def segment(name, value):
    if value and "/" not in value:
        return name + "/" + urllib.parse.quote(value, safe="")
    encoded = base64.urlsafe_b64encode(value.encode()).decode() or "="
    return name + "@base64/" + encoded


def headers(task):
    # The same change of state counts once, however often it is pushed.
    told = "\0".join(task[k] for k in ("dag_id", "task_id", "run_id", "map_index", "try_number", "state"))
    h = {
        "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
        "Idempotency-Key": hashlib.sha256(told.encode()).hexdigest(),
    }
    file = os.environ.get("PUSHGUARD_TOKEN_FILE")
    if file:
        with open(file, encoding="utf-8") as f:
            token = f.read().strip()
        if not token.isprintable():  # http.client would name it in what it raises
            raise ValueError("%s is more than the line of one token" % file)
        h["Authorization"] = "Bearer " + token
    return h


def body(task):
    """The push in the text format."""
    state, source = task["state"], {k: task[k] for k in ("run_id", "map_index", "try_number")}
    lines = ["# TYPE airflow_task_state gauge"]
    for s in STATES:
        lines.append(sample("airflow_task_state", {"state": s}, int(s == state)))
    if state != "running":
        lines += ended(task, source)
    return "\n".join(lines) + "\n"


def ended(task, source):
    lines = [
        "# TYPE airflow_task_instances_total counter",
        sample("airflow_task_instances_total", {"state": task["state"], **source}, 1),
        "# TYPE airflow_task_last_end_timestamp_seconds gauge",
        sample("airflow_task_last_end_timestamp_seconds", {}, task["end"]),
    ]
    if task["state"] == "success":
        lines += [
            "# TYPE airflow_task_last_success_timestamp_seconds gauge",
            sample("airflow_task_last_success_timestamp_seconds", {}, task["end"]),
        ]
    if task["duration"] is not None:
        lines += [
            "# TYPE airflow_task_last_duration_seconds gauge",
            sample("airflow_task_last_duration_seconds", {}, task["duration"]),
            *histogram("airflow_task_duration_seconds", source, task["duration"]),
        ]
    return lines


def histogram(name, labels, value):
    lines = ["# TYPE %s histogram" % name]
    for bound in BUCKETS:
        lines.append(sample(name + "_bucket", {**labels, "le": str(bound)}, int(value <= bound)))
    lines.append(sample(name + "_bucket", {**labels, "le": "+Inf"}, 1))
    lines.append(sample(name + "_sum", labels, value))
    lines.append(sample(name + "_count", labels, 1))
    return lines


def sample(name, labels, value):
    pairs = ",".join('%s="%s"' % (k, escape(v)) for k, v in labels.items() if v != "")
    return "%s%s %s" % (name, "{%s}" % pairs if pairs else "", repr(value))


def escape(value):
    return re.sub(r'[\\"]', r"\\\g<0>", value).replace("\n", r"\n")


class PushguardPlugin(AirflowPlugin):
    """What Airflow finds in the plugins folder."""

    name = "pushguard"
    listeners = [sys.modules[__name__]]
