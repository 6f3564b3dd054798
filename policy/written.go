package policy

import (
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/relabel"
)

// The types of this file are a policy as it is written, each value with its
// place, so that every later complaint can point at it. What runs is Policy and
// Entry.
//
// The comments of the types and of the fields that have a key are the manual of the
// file: docs/policy-reference.md and the descriptions in deploy/policy.schema.json are
// made of them. In these tags key is the name in the file, want what the type does not
// say (required, positive, size, scalar or shapes), default the value that leaving the
// key out comes to, unset what that means where no value says it, and example the key
// in use.

// spot is a place in a file. The zero spot means "not written".
type spot struct {
	file         string
	line, column int
}

func (s spot) written() bool { return s.line > 0 }

// from names the place to somebody who reads the other file or the same.
func (s spot) from(file string) string {
	if s.file == file {
		return fmt.Sprintf("on line %d", s.line)
	}
	return fmt.Sprintf("at %s:%d:%d", s.file, s.line, s.column)
}

type (
	word struct {
		spot
		text string
	}
	number struct {
		spot
		value int64
	}
	date struct {
		spot
		day time.Time
	}
	truth struct {
		spot
		value bool
	}
	span struct {
		spot
		value time.Duration
	}
	// words and the lists below tell written but empty from not written.
	words struct {
		spot
		list []word
	}
	ruleList struct {
		spot
		list []rule
	}
	relabelList struct {
		spot
		list []relabelConfig
	}
	familyList struct {
		spot
		list []family
	}
	// pairs are a mapping of strings, in the order of the file.
	pairs struct {
		spot
		list []pair
	}
	pair struct{ name, value word }
)

// file is the whole policy file: one YAML document in UTF-8, at most 1 MiB.
type file struct {
	spot
	// versioned says that nothing needs to be said about a version that is missing.
	versioned bool

	// `v1`. Required; in a folder in one file at least.
	version word `key:"version" want:"required" example:"version: v1"`
	// Who may push as whom, and who may read and administer, see [auth](#auth). Left
	// out, it takes nobody to do anything.
	auth auth `key:"auth" unset:"nobody has to say who they are" example:"auth: {push: required, read: [prometheus], users_file: users}"`
	// What all jobs may hold together, see [the guard's budget](#the-guards-budget).
	budget guardBudget `key:"budget" unset:"only measures" example:"budget: {series: 100000, groups: 10000}"`
	// A list of [shapes](#shapes), or the word `all`. A job name that has one of
	// them is folded to its normal form, until none is left: with
	// `trailing_spark_app`, `load_application_1690000000000_0001` is governed,
	// budgeted and exposed as `load`. Left out, job names stay as they are.
	foldJobs words `key:"fold_jobs" want:"shapes" unset:"none" example:"fold_jobs: [trailing_time, trailing_uuid]"`
	// An [entry](#entry) without `job`. It governs every job that no entry of
	// `jobs` names, and every entry inherits from it. Left out, it is
	// `{mode: report}` without an owner: everything passes, and what is written in
	// `jobs` holds alone.
	fallback entry `key:"default" default:"{mode: report}" example:"default: {mode: enforce, owner: platform}"`
	// A list of [entries](#entry), at most 10,000. The first in file order whose
	// `job` matches governs the push.
	jobs []entry `key:"jobs" unset:"none" example:"jobs: [{job: nightly_.*, owner: data-eng}]"`
	// What the policy is to do, as a list of [tests](#tests). Only `pushguard test`
	// runs them; to a guard that serves they are nothing.
	tests []test `key:"tests" unset:"none" example:"tests: [{name: rows pass, job: load, push: 'rows 1', want: {outcome: passed}}]"`
}

