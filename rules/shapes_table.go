package rules

import "strings"

// Parts that several patterns share.
const (
	uuidPattern  = `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	datePattern  = `(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])`
	clockPattern = `(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?`
	sparkPattern = `application_\d{13}_\d{4,}|app-\d{14}-\d{4,}|local-\d{13}|spark-[0-9a-f]{32}`
	octet        = `(?:25[0-5]|2[0-4]\d|1?\d?\d)`
	// randomPattern is what Kubernetes draws random names from: no vowels, and
	// nothing that is easily read as another character.
	randomPattern = `[bcdfghjklmnpqrstvwxz2456789]`
	// extension is up to two endings of a file name, such as .csv.gz.
	extension = `((?:\.[A-Za-z][A-Za-z0-9]{0,9}){0,2})`
)

// Longest values of the shapes whose patterns have no end: a name of
// Kubernetes with a suffix, a file name, an address by RFC 5321 with its
// display name.
const (
	maxPodName  = 320
	maxFileName = 512
	maxAddress  = 512
)

// shapeTable returns the shapes in order: the first one that fits a value is
// its shape, so the narrow ones come before the wide.
func shapeTable() []shape {
	return []shape{
		// Runs, applications and pods.
		{
			name: "airflow_run_id", normal: "$1", max: maxFileName,
			pattern: `(manual|scheduled|backfill|dataset_triggered|asset_triggered|asset_materialization|operator_triggered)__\d{4}-\d\d-\d\dT\S*`,
		},
		{name: "uuid", normal: "<uuid>", pattern: `\{?` + uuidPattern + `\}?`},
		{name: "spark_yarn_app", normal: "application", pattern: `application_\d{13}_\d{4,12}`},
		{name: "spark_standalone_app", normal: "app", pattern: `app-\d{14}-\d{4,12}`},
		{name: "spark_local_app", normal: "local", pattern: `local-\d{13}`},
		{name: "spark_k8s_app", normal: "spark", pattern: `spark-[0-9a-f]{32}`},
		{
			name: "spark_k8s_pod", normal: "$1-$2", max: maxPodName, when: namesSparkPod,
			pattern: `(.+)-[0-9a-f]{16}-(driver|exec)(?:-\d+)?`,
		},
		{
			name: "yarn_container", normal: "$1",
			pattern: `(container|appattempt)_(?:e\d{1,6}_)?\d{13}_\d{4,12}_\d{1,12}(?:_\d{1,12})?`,
		},
		{
			name: "hadoop_task", normal: "$1",
			pattern: `(job|task|attempt)_\d{12,13}_\d{4,12}(?:_[mr]_\d{6}(?:_\d{1,6})?)?`,
		},
		{name: "emr_id", normal: "$1", pattern: `([js])-[0-9A-Z]{10,24}`, when: digitInLastToken},
		{name: "glue_run", normal: "jr", pattern: `jr_[0-9a-f]{64}`},
		{name: "databricks_cluster", normal: "<cluster>", pattern: `\d{4}-\d{6}-[a-z0-9]{6,10}`},
		// The number is minutes since 1970: 25… was 2017, 30… is 2027.
		{
			name: "k8s_cronjob", normal: "$1", max: maxPodName,
			pattern: `(.+)-(?:2[5-9]|3\d)\d{6}(?:-` + randomPattern + `{5})?`,
		},
		{
			name: "k8s_deploy_pod", normal: "$1", max: maxPodName, when: endsAsPod,
			pattern: `(.+)-` + randomPattern + `{6,10}-` + randomPattern + `{5}`,
		},
		{
			name: "k8s_job_pod", normal: "$1", max: maxPodName, when: endsAsJobPod,
			pattern: `(.+)-` + randomPattern + `{5}`,
		},
		// Too many good names look so (etl-version2), hence only where hosts stand.
		{
			name: "airflow_pod", normal: "$1", max: maxPodName, when: digitAndLetterInLastToken, label: namesHost,
			pattern: `(.+)-[a-z0-9]{8}`,
		},

		// Times.
		{
			name: "iso_datetime", normal: "<time>",
			pattern: `\d{4}-\d\d-\d\d[T _]\d\d[:-]?\d\d(?:[:-]?\d\d)?(?:[.,]\d{1,12})?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?(?: [A-Z]{3,5})?`,
		},
		{
			name: "compact_datetime", normal: "<time>",
			pattern: datePattern + `[T_-]?` + clockPattern + `(?:\.\d{1,12})?(?:Z|[+-]\d{4})?`,
		},
		{
			name: "date", normal: "<date>", label: notVersion,
			pattern: `(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])`,
		},
		{name: "date_nodash", normal: "<date>", pattern: datePattern + `(?:[01]\d|2[0-3])?`},
		{
			name: "hive_partition", normal: "$1=<date>", max: maxFileName,
			pattern: `([a-z_][a-z0-9_]*)=(?:19|20)\d\d(?:[-/]?\d\d(?:[-/]?\d\d)?(?:[-T]\d\d)?(?:/[a-z_]+=\d{1,2})*|(?:/[a-z_]+=\d{1,2})+)`,
		},
		{name: "epoch", normal: "<epoch>", pattern: `1\d{9}(?:\.\d{1,12})?|1\d{12}|1\d{15}|1\d{18}`},

		// Identifiers and secrets.
		{
			name: "hash_hex", normal: "<hash>",
			pattern: `(?:(?:sha1|sha256|sha512|md5):)?(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{56}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128})`,
		},
		{name: "object_id", normal: "<id>", pattern: `[0-9a-f]{24}`},
		{name: "trace_span_id", normal: "<id>", pattern: `[0-9a-f]{16}`, when: digitAndLetterInLastToken},
		{name: "container_id", normal: "<id>", pattern: `[0-9a-f]{12}`, when: digitAndLetterInLastToken},
		{name: "ulid", normal: "<id>", pattern: `[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}`},
		// It begins with the time: a digit until 2051, which a name seldom does.
		{name: "ksuid", normal: "<id>", pattern: `[0-9][0-9A-Za-z]{26}`, when: digitAndLetterInLastToken},
		{name: "jwt", normal: "<token>", pattern: `eyJ[\w-]+\.[\w-]+\.[\w-]*`},

		// Machines, people and places.
		{name: "ec2_host", normal: "ip", max: maxPodName, pattern: `ip-\d{1,3}(?:-\d{1,3}){3}(?:\..+)?`},
		{
			name: "aws_resource", normal: "$1",
			pattern: `(i|vol|eni|sg|subnet|vpc|snap|ami)-[0-9a-f]{8}(?:[0-9a-f]{9})?`,
		},
		{
			name: "ipv4", normal: "<ip>", label: notVersion,
			pattern: octet + `(?:\.` + octet + `){3}(?::\d{1,5}|/\d{1,2})?`,
		},
		{
			name: "ipv6", normal: "<ip>", when: isWholeIPv6,
			pattern: `\[?[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:(?:` + octet + `\.){3}` + octet + `)?(?:%\w{1,16})?\]?(?::\d{1,5}|/\d{1,3})?`,
		},
		{name: "mac", normal: "<mac>", pattern: `[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}`},
		{
			name: "email", normal: "<email>", max: maxAddress,
			pattern: `(?:mailto:|[^@<>]*<)?[^@\s/<>]+@[^@\s/<>]+\.[A-Za-z]{2,}>?`,
		},
		// Names and passwords before the host never stay.
		{
			name: "url", normal: "$1://$2",
			pattern: `([a-zA-Z][a-zA-Z0-9+.:-]*)://(?:(?:[^/?#\s]*@)?((?:\[[0-9a-fA-F:.%]*\]|[^/?#@\s:]*)(?::\d{1,5})?)(?:[/?#]\S*)?|\S*)`,
		},
		{name: "path", normal: "<path>", when: hasFourSegments, pattern: `(?:[A-Za-z]:)?(?:[/\\][^/\\\s]+){4,}[/\\]?`},

		// Text.
		{
			name: "sql", normal: "$1",
			pattern: `(?is)\s*(select|insert|update|delete|merge|with|create|alter|drop|truncate)\s.*\b(?:from|into|set|table|values|as|view|using)\b.*`,
		},
		{
			name: "error_class", normal: "$1$2",
			pattern: `(?s)((?:[A-Za-z_][\w$]*\.)*[A-Z]\w*(?:Error|Exception|Failure|Timeout|Warning))\b.*[\s:(].*|(Error|Exception|Warning):.*`,
		},
		{
			name: "stack_trace", normal: "<trace>",
			pattern: `(?s).*(?:Traceback \(most recent call last\)|\n\s+at [\w.$]+\(|goroutine \d+ \[).*`,
		},
		{name: "hex_address", normal: "<text>", pattern: `(?s).*\b0x[0-9a-fA-F]{6,}\b.*`},

		// Names with something appended.
		{name: "part_file", normal: "$1", pattern: `(part)-\d{5}-[0-9a-f]{8}-.*`},
		{
			name: "tempfile", normal: "tmp", max: maxFileName, when: isTemporary,
			pattern: `(?:.*/)?tmp[a-z0-9_]{8}(?:\..*)?`,
		},
		{
			name: "trailing_spark_app", normal: "$1", max: maxFileName, when: namesSparkApp,
			pattern: `(.{2,}?)[-_.](?:` + sparkPattern + `)`,
		},
		{
			name: "trailing_time", normal: "$1$2", max: maxFileName,
			pattern: `(.{2,}?)[-_.](?:1\d{9}|1\d{12}|1\d{15}|1\d{18}|` +
				`(?:19|20)\d\d[-_]?(?:0[1-9]|1[0-2])[-_]?(?:0[1-9]|[12]\d|3[01])` +
				`(?:[-_T]?\d{2,6}|[-_T]\d\d(?:[:_-]\d\d){1,2}(?:\.\d{1,12})?(?:[+-]\d\d:?\d\d)?)?Z?)` + extension,
		},
		{
			name: "trailing_uuid", normal: "$1$2", max: maxFileName,
			pattern: `(.{2,}?)[-_.:/=](?:` + uuidPattern + `|[0-9a-f]{32})` + extension,
		},
		{
			name: "entity_id", normal: "$1",
			pattern: `((?i:user|usr|uid|cust|customer|acct|account|order|session|sess|req|request|tx|txn|msg|event|build|run|job|task|tenant))[-_:#]\d{3,}`,
		},
		{
			name: "pull_request", normal: "pr", max: maxFileName,
			pattern: `(?:(?:refs/)?pull/|(?i:pr)[-/#]?)\d+(?:/.*)?`,
		},

		// Numbers, and whatever else is too long to be a name.
		{name: "phone", normal: "<phone>", pattern: `\+\d[\d ()-]{7,18}\d`, when: hasPhoneDigits},
		{name: "big_int", normal: "<int>", pattern: `-?\d{6,}`},
		{name: "float_value", normal: "<num>", pattern: `[-+]?\d*\.\d{4,}(?:[eE][-+]?\d{1,4})?`},
		{name: "free_text", normal: "<text>", when: isFreeText},
	}
}

