package policy

// The types of this file are the tests of a policy as they are written; see
// written.go for what their comments and tags are.

// testFile is a file of tests beside a policy.
type testFile struct {
	// `v1`. Required.
	version word `key:"version" want:"required"`
	// The policy under test, by its path from this file. Left out: `NAME.yml` beside
	// it for `NAME_test.yml`.
	policy word `key:"policy"`
	// A list of [tests](#tests). Required.
	tests []test `key:"tests" want:"required"`
}

// test is pushes to a guard that was always there and has seen nothing yet, with an
// empty store behind it.
type test struct {
	spot

	// What the policy promises; unique in its file. Required.
	name word `key:"name" want:"required"`
	// The day, in UTC, at whose first second the test begins, such as `2027-01-01`.
	// Left out: `2026-01-01`.
	start date `key:"start"`
	// `true`: the guard has a `--statsd.address`. Left out: counters go to its own
	// totals.
	statsd truth `key:"statsd"`
	// The [pushes](#pushes) in their order. A test of one push writes the keys of the
	// push here instead.
	pushes []testPush `key:"pushes"`
	// The keys of the one push, or where there are `pushes`, what those that do not
	// say it themselves have of `job`, `grouping`, `method` and `headers`.
	only testPush
}

// testPush is a push, a DELETE, or a look at what has become of them.
type testPush struct {
	spot

	// When it comes, as the time since the test's start, such as `5m`; never before
	// the push above it. What is stale by then is swept first. Left out: at the time
	// of the push above it.
	at span `key:"at"`
	// The job that pushes.
	job word `key:"job"`
	// The other labels of the grouping key, as a mapping.
	grouping pairs `key:"grouping"`
	// `PUT`, `POST` or `DELETE`. Left out: `PUT`.
	method word `key:"method"`
	// Headers of the request as a mapping, such as `Idempotency-Key`.
	headers pairs `key:"headers"`
	// The body in the text format; a newline at its end is added where there is none.
	// Without it, and without the method `DELETE`, nothing is sent: time goes on, and
	// `want` looks at what is there.
	push word `key:"push" want:"text"`
	// What is [expected](#expectations).
	want testWant `key:"want"`
}

// testWant is what is expected of a push. What is not written is not looked at.
type testWant struct {
	spot

	// `passed`, `changed`, `refused`, `skipped` or `failed`, as in the audit log.
	outcome word `key:"outcome"`
	// The outcome that the mode `enforce` would have; of jobs in `report`.
	would word `key:"would"`
	// The ids of all findings, in any order: rules of the policy, and the guard's own.
	findings words `key:"findings"`
	// The grouping key that is forwarded, as a mapping, `job` among it.
	group pairs `key:"group"`
	// All series that are forwarded, in the text format, in any order, without the
	// labels of the grouping key that are not in the body. Empty: nothing is.
	metrics word `key:"metrics" want:"text"`
	// What counters grow by, all series in the text format. Histograms and summaries
	// are their `_count`, `_sum` and `_bucket`. Empty: nothing is added.
	increments word `key:"increments" want:"text"`
	// What the job may still bring of its own budget.
	left testLeft `key:"left"`
	// The status of the answer, such as `422`.
	status number `key:"status"`
	// A part of the answer's body.
	answer word `key:"answer" want:"text"`
	// All series on the page that Prometheus scrapes, in the text format, but for
	// `push_time_seconds`, `push_failure_time_seconds` and `pushguard_job_findings`. A
	// label with an empty value is none.
	page word `key:"page" want:"text"`
}

// testLeft is what a job may still bring; below 0 it cannot be.
type testLeft struct {
	// Of `budget: series`. Each group takes two series for the Pushgateway's own.
	series number `key:"series"`
	// Of `budget: groups`.
	groups number `key:"groups"`
}