// entry is what holds for the jobs that one pattern matches.
type entry struct {
	spot
	// where names the entry in messages.
	where string

	// A [pattern](#patterns) of job names. Required in `jobs`, not allowed in
	// `default`.
	job word `key:"job" want:"required" example:"job: nightly_.*"`
	// Who answers for these jobs. Refusals and the audit log name it.
	owner word `key:"owner" unset:"nobody" example:"owner: data-eng"`
	// Names of [auth](#auth)'s users who may push and delete as these jobs, or `*` for
	// each of them. Nobody if neither the entry nor `default` says. It holds once
	// `auth` has `push: required`.
	push words `key:"push" unset:"nobody" example:"push: [data, airflow]"`
	// `open`, `report` or `enforce`; see [modes](#modes). `report` if neither the
	// entry nor `default` says.
	mode word `key:"mode" default:"report" example:"mode: enforce"`
	// What each job may hold, see [budgets](#budgets).
	budget budget `key:"budget" unset:"only measures" example:"budget: {series: 500, label_values: 100}"`
	// What all jobs of this entry may hold together, see [entry
	// budgets](#entry-budgets). Not inherited.
	entryBudget entryBudget `key:"entry_budget" unset:"only measures" example:"entry_budget: {series: 20000, jobs: 200}"`
	// `trim`, `reject`, `collapse` or `evict_oldest`; see [over
	// budget](#over-budget). What a group holds already passes in any case. `trim`
	// if neither the entry nor `default` says.
	onOverBudget word `key:"on_over_budget" default:"trim" example:"on_over_budget: collapse"`
	// A group is deleted when its last accepted push is older than this, such as
	// `6h` or `7d`; see [lifetimes](#lifetimes). `0`, and left out everywhere:
	// never.
	staleAfter span `key:"stale_after" default:"0" example:"stale_after: 7d"`
	// `true`: the group that told last of a success is neither swept nor evicted.
	// `false` if neither the entry nor `default` says.
	keepLastSuccess truth `key:"keep_last_success" default:"false" example:"keep_last_success: true"`
	// What a PUT does where rules may make one group of several grouping keys.
	// `families`: it replaces the group, but where another run has pushed families
	// to it only those it carries, as a POST does. `replace`: it replaces the group,
	// what other runs pushed included. `families` if neither the entry nor `default`
	// says.
	merge word `key:"merge" default:"families" example:"merge: replace"`
	// How a push is answered that the policy refuses. `reject`: with 422.
	// `accept`: with 200, and the push is dropped, for jobs that must not fail
	// over a metric. `reject` if neither the entry nor `default` says.
	onRefuse word `key:"on_refuse" default:"reject" example:"on_refuse: accept"`
	// [Limits](#limits) of one push.
	limits limits `key:"limits" unset:"none" example:"limits: {sample_limit: 5000, label_limit: 30}"`
	// Prometheus' own, see [relabelling](#relabelling). They are applied in order,
	// before the allowlist and the rules.
	relabelConfigs relabelList `key:"relabel_configs" unset:"none" example:"relabel_configs: [{action: labeldrop, regex: tmp_.*}]"`
	// The allowlist: [patterns](#patterns) of label names. A label that none of
	// them matches is removed. Left out everywhere, every label is permitted; the
	// empty list permits only `job`.
	labels words `key:"labels" unset:"every label" example:"labels: [instance, dag_id, task_id, .*_state]"`
	// A list of [rules](#rule), tried in order.
	rules ruleList `key:"rules" unset:"none" example:"rules: [{id: run-ids, labels: [run_id], action: drop}]"`
	// How counters are told from other metrics and added up, see
	// [counters](#counters).
	counters counters `key:"counters" unset:"what its keys come to" example:"counters: {route: statsd}"`
}

// auth is who may do what.
type auth struct {
	spot
	// faulty holds the fields that could not be read.
	faulty map[string]bool

	// `required`: a push or a delete wants a user whom its entry's `push` names. `off`,
	// and left out: anybody may push as any job. `required` wants `users` or a
	// `users_file`.
	push word `key:"push" default:"off" example:"push: required"`
	// Names of users who may scrape and read the API, or `*` for each of them. Left
	// out: anybody.
	read words `key:"read" unset:"anybody" example:"read: [prometheus, grafana]"`
	// Names of users who may use `/-/reload`, `/-/quit` and `/api/v1/admin/wipe` where
	// the flags permit them at all, or `*`. Left out: nobody where `push` is
	// `required`, else anybody.
	admin words `key:"admin" unset:"nobody with push: required, else anybody" example:"admin: [platform]"`
	// Users by name, each with the bcrypt hash of a password, as `htpasswd -nB` has it,
	// or `sha256:` and the hash of a token in hexadecimal.
	users pairs `key:"users" unset:"none" example:"users: {data: \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"}"`
	// A file with more of them, `NAME:HASH` a line; beside the policy's file unless the
	// path is absolute. A user may have several lines, eight secrets in all.
	usersFile word `key:"users_file" unset:"none" example:"users_file: users"`
}

// accept is the word of on_refuse for dropping in silence.
const accept = "accept"

// guardBudget is what all jobs of the guard may hold together. 0 only measures.
type guardBudget struct {
	spot
	// faulty holds the fields that could not be read.
	faulty map[string]bool

	// Series that all jobs may hold together. It must hold what the entries
	// [guarantee](#budgets), and stay below the `sample_limit` of the scrape.
	series number `key:"series" default:"0" example:"series: 100000"`
	// Groups that all jobs may have together.
	groups number `key:"groups" default:"0" example:"groups: 10000"`
}

