package policy

// The types of this file are the tests of a policy as they are written; see
// written.go for what their comments and tags are.

// testFile is a file of tests beside a policy.
type testFile struct {
	// `v1`. Required.
	version word `key:"version" want:"required" example:"version: v1"`
	// The policy under test, by its path from this file. Left out: `NAME.yml` beside
	// it for `NAME_test.yml`.
	policy word `key:"policy" unset:"NAME.yml for NAME_test.yml" example:"policy: policy.yml"`
	// A list of [tests](#tests). Required.
	tests []test `key:"tests" want:"required" example:"tests: [{name: rows pass, job: load, push: 'rows 1', want: {outcome: passed}}]"`
}

// test is pushes to a guard that was always there and has seen nothing yet, with an
// empty store behind it.
type test struct {
	spot

	// What the policy promises; unique in its file. Required.
	name word `key:"name" want:"required" example:"name: run ids never become labels"`
	// The day, in UTC, at whose first second the test begins, such as `2027-01-01`.
	// Left out: `2026-01-01`.
	start date `key:"start" default:"2026-01-01" example:"start: 2027-01-01"`
	// `true`: the guard has a `--statsd.address`. Left out: counters go to its own
	// totals.
	statsd truth `key:"statsd" default:"false" example:"statsd: true"`
	// The [pushes](#pushes) in their order. A test of one push writes the keys of the
	// push here instead.
	pushes []testPush `key:"pushes" unset:"none" example:"pushes: [{push: 'rows 1'}, {at: 8d, want: {page: ''}}]"`
	// The keys of the one push, or where there are `pushes`, what those that do not
	// say it themselves have of `job`, `grouping`, `method` and `headers`.
	only testPush
}

// testPush is a push, a DELETE, or a look at what has become of them.
type testPush struct {
	spot
	// faulty holds the fields that could not be read, those of the test among them
	// where it has one push.
	faulty map[string]bool

	// When it comes, as the time since the test's start, such as `5m`; never before
	// the push above it. What is stale by then is swept first. Left out: at the time
	// of the push above it.
	at span `key:"at" unset:"with the push above" example:"at: 5m"`
	// The job that pushes.
	job word `key:"job" example:"job: nightly_load"`
	// The other labels of the grouping key, as a mapping.
	grouping pairs `key:"grouping" unset:"none" example:"grouping: {instance: a}"`
	// `PUT`, `POST` or `DELETE`. Left out: `PUT`.
	method word `key:"method" default:"PUT" example:"method: POST"`
	// Headers of the request as a mapping, such as `Idempotency-Key`.
	headers pairs `key:"headers" unset:"none" example:"headers: {Idempotency-Key: load-1}"`
	// The body in the text format; a newline at its end is added where there is none.
	// Without it, and without the method `DELETE`, nothing is sent: time goes on, and
	// `want` looks at what is there.
	push word `key:"push" want:"text" unset:"nothing" example:"push: 'rows{table=\"t\"} 7'"`
	// What is [expected](#want).
	want testWant `key:"want" unset:"nothing is looked at" example:"want: {outcome: changed}"`
}

// testWant is what is expected of a push. What is not written is not looked at.
type testWant struct {
	spot

	// `passed`, `changed`, `refused`, `skipped` or `failed`, as in the audit log.
	outcome word `key:"outcome" unset:"not looked at" example:"outcome: refused"`
	// The outcome that the mode `enforce` would have; of jobs in `report`.
	would word `key:"would" unset:"not looked at" example:"would: changed"`
	// The ids of all findings, in any order: rules of the policy, and the guard's own.
	findings words `key:"findings" unset:"not looked at" example:"findings: [run-ids]"`
	// The grouping key that is forwarded, as a mapping, `job` among it.
	group pairs `key:"group" unset:"not looked at" example:"group: {job: load}"`
	// All series that are forwarded, in the text format, in any order, without the
	// labels of the grouping key that are not in the body. Empty: nothing is.
	metrics word `key:"metrics" want:"text" unset:"not looked at" example:"metrics: 'rows{table=\"t\"} 7'"`
	// What counters grow by, all series in the text format. Histograms and summaries
	// are their `_count`, `_sum` and `_bucket`. Empty: nothing is added.
	increments word `key:"increments" want:"text" unset:"not looked at" example:"increments: 'rows_total{job=\"load\"} 7'"`
	// What the job may still bring of its own budget.
	left testLeft `key:"left" unset:"not looked at" example:"left: {groups: 200}"`
	// The status of the answer, such as `422`.
	status number `key:"status" unset:"not looked at" example:"status: 422"`
	// A part of the answer's body.
	answer word `key:"answer" want:"text" unset:"not looked at" example:"answer: label_limit"`
	// All series on the page that Prometheus scrapes, in the text format, but for
	// `push_time_seconds`, `push_failure_time_seconds` and `pushguard_job_findings`. A
	// label with an empty value is none.
	page word `key:"page" want:"text" unset:"not looked at" example:"page: 'rows{job=\"load\"} 7'"`
}

// testLeft is what a job may still bring, under report what enforcement would leave;
// below 0 it cannot be.
type testLeft struct {
	// Of `budget: series`. Each group takes two series for the Pushgateway's own.
	series number `key:"series" unset:"not looked at" example:"series: 498"`
	// Of `budget: groups`.
	groups number `key:"groups" unset:"not looked at" example:"groups: 49"`
}
