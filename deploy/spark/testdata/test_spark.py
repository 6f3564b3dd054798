"""Tests of the Spark helper, without Spark.

    /usr/bin/python3 -m unittest discover -s deploy/spark/testdata
"""

import decimal
import http.server
import os
import pathlib
import sys
import tempfile
import threading
import types
import unittest
import unittest.mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import pushguard_spark

send = pushguard_spark.send  # which setUp replaces


class SparkTest(unittest.TestCase):
    def setUp(self):
        self.sent = []
        for p in (
            unittest.mock.patch.dict(os.environ, {"PUSHGUARD_URL": "http://127.0.0.1:1"}),
            unittest.mock.patch.object(pushguard_spark, "send", lambda request, timeout: self.sent.append(request)),
        ):
            p.start()
            self.addCleanup(p.stop)
        self.spark = types.SimpleNamespace(sparkContext=types.SimpleNamespace(applicationId="application_1_0001"))

    def lines(self):
        (request,) = self.sent
        return request.data.decode().splitlines()

    def test_a_run(self):
        with pushguard_spark.run("load", self.spark) as run:
            run.count("rows_total", 3, table="a")
            run.count("rows_total", 4, table="a")
            run.gauge("partitions", 12)
        self.assertEqual(self.sent[0].full_url, "http://127.0.0.1:1/metrics/job/load")
        for line in ('rows_total{table="a",app_id="application_1_0001"} 7', "partitions 12", "job_exit_code 0"):
            self.assertIn(line, self.lines())
        self.assertTrue([l for l in self.lines() if l.startswith("job_last_success_unixtime ")])

    def test_when_counters_began(self):
        for _ in range(2):
            with pushguard_spark.run("load", self.spark) as run:
                run.count("rows_total", 3, table="a")
                run.count("failed", 1)
                run.count("orders_total", 500)
                run.gauge("orders_created", 120)
        began = set()
        for request in self.sent:
            lines = request.data.decode().splitlines()
            rows = [l for l in lines if l.startswith('rows_created{table="a",app_id="application_1_0001"} ')]
            failed = [l for l in lines if l.startswith('failed_created{app_id="application_1_0001"} ')]
            self.assertEqual((len(rows), len(failed)), (1, 1))
            self.assertIn("# TYPE rows_created gauge", lines)
            self.assertEqual(rows[0].split()[1], failed[0].split()[1])
            began.add(float(rows[0].split()[1]))
            self.assertEqual([l for l in lines if "orders_created" in l], ["# TYPE orders_created gauge", "orders_created 120"])
        self.assertEqual(len(began), 2)

    def test_numbers_of_others(self):
        class Float64(float):  # as numpy.float64 of numpy 2
            def __repr__(self):
                return "np.float64(%s)" % float(self)

        with pushguard_spark.run("load") as run:
            run.count("paid_total", decimal.Decimal("1.5"))
            run.count("paid_total", 0.25)
            run.gauge("mean", Float64(2.5))
            run.gauge("complete", True)
        self.assertTrue([l for l in self.lines() if l.startswith("paid_total{") and l.endswith(" 1.75")])
        self.assertIn("mean 2.5", self.lines())
        self.assertIn("complete 1.0", self.lines())

    def test_a_run_that_fails(self):
        with self.assertRaises(KeyError), pushguard_spark.run("load", self.spark) as run:
            run.count("rows_total", 3)
            raise KeyError("x")
        self.assertIn("job_exit_code 1", self.lines())
        self.assertIn('rows_total{app_id="application_1_0001"} 3', self.lines())
        self.assertFalse([l for l in self.lines() if "last_success" in l])

    def test_exits(self):
        for code, want in ((0, "job_exit_code 0"), (None, "job_exit_code 0"), (3, "job_exit_code 1")):
            self.sent.clear()
            with self.assertRaises(SystemExit), pushguard_spark.run("load"):
                sys.exit(code)
            self.assertIn(want, self.lines())

    def test_what_no_metric_is(self):
        run = pushguard_spark.Run("x")
        run.gauge("a", 1)
        for wrong in (lambda: run.count("a", 1), lambda: run.count("b", -1), lambda: run.gauge("no name", 1)):
            self.assertRaises(ValueError, wrong)

    def test_what_no_number_is(self):
        with pushguard_spark.run("load") as run:
            self.assertRaises(TypeError, run.count, "rows_total", None)
            self.assertRaises(TypeError, run.gauge, "partitions", None)
            self.assertRaises(ValueError, run.gauge, "partitions", "many")
            run.gauge("files", 3)
        self.assertIn("files 3", self.lines())
        self.assertNotIn("partitions", "\n".join(self.lines()))
        self.assertTrue([l for l in self.lines() if l.startswith("job_last_success_unixtime ")])

    def test_a_push_never_fails_a_job(self):
        for broken in ({"PUSHGUARD_TIMEOUT": "soon"}, {"PUSHGUARD_URL": "no url"}, {"PUSHGUARD_TOKEN_FILE": "/no/such"}):
            with unittest.mock.patch.dict(os.environ, broken), self.assertLogs("pushguard", "WARNING"):
                with pushguard_spark.run("load"):
                    pass

    def test_user_of_the_url(self):
        os.environ["PUSHGUARD_URL"] = "http://etl:s3%40cret@127.0.0.1:1"
        with pushguard_spark.run("load"):
            pass
        self.assertEqual(self.sent[0].full_url, "http://127.0.0.1:1/metrics/job/load")
        self.assertEqual(self.sent[0].get_header("Authorization"), "Basic ZXRsOnMzQGNyZXQ=")

    def test_no_secret_is_logged(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("s3cret\nanother\n")
            f.flush()
            for env in ({"PUSHGUARD_URL": "http://etl:s3cret@127.0.0.1:1"}, {"PUSHGUARD_TOKEN_FILE": f.name}):
                with unittest.mock.patch.dict(os.environ, env), unittest.mock.patch.object(pushguard_spark, "send", send):
                    with self.subTest(env), self.assertLogs("pushguard", "WARNING") as logged, pushguard_spark.run("load"):
                        pass
                    self.assertNotIn("s3cret", "".join(logged.output))

    def test_redirects_are_not_followed(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *args): ...

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        os.environ["PUSHGUARD_URL"] = "http://127.0.0.1:%d" % server.server_port
        with unittest.mock.patch.object(pushguard_spark, "send", send), self.assertLogs("pushguard", "WARNING") as logged:
            with pushguard_spark.run("load"):
                pass
        self.assertEqual(seen, ["/metrics/job/load"])
        self.assertIn("302", logged.output[0])


if __name__ == "__main__":
    unittest.main()