// lastToken returns what follows the last dash.
func lastToken(value string) string { return value[strings.LastIndexByte(value, '-')+1:] }

const decimals = "0123456789"

func digitInLastToken(value string) bool { return strings.ContainsAny(lastToken(value), decimals) }

// endsAsJobPod reports whether the last token is as long as the random one of a
// Job's pod and has a digit. Without the digit proxy-https would be one; one pod
// in five has none and is missed.
func endsAsJobPod(value string) bool {
	last := lastToken(value)
	return len(last) == 5 && strings.ContainsAny(last, decimals)
}

// endsAsPod is endsAsJobPod for the two tokens of a Deployment's pod. A digit in
// either will do, so nearly none is missed.
func endsAsPod(value string) bool {
	last := lastToken(value)
	if len(last) != 5 || len(value) == len(last) {
		return false
	}
	hash := lastToken(value[:len(value)-len(last)-1])
	return 6 <= len(hash) && len(hash) <= 10 && strings.ContainsAny(hash+last, decimals)
}

func namesSparkPod(value string) bool {
	return strings.Contains(value, "-driver") || strings.Contains(value, "-exec")
}

func namesSparkApp(value string) bool {
	return strings.Contains(value, "app") || strings.Contains(value, "local-") || strings.Contains(value, "spark-")
}

