package main

// guard is for those who run the guard: who pushes what, who is refused, what is near
// its end.
func guard() dashboard {
	return dashboard{
		uid: "pushguard", title: "pushguard", other: dashboardLink{"pushguard-batch", "Batch operations"},
		about: "What the guard does with pushes, what jobs hold of what they are granted, and how its outputs are.",
		rows: []row{
			{"Now", guardNow()},
			{"Pushes", pushes()},
			{"Series", series()},
			{"Counters", counters()},
			{"StatsD", statsd()},
			{"Pushgateway and groups", upstream()},
			{"Pushgateways, one by one", several()},
			{"Many guards", fleet()},
			{"Load", load()},
			{"Event logs, state, policy", outputs()},
			{"Process", process()},
		},
	}
}

func guardNow() []panel {
	return []panel{
		{
			kind: stat, title: "Pushes refused, part of all", about: "Within the last hour.", unit: "percentunit", warn: 0.01, bad: 0.1, width: 6,
			queries: []query{{`(sum(increase(pushguard_pushes_total{job=~"$job", outcome="refused"}[1h])) or vector(0)) / sum(increase(pushguard_pushes_total{job=~"$job"}[1h]))`, ""}},
		},
		{
			kind: stat, title: "Series of all jobs, part of the limit", about: "Red is when PushguardNearlyFull fires.", unit: "percentunit", warn: 0.7, bad: 0.85, width: 6,
			queries: []query{
				{`sum by (instance) (pushguard_series_held) / on (instance) sum by (instance) (pushguard_series_limit)`, "{{instance}}"},
				{`sum by (instance) (pushguard_series_lent) / on (instance) sum by (instance) (pushguard_series_lendable)`, "{{instance}}: that no job is guaranteed"},
			},
		},
		{
			kind: stat, title: "Jobs near their budget", about: "More than 85 %, as PushguardBudgetNearlyUsed has it.", unit: "short", warn: 1, width: 6,
			queries: []query{{`count(max by (job) (pushguard_series_held{job=~"$job"} / pushguard_series_budget) > 0.85) or vector(0)`, ""}},
		},
		{
			kind: stat, title: "Policies read without a fault", about: "Less than all guards: a policy file has faults.", unit: "percentunit", width: 6,
			queries: []query{{`avg(pushguard_policy_last_reload_successful)`, ""}},
		},
	}
}

func pushes() []panel {
	return []panel{
		{
			kind: timeseries, title: "Pushes by outcome", about: "A second. Dots are refusals: their records.", unit: "reqps", exemplars: true,
			queries: []query{{`sum by (outcome) (rate(pushguard_pushes_total{job=~"$job"}[$__rate_interval]))`, "{{outcome}}"}},
		},
		{
			kind: timeseries, title: "Refusals by reason and job", about: "Within an hour, by the finding's id. Dots are single pushes: their records.", unit: "short", ofJob: true, exemplars: true,
			// A job's first refusal is a counter that begins at 1, which increase does not see.
			queries: []query{{`sum by (job, id) ((pushguard_refusals_total{job=~"$job"} unless last_over_time(pushguard_refusals_total[1h] offset 1h)) or increase(pushguard_refusals_total{job=~"$job"}[1h]))`, "{{job}}: {{id}}"}},
		},
		{
			kind: timeseries, title: "Findings", about: "Within an hour, refused or not: labels that rules rewrote among them, by the rule's id.", unit: "short",
			queries: []query{{`topk(10, sum by (id) (increase(pushguard_findings_total{job=~"$job"}[1h])))`, "{{id}}"}},
		},
		{
			kind: timeseries, title: "Time to answer", about: "Of pushes, by outcome: half, and all but one in a hundred. Dots are refusals.", unit: "s", warn: 0.5, bad: 1, exemplars: true,
			queries: []query{
				{`histogram_quantile(0.5, sum by (outcome, le) (rate(pushguard_push_duration_seconds_bucket[$__rate_interval])))`, "{{outcome}} p50"},
				{`histogram_quantile(0.99, sum by (outcome, le) (rate(pushguard_push_duration_seconds_bucket[$__rate_interval])))`, "{{outcome}} p99"},
			},
		},
		{
			kind: timeseries, title: "Time in the guard", about: "To parse a push and to judge it: all but one in a hundred.", unit: "s",
			queries: []query{
				{`histogram_quantile(0.99, sum by (le) (rate(pushguard_parse_duration_seconds_bucket[$__rate_interval])))`, "parsing"},
				{`histogram_quantile(0.99, sum by (le) (rate(pushguard_policy_duration_seconds_bucket[$__rate_interval])))`, "judging"},
			},
		},
		{
			kind: timeseries, title: "What enforcement would do", about: "Pushes to jobs in report, within an hour.", unit: "short",
			queries: []query{{`sum by (outcome) (increase(pushguard_forecast_pushes_total{job=~"$job"}[1h]))`, "{{outcome}}"}},
		},
	}
}

