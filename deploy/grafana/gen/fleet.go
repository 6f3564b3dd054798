package main

// several are the Pushgateways behind, one by one, and what waits for one that is away.
func several() []panel {
	return []panel{
		{
			kind: timeseries, title: "Pushgateways on the page", about: "Of several. 0: the last page lacks what it holds, and PushguardUpstreamMissing fires.", unit: "none",
			queries: []query{{`min by (upstream) (pushguard_upstream_up)`, "{{upstream}}"}},
		},
		{
			kind: timeseries, title: "Not sent", about: "Requests within an hour, since the breaker was open.", unit: "short", bad: 1,
			queries: []query{{`sum by (upstream) (increase(pushguard_upstream_rejected_total[1h]))`, "{{upstream}}"}},
		},
		{
			kind: timeseries, title: "Groups at another Pushgateway", about: "Than the one they belong to; of several. One that is left is empty at 0.", unit: "short",
			queries: []query{{`max by (upstream) (pushguard_upstream_stray_groups)`, "{{upstream}}"}},
		},
		{
			kind: timeseries, title: "Waiting in the spool", about: "Groups of which a push waits for a Pushgateway that is away.", unit: "short",
			queries: []query{{`sum by (instance) (pushguard_spool_groups)`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Waiting for how long", about: "The oldest push in the spool. Red is when PushguardSpoolStuck fires.", unit: "s", warn: 60, bad: 600,
			queries: []query{{`max by (instance) (pushguard_spool_oldest_age_seconds)`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "What became of the spool", about: "Pushes within an hour: rejected, full and disk did not reach the Pushgateway.", unit: "short",
			queries: []query{{`sum by (result) (increase(pushguard_spool_pushes_total[1h]))`, "{{result}}"}},
		},
	}
}

// fleet are the guards that share what they know through a Redis.
func fleet() []panel {
	return []panel{
		{
			kind: stat, title: "Guards that reach the Redis", about: "Part of all that share one. Less than all: PushguardSharedDown.", unit: "percentunit", width: 6,
			queries: []query{{`avg(pushguard_shared_up)`, ""}},
		},
		{
			kind: stat, title: "Guards that lead", about: "One sweeps and lists for all; at 0 PushguardNobodyLeads fires.", unit: "none", width: 6,
			queries: []query{{`sum(pushguard_shared_leads)`, ""}},
		},
		{
			kind: timeseries, title: "Redis: time to answer", about: "All but one batch of commands in a hundred.", unit: "s",
			queries: []query{{`histogram_quantile(0.99, sum by (instance, le) (rate(pushguard_shared_round_trip_seconds_bucket[$__rate_interval])))`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Redis: failures", about: "Round trips within an hour that failed, and how often it had forgotten.", unit: "short", bad: 1,
			queries: []query{
				{`sum by (instance) (increase(pushguard_shared_failures_total[1h]))`, "{{instance}} failures"},
				{`sum by (instance) (increase(pushguard_shared_epochs_total[1h]))`, "{{instance}} gave it what it knew"},
			},
		},
		{
			kind: timeseries, title: "Carried out for all", about: "Commands of all guards, in bytes a second.", unit: "Bps",
			queries: []query{{`sum by (instance) (rate(pushguard_shared_applied_bytes_total[$__rate_interval]))`, "{{instance}}"}},
		},
	}
}