func digitAndLetterInLastToken(value string) bool {
	last := lastToken(value)
	return strings.ContainsAny(last, decimals) && strings.Trim(last, decimals) != ""
}

// isWholeIPv6 tells addresses from clock times and from words that happen to be
// hexadecimal, as in add::bad: eight groups or a gap, and a digit somewhere.
func isWholeIPv6(value string) bool {
	return (strings.Contains(value, "::") || strings.Count(value, ":") >= 7 ||
		strings.Count(value, ":") == 6 && strings.Count(value, ".") == 3) && strings.ContainsAny(value, decimals)
}

func hasFourSegments(value string) bool {
	return strings.Count(value, "/")+strings.Count(value, `\`) >= 4
}

// isTemporary tells random names from tmp_storage: a digit, or the directory
// for such files.
func isTemporary(value string) bool {
	name := value[strings.LastIndexByte(value, '/')+1:]
	return strings.ContainsAny(name, decimals) || strings.Contains(value, "/tmp/")
}

func hasPhoneDigits(value string) bool {
	n := 0
	for i := 0; i < len(value); i++ {
		if classes[value[i]] == digits {
			n++
		}
	}
	return 9 <= n && n <= 15
}

// isFreeText reports whether value is longer than 128 bytes, has more than one
// line, or six words.
func isFreeText(value string) bool {
	if len(value) > 128 || strings.Contains(value, "\n") {
		return true
	}
	words := 0
	for range strings.FieldsSeq(value) {
		words++
	}
	return words >= 6
}

// namesHost reports whether the label names a pod or a host.
func namesHost(label string) bool {
	label = strings.TrimSuffix(strings.ToLower(label), "_name")
	switch label[strings.LastIndexAny(label, "_.")+1:] {
	case "pod", "podname", "host", "hostname", "instance", "worker":
		return true
	}
	return false
}

// notVersion reports whether the label is not about a version, the values of
// which look like addresses and dates.
func notVersion(label string) bool { return !strings.Contains(strings.ToLower(label), "version") }
