package e2e

import (
	"bytes"
	"compress/gzip"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// protocolCase is one request, sent to a Pushgateway and to a guard in front of
// another one, both seeded alike.
type protocolCase struct {
	name    string
	request world.Request
	raw     string // sent instead of request, with ADDR replaced by the server's address
	half    bool   // the body cannot be read whole: this Pushgateway takes what it has read so far, the guard refuses it
}

const (
	seedPath = "/metrics/job/seed/instance/a"
	seedBody = "# HELP seeded_total Rows.\n# TYPE seeded_total counter\nseeded_total{table=\"t\"} 3\nkept 1\n"
	onePush  = "rows 7\n"
)

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func post(target, body string, headers ...[2]string) world.Request {
	return world.Request{Target: target, Body: body, Headers: headers}
}

func method(name, target string, headers ...[2]string) world.Request {
	return world.Request{Method: name, Target: target, Headers: headers}
}

var pushCases = []protocolCase{
	{name: "post", request: post("/metrics/job/x", onePush)},
	{name: "put replaces", request: world.Request{Method: "PUT", Target: seedPath, Body: onePush}},
	{name: "post replaces a family", request: post(seedPath, "kept{a=\"b\"} 2\n")},
	{name: "post of another type", request: post(seedPath, "# TYPE kept counter\nkept 2\n")},
	{name: "type clash with another group", request: post("/metrics/job/x", "# TYPE seeded_total gauge\nseeded_total 2\n")},
	{name: "delete", request: method("DELETE", seedPath)},
	{name: "delete with a body", request: world.Request{Method: "DELETE", Target: seedPath, Body: "not metrics"}},
	{name: "delete with a body in gzip", request: world.Request{Method: "DELETE", Target: seedPath, Body: zipped("not metrics"), Headers: [][2]string{{"Content-Encoding", "gzip"}}}},
	{name: "delete of an unknown group", request: method("DELETE", "/metrics/job/nobody")},
	{name: "delete by another spelling", request: method("DELETE", "/metrics/job@base64/c2VlZA/instance@base64/YQ==")},
	{name: "labels in another order", request: post("/metrics/job/x/b/2/a/1", onePush)},
	{name: "base64 padded", request: post("/metrics/job@base64/YQ==/p@base64/L3Zhci9saWI=", onePush)},
	{name: "base64 unpadded", request: post("/metrics/job@base64/YQ/p@base64/L3Zhci9saWI", onePush)},
	{name: "base64 marker escaped", request: post("/metrics/job%40base64/YQ==/p%40base64/L3Zhci9saWI=", onePush)},
	{name: "base64 of the wrong alphabet", request: post("/metrics/job/x/p@base64/a+b/", onePush)},
	{name: "base64 that is none", request: post("/metrics/job/x/p@base64/!!", onePush)},
	{name: "base64 of the empty value", request: post("/metrics/job/x/instance@base64/=", onePush)},
	{name: "base64 of an empty job", request: post("/metrics/job@base64/=", onePush)},
	{name: "slash escaped in a value", request: post("/metrics/job/x/p/a%2Fb/c", onePush)},
	{name: "slash escaped as a separator", request: post("/metrics/job/a%2Finstance%2Fb", onePush)},
	{name: "plus", request: post("/metrics/job/a+b/q/c%2Bd", onePush)},
	{name: "space", request: post("/metrics/job/a%20b", onePush)},
	{name: "newline and quote", request: post("/metrics/job/a%0Ab/q/c%22d", onePush)},
	{name: "NUL", request: post("/metrics/job/a%00b", onePush)},
	{name: "semicolon", request: post("/metrics/job/a;b/c;d=1/e", onePush)},
	{name: "semicolon in a value", request: post("/metrics/job/a;b=1/c/d;e", onePush)},
	{name: "UTF-8 value", request: post("/metrics/job/%C3%A9t%C3%A9/q/%e2%82%ac", onePush)},
	{name: "UTF-8 value unescaped", request: post("/metrics/job/été", onePush)},
	{name: "dots in values", request: post("/metrics/job/a.b/c/...", onePush)},
	{name: "trailing slash: no labels", request: post("/metrics/job/x/", onePush)},
	{name: "trailing slash: empty value", request: post("/metrics/job/x/instance/", onePush)},
	{name: "odd components", request: post("/metrics/job/x/instance", onePush)},
	{name: "repeated label", request: post("/metrics/job/x/a/1/a/2", onePush)},
	{name: "job repeated", request: post("/metrics/job/x/job/y", onePush)},
	{name: "label name in digits", request: post("/metrics/job/x/1a/b", onePush)},
	{name: "label name reserved", request: post("/metrics/job/x/__a/b", onePush)},
	{name: "label name of dots", request: post("/metrics/job/x/a.b/c", onePush)},
	{name: "label name that looks escaped", request: post("/metrics/job/x/U__a_2e_b/c", onePush)},
	{name: "query string", request: post("/metrics/job/x?a=1&b=/c", onePush)},
	{name: "absolute form", request: post("http://example.org/metrics/job/x", onePush)},
	{name: "body label equal to a grouping label", request: post("/metrics/job/x/a/1", "rows{a=\"2\",job=\"y\"} 1\n")},
	{name: "body label instance", request: post("/metrics/job/x", "rows{instance=\"i\"} 1\n")},
	{name: "series that collide by the grouping key", request: post("/metrics/job/x/a/1", "rows{a=\"2\"} 1\nrows{a=\"3\"} 1\n")},
	{name: "duplicate series", request: post("/metrics/job/x", "rows 1\nrows 2\n")},
	{name: "timestamps", request: post("/metrics/job/x", "rows 1 1700000000000\n")},
	{name: "empty body by POST", request: post("/metrics/job/x", "")},
	{name: "empty body by POST to a group", request: post(seedPath, "")},
	{name: "empty body by PUT", request: world.Request{Method: "PUT", Target: seedPath}},
	{name: "no final newline", request: post("/metrics/job/x", "rows 1")},
	{name: "carriage returns", request: post("/metrics/job/x", "rows 1\r\n")},
	{name: "not a number", request: post("/metrics/job/x", "rows one\n")},
	{name: "NaN and infinities", request: post("/metrics/job/x", "a NaN\nb +Inf\nc -Inf\nd 1e3\n")},
	{name: "hexadecimal and underscores", request: post("/metrics/job/x", "a 0x10\n")},
	{name: "trailing comma", request: post("/metrics/job/x", "rows{a=\"1\",} 1\n")},
	{name: "trailing blank", request: post("/metrics/job/x", "rows 1 \n")},
	{name: "tabs and blanks", request: post("/metrics/job/x", "  rows\t{ a = \"1\" , b=\"2\" }\t 1\n\n\n")},
	{name: "comments only", request: post("/metrics/job/x", "# nothing\n# EOF\n")},
	{name: "types without samples", request: post("/metrics/job/x", "# HELP rows Rows.\n# TYPE rows counter\n")},
	{name: "help after the sample", request: post("/metrics/job/x", "rows 1\n# HELP rows Rows.\n")},
	{name: "type after the sample", request: post("/metrics/job/x", "rows 1\n# TYPE rows counter\n")},
	{name: "type twice", request: post("/metrics/job/x", "# TYPE rows counter\n# TYPE rows counter\nrows 1\n")},
	{name: "type in capitals", request: post("/metrics/job/x", "# TYPE rows COUNTER\nrows 1\n")},
	{name: "unknown type", request: post("/metrics/job/x", "# TYPE rows unknown\nrows 1\n")},
	{name: "escapes in a value", request: post("/metrics/job/x", `rows{a="x\\y\"z\n"} 1`+"\n")},
	{name: "bad escape in a value", request: post("/metrics/job/x", `rows{a="x\q"} 1`+"\n")},
	{name: "escapes in help", request: post("/metrics/job/x", "# HELP rows a\\\\b\\nc\nrows 1\n")},
	{name: "invalid UTF-8 in a value", request: post("/metrics/job/x", "rows{a=\"\xff\"} 1\n")},
	{name: "duplicate label", request: post("/metrics/job/x", "rows{a=\"1\",a=\"2\"} 1\n")},
	{name: "reserved label", request: post("/metrics/job/x", "rows{__name__=\"y\"} 1\n")},
	{name: "families interleaved", request: post("/metrics/job/x", "a{x=\"1\"} 1\nb 1\na{x=\"2\"} 1\n")},
	{name: "histogram", request: post("/metrics/job/x", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n")},
	{name: "histogram without +Inf", request: post("/metrics/job/x", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 3\nh_count 2\n")},
	{name: "histogram with a bound that is none", request: post("/metrics/job/x", "# TYPE h histogram\nh_bucket{le=\"one\"} 1\nh_sum 3\nh_count 2\n")},
	{name: "summary", request: post("/metrics/job/x", "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 3\ns_count 2\n")},
	{name: "untyped buckets", request: post("/metrics/job/x", "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n")},
	{name: "own family of the gateway", request: post("/metrics/job/x", "# TYPE go_goroutines gauge\ngo_goroutines 3\n")},
	{name: "own family in another type", request: post("/metrics/job/x", "# TYPE go_goroutines counter\ngo_goroutines 3\n")},
	{name: "push_time_seconds pushed", request: post("/metrics/job/x", "# TYPE push_time_seconds gauge\npush_time_seconds 3\nrows 1\n")},
}

var framingCases = []protocolCase{
	{name: "chunked", request: world.Request{Target: "/metrics/job/x", Body: strings.Repeat("# filler\n", 500) + onePush, Chunked: true}},
	{name: "chunked and empty", request: world.Request{Target: "/metrics/job/x", Chunked: true}},
	{name: "chunk extension", raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nTransfer-Encoding: chunked\r\n\r\n7;a=b\r\nrows 7\n\r\n0\r\n\r\n"},
	{name: "chunk trailer", raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nrows 7\n\r\n0\r\nX-A: b\r\n\r\n"},
	{name: "chunk of a broken size", half: true, raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nrows 7\n\r\n0\r\n\r\n"},
	{name: "expect 100-continue", request: post("/metrics/job/x", onePush, [2]string{"Expect", "100-continue"})},
	{name: "expect something else", request: post("/metrics/job/x", onePush, [2]string{"Expect", "200-ok"})},
	{name: "HTTP/1.0", request: world.Request{Target: "/metrics/job/x", Proto: "HTTP/1.0", Body: onePush}},
	{name: "HTTP/1.0 without a length", raw: "POST /metrics/job/x HTTP/1.0\r\n\r\n"},
	{name: "HTTP/1.1 without a host", raw: "POST /metrics/job/x HTTP/1.1\r\nContent-Length: 7\r\n\r\nrows 7\n"},
	{name: "two unlike lengths", raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\nrows 7\n\n"},
	{name: "a length that is none", raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nContent-Length: seven\r\n\r\nrows 7\n"},
	{name: "an unknown transfer encoding", raw: "POST /metrics/job/x HTTP/1.1\r\nHost: ADDR\r\nTransfer-Encoding: gzip\r\n\r\nrows 7\n"},
	{name: "header names in capitals", raw: "POST /metrics/job/x HTTP/1.1\r\nHOST: ADDR\r\nCONTENT-LENGTH: 7\r\nCONTENT-TYPE: TEXT/PLAIN\r\n\r\nrows 7\n"},
	{name: "no HTTP at all", raw: "hello\r\n\r\n"},
	{name: "a percent sign that escapes nothing", request: post("/metrics/job/100%", onePush)},
	{name: "gzip", request: post("/metrics/job/x", zipped(onePush), [2]string{"Content-Encoding", "gzip"})},
	{name: "gzip that is none", request: post("/metrics/job/x", onePush, [2]string{"Content-Encoding", "gzip"})},
	{name: "gzip and empty", request: post("/metrics/job/x", "", [2]string{"Content-Encoding", "gzip"})},
	{name: "gzip in two members", request: post("/metrics/job/x", zipped("a 1\n")+zipped("b 1\n"), [2]string{"Content-Encoding", "gzip"})},
	{name: "gzip without the header", request: post("/metrics/job/x", zipped(onePush))},
	{name: "plain text said to be br", request: post("/metrics/job/x", onePush, [2]string{"Content-Encoding", "br"})},
	{name: "identity", request: post("/metrics/job/x", onePush, [2]string{"Content-Encoding", "identity"})},
	{name: "content type of a form", request: post("/metrics/job/x", "a=1&b=2", [2]string{"Content-Type", "application/x-www-form-urlencoded"})},
	{name: "content type of JSON", request: post("/metrics/job/x", onePush, [2]string{"Content-Type", "application/json"})},
	{name: "content type that is none", request: post("/metrics/job/x", onePush, [2]string{"Content-Type", "text;;;plain"})},
	{name: "content type of OpenMetrics", request: post("/metrics/job/x", "rows 7\n# EOF\n", [2]string{"Content-Type", "application/openmetrics-text; version=1.0.0"})},
	{name: "protobuf", request: post("/metrics/job/x", delimited(gauge("rows", 7)), protobufType)},
	{name: "protobuf in other letters", request: post("/metrics/job/x", delimited(gauge("rows", 7)), [2]string{"Content-Type", "Application/Vnd.Google.Protobuf; Proto=io.prometheus.client.MetricFamily; Encoding=delimited; x=y"})},
	{name: "protobuf without the encoding", request: post("/metrics/job/x", delimited(gauge("rows", 7)), [2]string{"Content-Type", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"})},
	{name: "protobuf, family twice", request: post("/metrics/job/x", delimited(gauge("rows", 7), gauge("rows", 8)), protobufType)},
	{name: "protobuf with a native histogram", request: post("/metrics/job/x", delimited(native(func(*dto.Histogram) {})), protobufType)},
	{name: "protobuf and empty", request: post("/metrics/job/x", "", protobufType)},
	{name: "protobuf that is none", request: post("/metrics/job/x", "rows 7\n", protobufType)},
}

var otherCases = []protocolCase{
	{name: "get a group", request: method("GET", seedPath)},
	{name: "head a group", request: method("HEAD", seedPath)},
	{name: "patch a group", request: method("PATCH", seedPath)},
	{name: "an invented method on a group", request: method("PURGE", seedPath)},
	{name: "put in small letters", request: world.Request{Method: "put", Target: seedPath, Body: onePush}},
	{name: "options of a group", request: method("OPTIONS", seedPath)},
	{name: "options of a job", request: method("OPTIONS", "/metrics/job/x")},
	{name: "options of the scrape", request: method("OPTIONS", "/metrics")},
	{name: "options of the API", request: method("OPTIONS", "/api/v1/metrics")},
	{name: "options of everything", request: method("OPTIONS", "*")},
	{name: "trace", request: method("TRACE", seedPath)},
	{name: "connect", request: method("CONNECT", seedPath)},
	{name: "scrape", request: method("GET", "/metrics")},
	{name: "scrape as text", request: method("GET", "/metrics", [2]string{"Accept", "text/plain"})},
	{name: "scrape as protobuf", request: method("GET", "/metrics", [2]string{"Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"})},
	{name: "scrape as OpenMetrics", request: method("GET", "/metrics", [2]string{"Accept", "application/openmetrics-text;version=1.0.0"})},
	{name: "scrape zipped", request: method("GET", "/metrics", [2]string{"Accept-Encoding", "gzip"})},
	{name: "scrape with a query", request: method("GET", "/metrics?name[]=x")},
	{name: "scrape with a slash", request: method("GET", "/metrics/")},
	{name: "head of the scrape", request: method("HEAD", "/metrics")},
	{name: "post to the scrape", request: post("/metrics", onePush)},
	{name: "put to the scrape", request: world.Request{Method: "PUT", Target: "/metrics", Body: onePush}},
	{name: "delete the scrape", request: method("DELETE", "/metrics")},
	{name: "post to the scrape with a slash", request: post("/metrics/", onePush)},
	{name: "post without a job", request: post("/metrics/job/", onePush)},
	{name: "post to job", request: post("/metrics/job", onePush)},
	{name: "post to jobs", request: post("/metrics/jobs/x", onePush)},
	{name: "post under another first label", request: post("/metrics/instance/x/job/y", onePush)},
	{name: "post to a path in capitals", request: post("/METRICS/job/x", onePush)},
	{name: "the page", request: method("GET", "/")},
	{name: "the page zipped", request: method("GET", "/", [2]string{"Accept-Encoding", "gzip"})},
	{name: "the status page", request: method("GET", "/status")},
	{name: "head of the page", request: method("HEAD", "/")},
	{name: "post to the page", request: post("/", onePush)},
	{name: "post to the status page", request: post("/status", onePush)},
	{name: "static", request: method("GET", "/static/functions.js")},
	{name: "static folder", request: method("GET", "/static/")},
	{name: "static missing", request: method("GET", "/static/none.js")},
	{name: "static, not modified", request: method("GET", "/static/functions.js", [2]string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"})},
	{name: "static, a range", request: method("GET", "/static/functions.js", [2]string{"Range", "bytes=0-9"})},
	{name: "delete static", request: method("DELETE", "/static/functions.js")},
	{name: "pprof", request: method("GET", "/debug/pprof/cmdline")},
	{name: "API metrics", request: method("GET", "/api/v1/metrics")},
	{name: "API status", request: method("GET", "/api/v1/status")},
	{name: "API unknown", request: method("GET", "/api/v1/none")},
	{name: "API without an end", request: method("GET", "/api/v1")},
	{name: "API with a slash", request: method("GET", "/api/v1/metrics/")},
	{name: "post to the API", request: post("/api/v1/metrics", onePush)},
	{name: "put to an unknown part of the API", request: method("PUT", "/api/v1/admin/none")},
	{name: "get the wipe", request: method("GET", "/api/v1/admin/wipe")},
	{name: "post the wipe", request: post("/api/v1/admin/wipe", "")},
	{name: "put the wipe", request: method("PUT", "/api/v1/admin/wipe")},
	{name: "healthy", request: method("GET", "/-/healthy")},
	{name: "ready", request: method("GET", "/-/ready")},
	{name: "head healthy", request: method("HEAD", "/-/healthy")},
	{name: "post healthy", request: post("/-/healthy", "")},
	{name: "get quit", request: method("GET", "/-/quit")},
	{name: "put quit", request: method("PUT", "/-/quit")},
	{name: "post quit", request: post("/-/quit", "")},
	{name: "unknown path", request: method("GET", "/none")},
	{name: "post to an unknown path", request: post("/none", onePush)},
	{name: "put to an unknown path", request: world.Request{Method: "PUT", Target: "/none", Body: onePush}},
	{name: "delete an unknown path", request: method("DELETE", "/none")},
	{name: "read in capitals", request: method("GET", "/METRICS")},
	{name: "read of two slashes", request: method("GET", "//metrics")},
	{name: "read of dots", request: method("GET", "/x/../metrics")},
	{name: "write of two slashes", request: post("/metrics/job/x//a/b", onePush)},
	{name: "write of dots", request: post("/metrics/job/x/../y", onePush)},
}
