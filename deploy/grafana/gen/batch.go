package main

// batch is for those who run jobs: did they, how long, how much.
func batch() dashboard {
	return dashboard{
		uid: "pushguard-batch", title: "Batch operations", other: dashboardLink{"pushguard", "pushguard"},
		about: "What batch jobs push: failures, successes, durations, rows. docs/dashboards.md says which metrics it looks for.",
		rows:  []row{{"Now", batchNow()}, {"Failures", batchFailures()}, {"Durations and amounts", batchAmounts()}, {"Airflow", airflow()}},
	}
}

func batchNow() []panel {
	return []panel{
		{
			kind: stat, title: "Tasks failed now", about: "Tasks whose latest state is failed.", unit: "short", bad: 1, width: 6,
			queries: []query{{`sum(airflow_task_state{job=~"$job", state="failed"}) or vector(0)`, ""}},
		},
		{
			kind: stat, title: "Tasks running now", about: "Tasks whose latest state is running.", unit: "short", width: 6,
			queries: []query{{`sum(airflow_task_state{job=~"$job", state="running"}) or vector(0)`, ""}},
		},
		{
			kind: stat, title: "Jobs whose last run failed", about: "By the exit code that pushguard push has.", unit: "short", bad: 1, width: 6,
			queries: []query{{`count(max by (job) (job_exit_code{job=~"$job"}) != 0) or vector(0)`, ""}},
		},
		{
			kind: stat, title: "Pushes that failed last", about: "Groups whose latest push contradicted what is stored.", unit: "short", bad: 1, width: 6,
			queries: []query{{`count(push_failure_time_seconds{job=~"$job"} > push_time_seconds) or vector(0)`, ""}},
		},
		{
			kind: bargauge, title: "Age of the last success, in intervals", unit: "none", warn: 1, bad: 1.5, width: 12, ofJob: true,
			about:   "How many of its expected intervals ago a job last succeeded. Red is when BatchLastSuccessTooOld fires.",
			queries: []query{{`(time() - max by (job) (job_last_success_unixtime{job=~"$job"})) / on (job) max by (job) (job_expected_interval_seconds)`, "{{job}}"}},
		},
		{
			kind: table, title: "Time since the last success", unit: "s", width: 12, ofJob: true, about: "Of each job that says when it last succeeded.",
			queries: []query{{`time() - max by (job) (job_last_success_unixtime{job=~"$job"})`, "{{job}}"}},
		},
		{
			kind: table, title: "Time since the last push", unit: "s", warn: 26 * 3600, width: 12, ofJob: true, about: "Yellow is when BatchSilent fires.",
			queries: []query{{`time() - max by (job) (push_time_seconds{job=~"$job"} > 0)`, "{{job}}"}},
		},
		{
			kind: table, title: "Failed for", unit: "s", bad: 1, width: 12, ofJob: true, about: "Groups whose latest push was not taken.",
			queries: []query{{`time() - (push_failure_time_seconds{job=~"$job"} > push_time_seconds)`, "{{job}}"}},
		},
	}
}

func batchFailures() []panel {
	return []panel{
		{
			kind: timeseries, title: "Failed tasks, part of all", about: "Within an hour. Red is when BatchFailureRatioHigh fires.", unit: "percentunit", bad: 0.2, width: 12, ofJob: true,
			queries: []query{{`sum by (job, dag_id) (increase(airflow_task_instances_total{job=~"$job", state="failed"}[1h])) / sum by (job, dag_id) (increase(airflow_task_instances_total{job=~"$job"}[1h]))`, "{{job}} {{dag_id}}"}},
		},
		{
			kind: timeseries, title: "Tasks by state", about: "Tasks that came to a state within an hour.", unit: "short", width: 12,
			queries: []query{{`sum by (state) (increase(airflow_task_instances_total{job=~"$job"}[1h]))`, "{{state}}"}},
		},
	}
}

func batchAmounts() []panel {
	return []panel{
		{
			kind: timeseries, title: "Duration", about: "Half and nine of ten runs within an hour took at most so long.", unit: "s", ofJob: true,
			queries: []query{
				{`histogram_quantile(0.5, sum by (job, le) (rate(batch_duration_seconds_bucket{job=~"$job"}[1h]) or rate(airflow_task_duration_seconds_bucket{job=~"$job"}[1h])))`, "{{job}} p50"},
				{`histogram_quantile(0.9, sum by (job, le) (rate(batch_duration_seconds_bucket{job=~"$job"}[1h]) or rate(airflow_task_duration_seconds_bucket{job=~"$job"}[1h])))`, "{{job}} p90"},
			},
		},
		{
			kind: timeseries, title: "Duration of the last run", about: "As pushguard push measures it.", unit: "s", ofJob: true,
			queries: []query{{`max by (job) (job_duration_seconds{job=~"$job"})`, "{{job}}"}},
		},
		{
			kind: timeseries, title: "Rows processed", about: "A second.", unit: "rowsps", ofJob: true,
			queries: []query{{`sum by (job) (rate(rows_processed_total{job=~"$job"}[$__rate_interval]))`, "{{job}}"}},
		},
		{
			kind: table, title: "Slowest tasks", unit: "s", width: 12, ofJob: true, about: "By their latest run.",
			queries: []query{{`topk(10, max by (job, dag_id, task_id) (airflow_task_last_duration_seconds{job=~"$job"}))`, "{{task_id}}"}},
		},
		{
			kind: timeseries, title: "Pushes", about: "By job, a second.", unit: "reqps", width: 12, ofJob: true,
			queries: []query{{`sum by (job) (rate(pushguard_pushes_total{job=~"$job"}[$__rate_interval]))`, "{{job}}"}},
		},
	}
}

// airflow is of what Airflow itself says over StatsD, mapped as airflow_NAME.
func airflow() []panel {
	return []panel{
		{
			kind: timeseries, title: "Scheduler heartbeats", about: "A second; none is a scheduler that stands still.", unit: "cps",
			queries: []query{{`sum(rate(airflow_scheduler_heartbeat_total[$__rate_interval]))`, "heartbeats"}},
		},
		{
			kind: timeseries, title: "Executor", about: "Tasks in the executor, and the slots that are left.", unit: "short",
			queries: []query{
				{`sum(airflow_executor_queued_tasks)`, "queued"},
				{`sum(airflow_executor_running_tasks)`, "running"},
				{`sum(airflow_executor_open_slots)`, "open slots"},
			},
		},
		{
			kind: timeseries, title: "Pools", about: "Tasks for which a pool has no slot.", unit: "short", warn: 1,
			queries: []query{{`sum by (pool_name) (airflow_pool_starving_tasks)`, "{{pool_name}}"}},
		},
		{
			kind: stat, title: "Import errors", about: "DAG files that cannot be read.", unit: "short", bad: 1,
			queries: []query{{`max(airflow_dag_processing_import_errors)`, ""}},
		},
		{
			kind: timeseries, title: "Schedule delay", about: "From the time a run was due to its start, on average.", unit: "s", ofJob: false,
			queries: []query{{`sum by (dag_id) (rate(airflow_dagrun_schedule_delay_seconds_sum[1h])) / sum by (dag_id) (rate(airflow_dagrun_schedule_delay_seconds_count[1h]))`, "{{dag_id}}"}},
		},
		{
			kind: timeseries, title: "Zombies", about: "Tasks killed without a heartbeat, within an hour.", unit: "short", warn: 1,
			queries: []query{{`sum(increase(airflow_task_instances_without_heartbeats_killed_total[1h]))`, "killed"}},
		},
	}
}