func series() []panel {
	return []panel{
		{
			kind: bargauge, title: "Series held, part of what is granted", about: "The ten fullest jobs. Red is when PushguardBudgetNearlyUsed fires.", unit: "percentunit", warn: 0.7, bad: 0.85, width: 12, ofJob: true,
			queries: []query{{`topk(10, max by (job) (pushguard_series_held{job=~"$job"} / pushguard_series_budget))`, "{{job}}"}},
		},
		{
			kind: bargauge, title: "The same in six hours, as they grow", about: "Red is when PushguardBudgetForecastExceeded fires.", unit: "percentunit", warn: 0.85, bad: 1, width: 12, ofJob: true,
			queries: []query{{`topk(10, clamp_min(max by (job) (predict_linear(pushguard_series_held{job=~"$job"}[2h], 6 * 3600) / pushguard_series_budget), 0))`, "{{job}}"}},
		},
		{
			kind: timeseries, title: "Series held", about: "By the jobs that hold most.", unit: "short", ofJob: true,
			queries: []query{{`topk(10, sum by (job) (pushguard_series_held{job=~"$job"}))`, "{{job}}"}},
		},
		{
			kind: timeseries, title: "New series an hour", about: "That a job brought and its groups did not hold.", unit: "short", ofJob: true,
			queries: []query{{`topk(10, sum by (job) (pushguard_series_new{job=~"$job", window="hour"}))`, "{{job}}"}},
		},
		{
			kind: timeseries, title: "Held under enforcement", about: "Of jobs in report.", unit: "short", ofJob: true,
			queries: []query{{`sum by (job) (pushguard_series_shadow{job=~"$job"})`, "{{job}}"}},
		},
		{
			kind: table, title: "Label values", about: "Of which labels jobs pushed most values within a day, before any rule; an estimate.", unit: "short", warn: 100, bad: 1000, width: 12, ofJob: true,
			queries: []query{{`topk(20, max by (job, label) (pushguard_label_values{job=~"$job"}))`, "{{label}}"}},
		},
		{
			kind: table, title: "Owners", about: "Series that the jobs of an owner hold.", unit: "short", width: 12,
			queries: []query{{`sum by (owner) (pushguard_series_held{job=~"$job"} * on (job, instance) group_left (owner) pushguard_job_info{owner=~"$owner"})`, "{{owner}}"}},
		},
	}
}

