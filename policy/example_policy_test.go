package policy

import (
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/rules"
)

const gone = "" // Judge never leaves a label with an empty value of its own making

// judgeOne returns what the entry's rules make of one label.
func judgeOne(t *testing.T, e *Entry, name, value string) string {
	t.Helper()
	v := e.Rules.Judge(nil, "metric", []labels.Label{{Name: "job", Value: "nightly"}, {Name: name, Value: value}})
	switch {
	case v.Outcome == rules.Rejected:
		t.Errorf("%s=%q: the push is refused: %+v", name, value, v.Findings)
	case len(v.Labels) == 2:
		return v.Labels[1].Value
	}
	return gone
}

// What a newcomer's first pushes meet.
func TestExamplePolicyStopsWhatHasNoEnd(t *testing.T) {
	p, err := Load("../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	e := p.Entry("nightly")
	for _, test := range []struct{ label, value, want string }{
		{"run_id", "manual__2026-01-01T00:00:00+00:00", gone},
		{"run_id", "7", gone},
		{"try_number", "2", gone},
		{"app_id", "sensor-etl_1690000000", gone},
		{"execution_date", "yesterday", gone},
		{"user_id", "17", gone},
		{"trace_id", "abc", gone},
		{"exception", "x17 not found", gone},
		{"url", "https://example.com/a?b=1", gone},
		{"commit", "4c01db0", gone},
		{"run", "scheduled__2026-01-01T00:00:00+00:00", gone},
		{"target", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", gone},
		{"contact", "alice@example.com", gone},
		{"instance", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", gone},
		{"instance", "load-users-x2k9z", "load-users"},
		{"pod", "etl-7d9f8b6c5-x2k9z", "etl"},
		{"pod", "daily-etl-load-users-3k9x2b7q", "daily-etl-load-users"},
		{"pod_name", "etl-nightly-28412345-x2k9z", "etl-nightly"},
		{"ds", "2026-01-01", "<date>"},
		{"partition", "dt=2026-01-01", "dt=<date>"},
		{"table", "export_20260101", "export"},
		{"path", "/mnt/data/run/2026/part-0001.parquet", "<path>"},
		{"source", "s3://bucket/dt=2026-01-01/part-0.parquet", "s3://bucket"},
		{"client", "10.1.2.3", "<ip>"},
		{"error", "ValueError: could not convert string to float: 'x17'", "ValueError"},
		{"reason", "connection to db refused after 3 attempts by peer", "<text>"},
		{"offset", "987654321", "<int>"},
	} {
		if got := judgeOne(t, e, test.label, test.value); got != test.want {
			t.Errorf("%s=%q: got %q, want %q", test.label, test.value, got, test.want)
		}
	}
}

func TestExamplePolicyLeavesBoundedLabelsAlone(t *testing.T) {
	p, err := Load("../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	e := p.Entry("nightly")
	for label, values := range map[string][]string{
		"le":       {"0.0001", "0.005", "1e-05", "+Inf", "1048576"},
		"quantile": {"0.99999"},
		"instance": {"10.1.2.3:9100", "ip-10-0-12-7.ec2.internal", "db-server01", "airflow-local", "worker-12", ""},
		"version":  {"1.2.3", "1.2.3-rc.1", "v20240101", "10.0.1.4", "2026-01-01", "20260101", "3.20260101"},
		"release":  {"2024.12.1", "release_20260101"},
		"state":    {"success", "up_for_retry", "failed", "0", "1"},
		"dag_id":   {"feed_all_tables", "dashboard-refresh", "i-am-a-dag", "etl-version2", "proxy-h2c4z"},
		"task_id":  {"load_users", "task_99", "grp.load_users", "run_1", "job-12"},
		"table":    {"orders_2024", "sales_q3_2025", "users_v2", "customer360"},
		"region":   {"us-east-1", "eu-west-1a", "us-central1-a"},
		"machine":  {"m5.2xlarge", "n2-standard-4", "r6g.16xlarge", "x86_64"},
		"queue":    {"default", "celery@worker1", "kafka-0", "shard-31"},
		"week":     {"2024-W05", "2026-Q1", "2026", "monday", "jan"},
		"handler":  {"/api/v1/users", "/metrics"},
		"code":     {"2xx", "404"},
		"error":    {"ValueError", "org.apache.spark.SparkException", "timeout"},
		"pod":      {"kafka-0", "postgres-primary-1"},
	} {
		for _, value := range values {
			if got := judgeOne(t, e, label, value); got != value {
				t.Errorf("%s=%q became %q", label, value, got)
			}
		}
	}
}

func TestEntryIsSafeForConcurrentUse(t *testing.T) {
	p := parse(t, "version: v1\njobs:\n- job: a.*\n- job: b\n- job: '[bc]+'\n")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				for job, want := range map[string]string{"ax": "a.*", "b": "b", "cb": "[bc]+", "d": "default"} {
					if got := p.Entry(job).Name; got != want {
						t.Errorf("job %q: governed by %q, want %q", job, got, want)
						return
					}
				}
				p.Entries()[0] = nil // the caller's own copy
			}
		})
	}
	all.Wait()
}