// budget is what each job of an entry may hold. 0 only measures.
type budget struct {
	// faulty holds the fields that could not be read.
	faulty map[string]bool

	// Series the job may hold, all its groups together.
	series number `key:"series" default:"0" example:"series: 500"`
	// Series the job may hold beyond `series`, as long as the guard's own budget
	// has room that is guaranteed to nobody; see [lending](#lending). It wants
	// `series` here and in the top level's `budget`. `0` lends nothing.
	borrow number `key:"borrow" default:"0" example:"{series: 2000, borrow: 8000}"`
	// Groups the job may have: grouping keys, as the rules leave them.
	groups number `key:"groups" default:"0" example:"groups: 50"`
	// New series an hour. A series is new if its group did not hold it.
	newSeriesPerHour number `key:"new_series_per_hour" default:"0" example:"new_series_per_hour: 1000"`
	// New series a day, at least as many as an hour may bring.
	newSeriesPerDay number `key:"new_series_per_day" default:"0" example:"new_series_per_day: 5000"`
	// Distinct values each label of the job may have.
	labelValues number `key:"label_values" default:"0" example:"label_values: 100"`
	// Pushes a minute. One more is answered with 429 and the time to wait.
	pushesPerMinute number `key:"pushes_per_minute" default:"0" example:"pushes_per_minute: 60"`
	// The last day, in UTC, on which the entry's own budget holds, such as
	// `2026-12-31`; `default`'s budget holds from then on. Only beside another key,
	// and not in `default`.
	until date `key:"until" unset:"for ever" example:"{series: 2000, until: 2026-12-31}"`
}

// entryBudget is what all jobs of an entry may hold together. 0 only measures.
type entryBudget struct {
	// Series that all jobs of the entry may hold together.
	series number `key:"series" default:"0" example:"series: 20000"`
	// Jobs of the entry that may hold something at a time.
	jobs number `key:"jobs" default:"0" example:"jobs: 200"`
	// Jobs a day that held nothing before.
	newJobsPerDay number `key:"new_jobs_per_day" default:"0" example:"new_jobs_per_day: 50"`
}

// limits are limits of one push under Prometheus' names. 0 is no limit, and
// lifts what default sets. A push over a limit is refused whole.
type limits struct {
	// Bytes of the decompressed body: a whole number, or one with `B`, `KiB`,
	// `MiB` or `GiB`. `KB`, `MB` and `GB` are the same powers of 1024, as in
	// Prometheus.
	bodySize number `key:"body_size_limit" want:"size" default:"0" example:"body_size_limit: 1MiB"`
	// Samples in a push.
	samples number `key:"sample_limit" default:"0" example:"sample_limit: 5000"`
	// Labels of a metric, its name not counted; and labels of the grouping key,
	// `job` counted.
	labels number `key:"label_limit" default:"0" example:"label_limit: 30"`
	// Bytes of a label name.
	nameLength number `key:"label_name_length_limit" default:"0" example:"label_name_length_limit: 100"`
	// Bytes of a label value.
	valueLength number `key:"label_value_length_limit" default:"0" example:"label_value_length_limit: 200"`
}

// rule says what happens to the labels it matches, in the grouping key and in
// the body alike. It never touches job, le or quantile. It has labels, shapes or
// both; the first rule that matches a label decides about it.
type rule struct {
	spot
	where string
	// faulty holds the fields that could not be read, so that they are not said
	// to be missing, too.
	faulty map[string]bool

	// The name that findings, the audit log and metrics give the rule. Required:
	// at most 64 letters, digits and `. _ - / :`, unique in its list, and not the
	// name of a limit or another finding of the guard itself.
	id word `key:"id" want:"required" example:"{id: run-ids, labels: [run_id], action: drop}"`
	// [Patterns](#patterns) of label names. Left out: every label.
	labels words `key:"labels" unset:"every label" example:"{id: users, labels: [user, .*_email], action: drop}"`
	// A list of [shapes](#shapes), or the word `all`. The rule then touches only
	// values that have one of them. Left out: every value.
	shapes words `key:"shapes" want:"shapes" unset:"every value" example:"{id: ids, shapes: [uuid, email], action: drop}"`
	// What happens, see below. Required.
	action word `key:"action" want:"required" example:"{id: paths, labels: [path], action: template}"`
	// How many values are left, at least 1. For action `bucket` only, and required
	// there.
	buckets number `key:"buckets" want:"positive" example:"{id: users, labels: [user], action: bucket, buckets: 16}"`
	// How many bytes are left, at least 1. For action `truncate` only, and
	// required there.
	length number `key:"length" want:"positive" example:"{id: errors, labels: [error], action: truncate, length: 40}"`
	// The new value, not empty. For action `replace` only, and required there.
	replacement word `key:"replacement" example:"{id: shards, labels: [shard], action: replace, replacement: any}"`
	// What becomes of gauges that this rule makes equal: `last` in the push stays,
	// or `max`, `min` or `sum`. Not with `reject` and `keep`. Left out: the word of a
	// later rule that changed a label of the metric, too, or `last`.
	gauges word `key:"gauges" unset:"the word of a later rule, or last" example:"{id: shards, labels: [shard], action: drop, gauges: sum}"`
}