func counters() []panel {
	return []panel{
		{
			kind: timeseries, title: "Increments by evidence", about: "Readings of counters that were added up, a second, by what told their source.", unit: "cps",
			queries: []query{{`sum by (source) (rate(pushguard_counters_increments_total[$__rate_interval]))`, "{{source}}"}},
		},
		{
			kind: timeseries, title: "In doubt", about: "Within an hour: readings that may count twice, began anew, came late, or were repeated.", unit: "short",
			queries: []query{
				{`sum(increase(pushguard_counters_ambiguous_total[1h]))`, "ambiguous"},
				{`sum(increase(pushguard_counters_resets_total[1h]))`, "resets"},
				{`sum(increase(pushguard_counters_late_total[1h]))`, "late"},
				{`sum(increase(pushguard_counters_retries_total[1h]))`, "duplicates"},
				{`sum(increase(pushguard_counters_periodic_pushes_total[1h]))`, "periodic without a source"},
			},
		},
		{
			kind: timeseries, title: "Baselines and totals", about: "200,000 baselines are kept, 100,000 totals.", unit: "short", warn: 85000, bad: 100000,
			queries: []query{
				{`sum by (instance) (pushguard_counters_baselines)`, "{{instance}} baselines"},
				{`sum by (instance) (pushguard_totals_series)`, "{{instance}} totals"},
				{`sum by (instance) (increase(pushguard_counters_baselines_evicted_total[1h]))`, "{{instance}} evicted within an hour"},
			},
		},
	}
}

func statsd() []panel {
	return []panel{
		{
			kind: timeseries, title: "Lines sent and received", about: "A second. What was sent and not received is lost.", unit: "cps",
			queries: []query{
				{`sum(rate(pushguard_statsd_lines_total[$__rate_interval]))`, "sent"},
				{`sum(rate(statsd_exporter_lines_total[$__rate_interval]))`, "received"},
			},
		},
		{
			kind: timeseries, title: "Dropped and failed", about: "Within an hour.", unit: "short", bad: 1,
			queries: []query{
				{`sum by (reason) (increase(pushguard_statsd_dropped_total[1h]))`, "dropped: {{reason}}"},
				{`sum by (kind) (increase(pushguard_statsd_errors_total[1h]))`, "failed: {{kind}}"},
			},
		},
		{
			kind: stat, title: "Since the last packet", about: "With series that wait, more than two minutes is PushguardStatsdPendingStuck.", unit: "s", bad: 120, width: 4,
			queries: []query{{`time() - max(pushguard_statsd_last_success_timestamp_seconds)`, ""}},
		},
		{
			kind: stat, title: "Series that wait", about: "For the StatsD server.", unit: "short", width: 4,
			queries: []query{{`sum(pushguard_statsd_pending_series)`, ""}},
		},
	}
}

func upstream() []panel {
	return []panel{
		{
			kind: timeseries, title: "Pushgateway: answers", about: "A second, by status; 0 is no answer.", unit: "reqps",
			queries: []query{{`sum by (code) (rate(pushguard_upstream_request_duration_seconds_count[$__rate_interval]))`, "{{code}}"}},
		},
		{
			kind: timeseries, title: "Pushgateway: time to answer", about: "All but one request in a hundred, by method.", unit: "s",
			queries: []query{{`histogram_quantile(0.99, sum by (method, le) (rate(pushguard_upstream_request_duration_seconds_bucket[$__rate_interval])))`, "{{method}}"}},
		},
		{
			kind: timeseries, title: "Groups", about: "That the Pushgateway, or the guard, holds.", unit: "short",
			queries: []query{{`sum by (instance) (pushguard_groups)`, "{{instance}}"}},
		},
		{
			kind: table, title: "Oldest group", about: "How long ago a job's oldest group was pushed to, part of the time it may live. One that keep_last_success keeps may be over 1.", unit: "percentunit", bad: 2, ofJob: true,
			queries: []query{{`topk(10, max by (job) (pushguard_oldest_group_age_seconds{job=~"$job"} / pushguard_group_ttl_seconds))`, "{{job}}"}},
		},
		{
			kind: timeseries, title: "Groups removed", about: "By the guard itself within an hour.", unit: "short",
			queries: []query{{`sum by (reason, result) (increase(pushguard_groups_removed_total{job=~"$job"}[1h]))`, "{{reason}} {{result}}"}},
		},
		{
			kind: stat, title: "Breaker open", about: "1: nothing is sent to a Pushgateway that does not answer.", unit: "none", bad: 1, width: 4,
			queries: []query{{`max(pushguard_upstream_breaker_open)`, ""}},
		},
		{
			kind: stat, title: "Since the last listing", about: "Of the groups of the Pushgateway; of guards that share a Redis by the one that leads.", unit: "s", warn: 1200, width: 4,
			queries: []query{{`time() - min(pushguard_sync_last_success_timestamp_seconds unless on (instance) pushguard_shared_leads == 0)`, ""}},
		},
		{
			kind: stat, title: "Since the last sweep", about: "That deleted all that was stale, or since the start if there was none; of guards that share a Redis by the one that leads.", unit: "s", warn: 900, width: 4,
			queries: []query{{`time() - min((pushguard_sweep_last_success_timestamp_seconds > process_start_time_seconds or process_start_time_seconds) and pushguard_sweep_interval_seconds > 0 unless on (instance) pushguard_shared_leads == 0)`, ""}},
		},
	}
}

