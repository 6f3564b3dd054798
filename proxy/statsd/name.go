package statsd

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pushguard/pushguard/proxy/counter"
)

const (
	maxPrefix = 100
	maxName   = 200 // bytes of a name or a tag key, before it is cleaned
	maxValue  = 200 // bytes of a tag value, cleaned
)

// suffixes are of the counters that a series of each kind travels as.
var suffixes = [...][]string{
	counter.Counter:   {""},
	counter.Histogram: {"_bucket", "_count", "_sum"},
	counter.Summary:   {"_count", "_sum"},
}

// reservedPrefixes start the names of what statsd_exporter exports of itself.
// One counter of such a name, or with _count, _sum or _bucket behind it, makes
// /metrics fail until the exporter is restarted. More of them may come with its
// next version.
var reservedPrefixes = []string{"go_", "process_", "promhttp_", "statsd_exporter_", "statsd_metric_mapper_"}

// reservedNames are of the series that Prometheus writes itself for each scrape
// and each alert.
var reservedNames = map[string]bool{
	"up":                                    true,
	"scrape_duration_seconds":               true,
	"scrape_samples_scraped":                true,
	"scrape_samples_post_metric_relabeling": true,
	"scrape_series_added":                   true,
	"scrape_timeout_seconds":                true,
	"scrape_sample_limit":                   true,
	"scrape_body_size_bytes":                true,
	"ALERTS":                                true,
	"ALERTS_FOR_STATE":                      true,
}

func reserved(name string) bool {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return reservedNames[name]
}

// appendName appends a name as the exporter would write it: what is not a
// letter, a digit or _ becomes _, and a digit in front gets one.
func appendName(dst []byte, name string) []byte {
	if name != "" && '0' <= name[0] && name[0] <= '9' {
		dst = append(dst, '_')
	}
	for i := 0; i < len(name); {
		c, n := name[i], 1
		if c >= utf8.RuneSelf {
			_, n = utf8.DecodeRuneInString(name[i:])
			c = '_'
		} else if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			c = '_'
		}
		dst = append(dst, c)
		i += n
	}
	return dst
}

// plain are the bytes that stay as they are in the tag values of a style.
type plain [utf8.RuneSelf]bool

func newPlain(not string) *plain {
	p := new(plain)
	for c := range p {
		p[c] = !unicode.IsControl(rune(c)) && !strings.ContainsRune(not, rune(c))
	}
	return p
}

var (
	plainBehind = newPlain(",|")     // of tags behind the value
	plainBefore = newPlain(",|:#[]") // of tags behind the name, whose syntaxes the exporter all tries
)

// appendValue appends a tag value, cut at the end of a character.
func appendValue(dst []byte, value string, p *plain) []byte {
	end := len(dst) + maxValue
	for i := 0; i < len(value) && len(dst) < end; {
		c := value[i]
		if c < utf8.RuneSelf {
			if !p[c] {
				c = '_'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(value[i:])
		if unicode.IsControl(r) {
			r = '_'
		}
		if len(dst)+utf8.RuneLen(r) > end {
			break
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst
}

// appendID appends the identity of a series on the wire, which is its cleaned
// name, a zero byte and its tags, and returns how long the name is.
func (c *Config) appendID(dst []byte, src *counter.Series) ([]byte, int) {
	dst = append(dst, c.Prefix...)
	dst = appendName(dst, src.Name)
	name := len(dst)
	dst = append(dst, 0)
	if c.Tags == NoTags {
		return dst, name
	}
	between, p := byte('='), plainBefore
	if c.Tags == DogStatsD {
		between, p = ':', plainBehind
	}
	for i := range src.Labels {
		l := &src.Labels[i]
		if l.Value == "" {
			continue
		}
		if len(dst) > name+1 {
			dst = append(dst, ',')
		}
		dst = appendName(dst, l.Name)
		dst = append(dst, between)
		dst = appendValue(dst, l.Value, p)
	}
	return dst, name
}

// checkLabels returns why these labels cannot be sent, if they cannot.
func (c *Config) checkLabels(src *counter.Series) Refusal {
	if c.Tags == NoTags {
		return ""
	}
	keys := make(map[string]bool, len(src.Labels))
	for _, l := range src.Labels {
		if l.Value == "" {
			continue
		}
		if l.Name == "" || len(l.Name) > maxName {
			return RefusedLabel
		}
		key := string(appendName(nil, l.Name))
		if strings.HasPrefix(key, "__") || (key == "le" && src.Kind == counter.Histogram) {
			return RefusedLabel
		}
		if keys[key] {
			return RefusedCollision
		}
		keys[key] = true
	}
	return ""
}

// sameNames reports whether two series have the same labels by their names as
// they came, cleaned or not.
func sameNames(a, b *counter.Series) bool {
	i, j := 0, 0
	for {
		for i < len(a.Labels) && a.Labels[i].Value == "" {
			i++
		}
		for j < len(b.Labels) && b.Labels[j].Value == "" {
			j++
		}
		if i == len(a.Labels) || j == len(b.Labels) {
			return i == len(a.Labels) && j == len(b.Labels)
		}
		if a.Labels[i].Name != b.Labels[j].Name {
			return false
		}
		i++
		j++
	}
}
