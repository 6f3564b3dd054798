package finding_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/pushguard/pushguard/rules/finding"
)

const sampleCap = 40

func TestRedact(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"a bounded word stays", "load_users", "load_users"},
		{"a version stays", "1.2.3-rc.1", "1.2.3-rc.1"},
		{"a run id stays", "manual__2026-01-01T00:00:00+00:00", "manual__2026-01-01T00:00:00+00:00"},
		{"a date stays", "2026-01-01 00:00:00", "2026-01-01 00:00:00"},
		{"uuid", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", "3f2b8c1e…"},
		{"uuid of digits", "12345678-1234-1234-1234-123456789012", "12345678…"},
		{"e-mail", "alice@example.com", "a…@…"},
		{"e-mail in a sentence", "mail to alice@example.com failed", "mail to a…@… failed"},
		{"e-mail in brackets", "Alice <alice@example.com>", "Alice <a…@…>"},
		{"e-mail encoded", "user=alice%40example.com", "user=a…@…"},
		{"e-mail without a name", "@example.com", "…@…"},
		{"url with userinfo", "postgres://bob:hunter2@db.local/orders", "postgres://db.local/…"},
		{"url with a slash in its password", "amqp://bob:hun/ter2@mq.local", "amqp:///…"},
		{"url with a query", "https://example.com/a?token=abc", "https://example.com/…"},
		{"url with a secret path", "https://hooks.example.com/T00/B00/XyZ", "https://hooks.example.com/…"},
		{"url with a query only", "https://example.com?token=abc", "https://example.com/…"},
		{"bare url", "http://example.com:9091/", "http://example.com:9091"},
		{"jdbc url", "jdbc:mysql://root:pw@db:3306/x", "jdbc:mysql://db:3306/…"},
		{"query without a host", "/api/v1/users?token=abc", "/api/v1/users?…"},
		{"jwt", "eyJhbGciOi.eyJzdWIi.c2ln", "eyJh…"},
		{"github token", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_…"},
		{"aws key", "AKIAIOSFODNN7EXAMPLE", "AKIA…"},
		{"base64 secret", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJal…"},
		{"md5", "d41d8cd98f00b204e9800998ecf8427e", "d41d…"},
		{"trace id in a path", "/t/00f067aa0ba902b7/x", "/t/00f0…"},
		{"hash with nine leading digits", "123456789abcdef0123456789", "1234…"},
		{"phone", "+14155550123", "+141…"},
		{"phone in groups", "call (415) 555-0123 now", "call (415)… now"},
		{"epoch", "1690000000", "1690…"},
		{"name with an epoch", "sensor-etl_1690000000", "sensor-etl_1690…"},
		{"password", "login failed: password=hunter2, retry", "login failed: password=…, retry"},
		{"json secret", `{"api_key": "hunter2"}`, `{"api_key": "…"}`},
		{"bearer", "Authorization: Bearer hunter2", "Authorization: Bearer …"},
		{"a class is no secret", "org.apache.spark.SparkException", "org.apache.spark.SparkException"},
		{"a slug is no secret", "nightly-load-users-orders-2024", "nightly-load-users-orders-2024"},
		{"line breaks and controls", "a\r\nb\x00c\x1b[31m", "a  b\ufffdc\ufffd[31m"},
		{"bidi override and line separator", "a\u202eb\u2028c", "a\ufffdb c"},
		{"invalid UTF-8", "a\xffb", "a\ufffdb"},
		{"text is cut", "connection to db refused after 3 attempts by peer", "connection to db refused after 3 atte…"},
		{"at the cap", strings.Repeat("ab ", 13) + "a", strings.Repeat("ab ", 13) + "a"},
		{"over the cap", strings.Repeat("ab ", 13) + "ab", strings.Repeat("ab ", 12) + "a…"},
		{"never cut inside a character", strings.Repeat("é", 30), strings.Repeat("é", 18) + "…"},
		{"a huge value", strings.Repeat("ab ", 1<<20), strings.Repeat("ab ", 12) + "a…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := finding.Redact(tc.in)
			if got != tc.want {
				t.Errorf("Redact(%.80q) = %q, want %q", tc.in, got, tc.want)
			}
			if again := finding.Redact(got); again != got {
				t.Errorf("redacting %q again gives %q", got, again)
			}
		})
	}
}