func outputs() []panel {
	return []panel{
		{
			kind: timeseries, title: "Event records", about: "A second, by event log.", unit: "cps",
			queries: []query{
				{`sum by (sink) (rate(pushguard_events_sent_total[$__rate_interval]))`, "{{sink}} sent"},
				{`sum by (sink) (rate(pushguard_events_dropped_total[$__rate_interval]))`, "{{sink}} dropped"},
			},
		},
		{
			kind: bargauge, title: "Event queues", about: "How full; at 1 the oldest records are dropped.", unit: "percentunit", warn: 0.5, bad: 0.8,
			queries: []query{{`max by (sink) (pushguard_events_queue_fill_ratio)`, "{{sink}}"}},
		},
		{
			kind: stat, title: "State on disk", about: "1: what changes is written. 0: it is in memory alone.", unit: "none", width: 4,
			queries: []query{{`min(pushguard_state_written)`, ""}},
		},
		{
			kind: timeseries, title: "Events that wait", about: "By event log: the size of the records.", unit: "bytes",
			queries: []query{{`sum by (sink) (pushguard_events_queued_bytes)`, "{{sink}}"}},
		},
		{
			kind: stat, title: "Event logs that took the last batch", about: "Part of all; less is PushguardEventLogDown.", unit: "percentunit", width: 4,
			queries: []query{{`avg(pushguard_events_up)`, ""}},
		},
		{
			kind: stat, title: "Audit records lost", about: "Since the guard started.", unit: "short", bad: 1, width: 4,
			queries: []query{{`sum(pushguard_audit_lost_total)`, ""}},
		},
		{
			kind: table, title: "Policy in force", about: "Since when, by its digest and guard.", unit: "s", width: 12,
			queries: []query{{`time() - pushguard_policy_last_reload_success_timestamp_seconds * on (instance) group_left (digest) max by (instance, digest) (pushguard_policy_info)`, "{{digest}}"}},
		},
		{
			kind: table, title: "Build", about: "Which guards run which version.", unit: "none", width: 12,
			queries: []query{{`count by (instance, version, revision, goversion) (pushguard_build_info)`, "{{instance}}"}},
		},
	}
}

func process() []panel {
	return []panel{
		{
			kind: timeseries, title: "CPU", about: "Cores in use.", unit: "none",
			queries: []query{{`rate(process_cpu_seconds_total{job="pushguard"}[$__rate_interval])`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Memory", about: "Of the process, and of it the heap in use.", unit: "bytes",
			queries: []query{
				{`process_resident_memory_bytes{job="pushguard"}`, "{{instance}} resident"},
				{`go_memstats_heap_inuse_bytes{job="pushguard"}`, "{{instance}} heap"},
			},
		},
		{
			kind: timeseries, title: "Memory pressure", about: "0: there is room. 1: no new series are taken. 2: no pushes are.", unit: "none", warn: 1, bad: 2,
			queries: []query{{`max by (instance) (pushguard_memory_pressure)`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Goroutines and files", about: "Open now.", unit: "short",
			queries: []query{
				{`go_goroutines{job="pushguard"}`, "{{instance}} goroutines"},
				{`process_open_fds{job="pushguard"}`, "{{instance}} files"},
			},
		},
	}
}
