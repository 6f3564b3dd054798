package policy

import (
	"time"

	"github.com/prometheus/prometheus/model/relabel"
)

// The types of this file are a policy as it is written, each value with its
// place, so that every later complaint can point at it. Their comments are the
// manual of the file; docs/policy.md says the same with examples. What runs is
// Policy and Entry.

// spot is a place in the file. The zero spot means "not written".
type spot struct{ line, column int }

func (s spot) written() bool { return s.line > 0 }

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
	// words is a list; written but empty differs from not written.
	// words and ruleList tell written but empty from not written.
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
)

// file is the whole policy file: one YAML document in UTF-8, at most 1 MiB.
type file struct {
	// version is the version of this format and must be v1.
	version word
	// budget is the key `budget` with its one field series: how many series all
	// jobs may hold together, 0 only measures. No less than what the entries
	// guarantee. Left out: 0.
	budget number
	// foldJobs is fold_jobs: names of value shapes, or the word all for every
	// shape. A job name that has one of them is folded to its normal form, until
	// none is left, and that name finds the entry, is budgeted and exposed. Left
	// out: job names stay as they are.
	foldJobs words
	// fallback is the key `default`. It governs every job that no entry of jobs
	// names, and every entry inherits from it what it does not say itself.
	// Left out, it is {mode: report}: everything passes, nothing is limited.
	fallback entry
	// jobs are the entries. The first in file order whose pattern matches the
	// job name governs the push.
	jobs []entry
}

// entry is what holds for the jobs that one pattern matches.
type entry struct {
	spot
	// where names the entry in messages.
	where string
	// job is a pattern for job names, RE2, anchored at both ends. Every entry of
	// jobs has one; default has none. An entry that an earlier one leaves nothing
	// to match is a fault.
	job word
	// owner is who answers for these jobs; refusals and the audit log name it.
	// Left out: default's owner, or nobody.
	owner word
	// mode is open (no policy), report (say what enforce would do, change
	// nothing) or enforce. Left out: default's mode, or report.
	mode word
	// budget is what each job may hold. Each field left out is default's.
	budget budget
	// entryBudget is entry_budget with its one field series: how many series all
	// jobs of the entry may hold together, 0 only measures. Not inherited.
	entryBudget number
	// onOverBudget is on_over_budget: trim (new metrics are left out, what the
	// group holds passes) or reject (the push is refused). Left out: default's,
	// or trim.
	onOverBudget word
	// merge is what a PUT does where the rules may fold grouping keys into one:
	// families (it replaces the families it carries, as a POST) or replace (it
	// replaces the group, what other runs pushed included). Left out: default's,
	// or families.
	merge word
	// onRefuse is on_refuse, the answer to a push that the policy refuses: reject
	// (422) or accept (200, and the push is dropped). Left out: default's, or
	// reject.
	onRefuse word
	// limits hold for one push. Each field left out is default's.
	limits limits
	// relabelConfigs is relabel_configs, Prometheus' own. They are applied in
	// order, before the allowlist and the rules. Written, they replace default's;
	// [] is none. Left out: default's.
	relabelConfigs relabelList
	// labels is the allowlist: patterns of label names, RE2, anchored. Every
	// label none of them matches is removed; job always stays. The empty list
	// permits only job. Left out: default's list, or every label.
	labels words
	// rules are tried in order, for each label. Written, they replace default's;
	// [] is no rule.
	// Left out: default's rules.
	rules ruleList
}

// accept is the word of on_refuse for dropping in silence.
const accept = "accept"

// budget is what each job of an entry may hold. 0 only measures.
type budget struct {
	// series is how many series the job may hold, all its groups together.
	series number
	// labelValues is label_values: how many distinct values each label may have.
	labelValues number
	// until is the last day, in UTC, on which the entry's own budget holds;
	// default's holds from then on. Not in default, and not without series or
	// label_values.
	until date
}

// limits are limits of one push under Prometheus' names. 0 is no limit, and
// lifts what default sets. A push over a limit is refused whole.
type limits struct {
	// bodySize is body_size_limit: bytes of the decompressed body, a whole number
	// or one with a unit: B, KiB, MiB, GiB. KB, MB and GB are the same powers of
	// 1024, as in Prometheus. At most 2147483647.
	bodySize number
	// samples is sample_limit: samples in a push.
	samples number
	// labels is label_limit: labels of a metric without its name, or labels of
	// the grouping key with its job.
	labels number
	// nameLength is label_name_length_limit: bytes of a label name.
	nameLength number
	// valueLength is label_value_length_limit: bytes of a label value.
	valueLength number
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
	// id names the rule in findings, the audit log and metrics: at most 64
	// letters, digits and . _ - / :, unique within a list of rules and not the id
	// of one of the guard's own findings. Required.
	id word
	// labels are patterns of label names, RE2, anchored. Left out: every name.
	labels words
	// shapes are names of value shapes, or the word all for every shape. A rule
	// with shapes touches only values of one of them. Left out: every value.
	shapes words
	// action is what happens: drop (the label goes), template (the value becomes
	// the normal form of its shape, and shapes left out are all shapes), bucket
	// (the value becomes one of buckets names by its hash), truncate (the value
	// keeps its first length bytes), replace (the value becomes replacement),
	// reject (the push is refused) or keep (the value stays). Required.
	action word
	// buckets is how many values are left, for action bucket: required there,
	// refused with any other action, and at least 1.
	buckets number
	// length is how many bytes are left, for action truncate: required there,
	// refused with any other action, and at least 1.
	length number
	// replacement is the new value for action replace: required there, refused
	// with any other action, and not empty.
	replacement word
	// gauges is what becomes of gauges that this rule makes equal: last (in the
	// push), max, min or sum. Not with reject and keep, which make none equal.
	// Left out: last.
	gauges word
}

// relabelConfig is one of Prometheus' relabel_configs. job, le, quantile and
// __name__ can be read but always stay, and so do labels of the grouping key
// when a metric is relabelled.
type relabelConfig struct {
	spot
	where string
	// config is what the fields say; nil if one could not be read.
	config *relabel.Config

	// sourceLabels is source_labels: the labels whose values are joined with
	// separator. Left out: none.
	sourceLabels words
	// separator stands between the values. Left out: ;
	separator word
	// regex is matched against the joined values, or against label names by the
	// actions labelmap, labeldrop and labelkeep; RE2, anchored. Left out: (.*)
	regex word
	// modulus is what the hash of the joined values is taken by, for hashmod.
	modulus number
	// targetLabel is target_label: the label that replace, hashmod, lowercase and
	// uppercase write, and keepequal and dropequal compare with.
	targetLabel word
	// replacement is the value that replace writes, or the name that labelmap
	// writes; $1 is the first group of regex. Left out: $1
	replacement word
	// action is one of Prometheus' actions. drop, keep, dropequal and keepequal
	// leave the metric out; if they decide about the grouping key, the push is
	// refused. Left out: replace.
	action word
}