// relabelConfig is one of Prometheus' relabel_configs. job, le, quantile and
// __name__ can be read but always stay, and so do labels of the grouping key
// when a metric is relabelled.
type relabelConfig struct {
	spot
	where string
	// config is what the fields say; nil if one could not be read.
	config *relabel.Config

	// Labels whose values are joined. Left out: none.
	sourceLabels words `key:"source_labels" unset:"none" example:"{source_labels: [dag_id], target_label: team}"`
	// What stands between the values. Left out: `;`.
	separator word `key:"separator" want:"scalar" default:";" example:"{source_labels: [dag_id, task_id], separator: \".\", target_label: task}"`
	// A [pattern](#patterns) for the joined values, or for label names where the
	// action is `labelmap`, `labeldrop` or `labelkeep`. Left out: `(.*)`.
	regex word `key:"regex" want:"scalar" default:"(.*)" example:"{source_labels: [instance], regex: '(.*):[0-9]+', target_label: instance}"`
	// What the hash of the joined values is divided by, for `hashmod`.
	modulus number `key:"modulus" default:"0" example:"{source_labels: [user], action: hashmod, modulus: 16, target_label: shard}"`
	// The label that `replace`, `hashmod`, `lowercase` and `uppercase` write, and
	// `keepequal` and `dropequal` compare with.
	targetLabel word `key:"target_label" unset:"none" example:"{source_labels: [dag_id], target_label: team}"`
	// The value that `replace` writes, or the name that `labelmap` writes; `$1` is
	// the first group of `regex`. Left out: `$1`.
	replacement word `key:"replacement" want:"scalar" default:"$1" example:"{source_labels: [env], replacement: '$1-batch', target_label: env}"`
	// `replace`, `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`,
	// `labeldrop`, `labelkeep`, `lowercase` or `uppercase`. Left out: `replace`.
	action word `key:"action" default:"replace" example:"{source_labels: [team], action: lowercase, target_label: team}"`
}

// counters says how counters are told from other families and added up.
type counters struct {
	// Where increments go. `statsd`: to the StatsD socket. `totals`: to the guard's
	// own totals. `auto`: to StatsD if the guard has `--statsd.address`, else to
	// its totals. `snapshot`: nowhere, counters are forwarded as they came. Left
	// out: `auto`.
	route word `key:"route" default:"auto" example:"route: statsd"`
	// How values become increments. `auto`: by the evidence that comes with a push.
	// `cumulative`: a value continues the one before it. `delta`: each value is an
	// increment. `latest`: the last value stands, so that nothing is added up. Left
	// out: `auto`.
	semantics word `key:"semantics" default:"auto" example:"semantics: cumulative"`
	// What the first value of a counter counts for where nothing shows whether it
	// was counted before. `count`: in full. `ignore`: nothing. Left out: `count`.
	unknownFirst word `key:"unknown_first" default:"count" example:"unknown_first: ignore"`
	// Names of labels whose value names one run, and so tells the counters of one
	// run from another's. They are looked for in what was pushed, before the rules.
	// `instance`, `host`, `hostname` and `exported_…` are refused: they name
	// machines, on which runs follow one another. Left out: `run_id`,
	// `dag_run_id`, `app_id`, `application_id`, `job_run_id`, `execution_id`,
	// `try_number`, `attempt`, `pod`, `pod_name`, `container_id` and
	// `task_instance_id`.
	runLabels words `key:"run_labels" unset:"twelve names" example:"run_labels: [run_id, attempt]"`
	// A list of [families](#families) that are not what the built-in table takes
	// them for. The first that matches decides.
	families familyList `key:"families" unset:"none" example:"families: [{metrics: [.*_created], as: drop}]"`
}

// family says what becomes of the metric families it matches.
type family struct {
	spot
	where string
	// faulty holds the fields that could not be read.
	faulty map[string]bool

	// [Patterns](#patterns) of metric family names. Required.
	metrics words `key:"metrics" want:"required" example:"{metrics: [row_count], as: counter}"`
	// A list of declared types: `counter`, `gauge`, `histogram`, `summary` or
	// `untyped`, which is a family without one. Left out: every type.
	types words `key:"types" want:"types" unset:"every type" example:"{metrics: [.*_count], types: [untyped], as: counter}"`
	// What becomes of them. `counter`: they are added up. `snapshot`: they are
	// forwarded as they came. `event`: they leave as records for an [event log](events.md).
	// `drop`: they are left out. Required.
	as word `key:"as" want:"required" example:"{metrics: [task_state], as: event}"`
	// How their values become increments, as in [counters](#counters). For `as:
	// counter` only. Left out: what `counters` says.
	semantics word `key:"semantics" unset:"what counters says" example:"{metrics: [rows], as: counter, semantics: delta}"`
}
