"""Pushes what a Spark job did to pushguard, from its driver.

    import pushguard_spark

    with pushguard_spark.run("load_orders", spark) as run:
        written = load(spark)
        run.count("rows_written_total", written, table="orders")
        run.gauge("partitions", 12)

One push, when the block ends: how it ended, how long it took, and what was counted in
it. It goes to the group {job="load_orders"}, by POST, so that the last success
outlives a run that fails. Counters add up over runs, of one application or of many,
and over drivers side by side. What tells one run from another goes along: app_id as a
label of the counters, which pushguard's policy takes off, and when the run began as
their _created, which pushguard takes out. Never make either part of the job's name.

It needs nothing but the standard library; spark may be None. The block's exception
goes on as it is, and a push never fails a job.

Environment:

    PUSHGUARD_URL        where it is, with user and password if the policy wants them;
                         nothing is pushed if this is empty
    PUSHGUARD_TIMEOUT    seconds for the push, 5 if unset
    PUSHGUARD_TOKEN_FILE a file with the token of the job, if the policy wants one
"""

import base64
import contextlib
import logging
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

log = logging.getLogger("pushguard")


@contextlib.contextmanager
def run(job, spark=None):
    """Measures the block and pushes what became of it."""
    r = Run(app_id(spark))
    try:
        yield r
    except BaseException as err:
        # A job that calls sys.exit(0) has done its work.
        push(job, r, failed=not (isinstance(err, SystemExit) and err.code in (None, 0)))
        raise
    push(job, r, failed=False)


class Run:
    """What one run counted. It is for one thread."""

    def __init__(self, source):
        self.source = source
        self.start = time.time()
        self.clock = time.monotonic()
        self.families = {}

    def count(self, name, by, **labels):
        """Counts by so much; what is counted twice under one name adds up."""
        by = number(by)
        if by < 0:
            raise ValueError("%s: a counter does not go down by %g" % (name, -by))
        series = self.family(name, "counter")
        key = tuple(sorted(labels.items()))
        series[key] = series.get(key, 0) + by

    def gauge(self, name, value, **labels):
        """Sets a value; the last one stands."""
        value = number(value)
        self.family(name, "gauge")[tuple(sorted(labels.items()))] = value

    def family(self, name, kind):
        if not re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", name):
            raise ValueError("%r is no name of a metric" % name)
        known, series = self.families.setdefault(name, (kind, {}))
        if known != kind:
            raise ValueError("%s is a %s already" % (name, known))
        return series


def app_id(spark):
    """The application's id, or a random one where nobody knows it."""
    with contextlib.suppress(Exception):
        return str(spark.sparkContext.applicationId)
    return str(uuid.uuid4())


def push(job, r, failed):
    """One push of a run; it raises nothing and returns in time."""
    try:
        url, user = address(os.environ.get("PUSHGUARD_URL", "").rstrip("/"))
        if not url:
            return
        timeout = float(os.environ.get("PUSHGUARD_TIMEOUT") or 5)
        request = urllib.request.Request(
            url + "/metrics/" + segment("job", job), data=body(r, failed).encode(), method="POST", headers={**user, **headers(r)}
        )
        # A thread, since the timeout of a socket does not cover all of a request.
        pushing = threading.Thread(target=send, args=(request, timeout), name="pushguard", daemon=True)
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


def send(request, timeout):
    try:
        with opener.open(request, timeout=timeout) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as err:
        log.warning("pushguard: %s: %s", err.code, err.read(1 << 12).decode("utf-8", "replace").strip() or err.reason)
    except Exception as err:
        log.warning("pushguard: %s: %s", request.full_url, err)


def headers(r):
    h = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Idempotency-Key": str(uuid.uuid4())}
    file = os.environ.get("PUSHGUARD_TOKEN_FILE")
    if file:
        with open(file, encoding="utf-8") as f:
            token = f.read().strip()
        if not token.isprintable():  # http.client would name it in what it raises
            raise ValueError("%s is more than the line of one token" % file)
        h["Authorization"] = "Bearer " + token
    return h


def address(url):
    """A URL without its user and password, which no log is to show, and the header that they are."""
    parts = urllib.parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return url, {}
    pair = urllib.parse.unquote(user if ":" in user else user + ":")
    return parts._replace(netloc=host).geturl(), {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def segment(name, value):
    if value and "/" not in value:
        return name + "/" + urllib.parse.quote(value, safe="")
    return name + "@base64/" + (base64.urlsafe_b64encode(value.encode()).decode() or "=")


def body(r, failed):
    """The push in the text format, with the names that pushguard push has, too."""
    now = time.time()
    gauges = {
        "job_last_start_unixtime": r.start,
        "job_duration_seconds": time.monotonic() - r.clock,
        "job_exit_code": int(failed),
    }
    if not failed:
        gauges["job_last_success_unixtime"] = now
    families = {**{name: ("gauge", {(): value}) for name, value in gauges.items()}, **begun(r), **r.families}
    lines = []
    for name, (kind, series) in families.items():
        lines.append("# TYPE %s %s" % (name, "gauge" if kind == "created" else kind))
        for labels, value in series.items():
            source = (("app_id", r.source),) if kind != "gauge" else ()
            lines.append(sample(name, labels + source, value))
    return "\n".join(lines) + "\n"


def begun(r):
    """What says of the counters that they began with the run: an application may have many."""
    return {
        re.sub("_total$", "", name) + "_created": ("created", {labels: r.start for labels in series})
        for name, (kind, series) in r.families.items()
        if kind == "counter"
    }


def sample(name, labels, value):
    pairs = ",".join('%s="%s"' % (k, escape(str(v))) for k, v in labels)
    return "%s%s %r" % (name, "{%s}" % pairs if pairs else "", value)


def number(value):
    """The value as what repr writes as a number: of numpy, Decimal and bool it would not."""
    return value if type(value) is int else float(value)


def escape(value):
    return re.sub(r'[\\"]', r"\\\g<0>", value).replace("\n", r"\n")