func TestRedactLabel(t *testing.T) {
	for name, hidden := range map[string]bool{
		"password": true, "db_password": true, "dbPassword": true, "PASSWD": true, "token": true, "auth_token": true, "x-api-key": true,
		"apiKey": true, "aws_secret_access_key": true, "client_secret": true, "Authorization": true, "credentials": true, "pass_word": true,
		"token_type": false, "tokens": false, "secret_name": false, "password_age": false, "key": false, "table": false, "word": false, "": false,
	} {
		for said, redact := range map[string]func(string, string) string{"RedactLabel": finding.RedactLabel, "ScrubLabel": finding.ScrubLabel} {
			want := "hunter2"
			if hidden {
				want = "…"
			}
			if got := redact(name, "hunter2"); got != want {
				t.Errorf("%s(%q): %q, want %q", said, name, got, want)
			}
			if got := redact(name, ""); got != "" {
				t.Errorf("%s(%q) of nothing: %q", said, name, got)
			}
			if got := redact(name, "bob@example.com"); strings.Contains(got, "example") {
				t.Errorf("%s(%q): %q", said, name, got)
			}
		}
	}
}

var emails = regexp.MustCompile(`[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)

func TestScrub(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a uuid stays", "run 3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", "run 3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a"},
		{"text stays", strings.Repeat("ab ", 1000), strings.Repeat("ab ", 1000)},
		{"at the cap", strings.Repeat("ab ", 1365) + "a", strings.Repeat("ab ", 1365) + "a"},
		{"over the cap", strings.Repeat("ab ", 1365) + "ab", strings.Repeat("ab ", 1364) + "a…"},
		{"an e-mail address goes", "mail to alice@example.com failed", "mail to a…@… failed"},
		{"a password goes", "login failed: password=hunter2, retry", "login failed: password=…, retry"},
		{"a password in a URL goes", "postgres://bob:hunter2@db.local/orders", "postgres://db.local/…"},
		{"a token goes, wherever it stands", strings.Repeat("ab ", 500) + "ghp_16C7e42F292c6912E7710c838347Ae178B4a", strings.Repeat("ab ", 500) + "ghp_…"},
	} {
		if got := finding.Scrub(tc.in); got != tc.want {
			t.Errorf("%s: %.80q, want %.80q", tc.name, got, tc.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{
		"", "alice@example.com", "x alice@example.com,bob@example.org", "https://alice@example.com:80/x?y=bob@example.com",
		"a\xff@b.c", "é@b.co", "password=a@b.co", "+1 415 555 0123 a@b.co", "basic a@b.co", "?a@b.co", "123456789@b.co",
		"://a@b.co", "a://b/c@d.ef", strings.Repeat("x", 600) + "@b.co", "\u2028\u202e\x00", "eyJ..", "2026-01-01",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := finding.Redact(in)
		mustBeOneLine(t, out)
		if len(out) > sampleCap {
			t.Errorf("%d bytes: %q", len(out), out)
		}
		for _, mail := range emails.FindAllString(in, -1) {
			if strings.Contains(out, mail) {
				t.Errorf("Redact(%q) = %q shows %q", in, out, mail)
			}
		}
	})
}

// FuzzRedactSecret holds that a long random part is never shown, wherever it
// stands.
func FuzzRedactSecret(f *testing.F) {
	f.Add("run ", " failed")
	f.Add("/a/b/", "?x")
	f.Add("key=", "")
	f.Add("1234567", "@b.co")
	f.Add("http://", "/")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "9f86d081884c7d659a2feaa0c55ad015"
		if out := finding.Redact(before + secret + after); strings.Contains(out, secret[:12]) {
			t.Errorf("Redact(%q) = %q", before+secret+after, out)
		}
	})
}

func mustBeOneLine(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Errorf("not UTF-8: %q", s)
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			t.Errorf("holds %U: %q", r, s)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		finding.Redact("3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a")
	}
}
