package main

// load is how much the guard has to do at once, and whom it turns away for it.
func load() []panel {
	return []panel{
		{
			kind: timeseries, title: "Pushes at work", about: "Worked on now, of --limits.in-flight, and waiting for their turn.", unit: "short",
			queries: []query{
				{`sum by (instance) (pushguard_in_flight_pushes)`, "{{instance}} at work"},
				{`sum by (instance) (pushguard_waiting_pushes)`, "{{instance}} waiting"},
			},
		},
		{
			kind: timeseries, title: "Turned away", about: "Within an hour: pushes answered 503 by reason, and connections that were closed. PushguardShedding is for those.", unit: "short", bad: 1,
			queries: []query{
				{`sum by (reason) (increase(pushguard_shed_total[1h]))`, "{{reason}}"},
				{`sum by (which) (increase(pushguard_connections_closed_total[1h]))`, "connections: {{which}}"},
			},
		},
		{
			kind: timeseries, title: "Bodies in flight", about: "Memory of pushes that are read or worked on, of --limits.in-flight-bytes.", unit: "bytes",
			queries: []query{{`sum by (instance) (pushguard_in_flight_bytes)`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Connections", about: "To the address of the jobs, of --limits.connections.", unit: "short",
			queries: []query{{`sum by (instance) (pushguard_connections)`, "{{instance}}"}},
		},
		{
			kind: timeseries, title: "Recorded for a replay", about: "Pushes within an hour, with --record.file: recorded, left out, lost.", unit: "short",
			queries: []query{
				{`sum(increase(pushguard_recorded_pushes_total[1h]))`, "recorded"},
				{`sum by (reason) (increase(pushguard_record_dropped_total[1h]))`, "left out: {{reason}}"},
				{`sum(increase(pushguard_record_lost_total[1h]))`, "lost"},
			},
		},
	}
}
