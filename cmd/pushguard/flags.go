package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
)

// flagValue is the value of a flag that may be wrong: it names its flag when it
// is, which kingpin's own values do not.
type flagValue[T any] struct {
	name   string
	target *T
	parse  func(string) (T, error)
}

// Set is part of kingpin.Value.
func (v flagValue[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err != nil {
		return fmt.Errorf("--%s=%q: %w", v.name, cut(text), err)
	}
	*v.target = parsed
	return nil
}

// String is part of kingpin.Value.
func (v flagValue[T]) String() string { return fmt.Sprint(*v.target) }

// flag adds a flag whose value parse reads into target.
func flag[T any](cmd *kingpin.CmdClause, name, help string, target *T, parse func(string) (T, error)) *kingpin.FlagClause {
	f := cmd.Flag(name, help)
	f.SetValue(flagValue[T]{name, target, parse})
	return f
}

// word adds a flag whose value is one of words.
func word(cmd *kingpin.CmdClause, name, help string, target *string, words ...string) *kingpin.FlagClause {
	return flag(cmd, name, help, target, func(s string) (string, error) {
		if !slices.Contains(words, s) {
			last := len(words) - 1
			return "", fmt.Errorf("want %s or %s", strings.Join(words[:last], ", "), words[last])
		}
		return s, nil
	}).HintOptions(words...)
}

// cut keeps a message short whatever the value it complains about, and without the user and
// password of a URL: one that is none often has a password with a character that it may not.
func cut(s string) string {
	const most = 100
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			s = scheme + "://…" + rest[at:]
		}
	} else if at := strings.LastIndexByte(s, '@'); at >= 0 && strings.Contains(s[:at], ":") {
		s = "…" + s[at:] // without its scheme
	}
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// parseGiven refuses an empty text, as a variable that nobody has set leaves it: the guard would
// do as if the flag were not there, and have another policy or keep nothing.
func parseGiven(s string) (string, error) {
	if s == "" {
		return "", errors.New("want a value, or the flag left out")
	}
	return s, nil
}

func parseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("want a time above 0, such as 30s or 1m30s")
	}
	return d, nil
}

// parseEncoding reports whether text may go on as protobuf.
func parseEncoding(s string) (bool, error) {
	switch s {
	case "auto":
		return true, nil
	case "received":
		return false, nil
	default:
		return false, errors.New("want auto or received")
	}
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return 0, errors.New("want a whole number from 1 to 2147483647")
	}
	return int(n), nil
}

// parseSize keeps below 2 GiB, so that a size fits an int on every machine.
func parseSize(s string) (int64, error) {
	n, err := units.ParseBase2Bytes(s)
	if err != nil || n <= 0 || n >= 2*units.GiB {
		return 0, errors.New("want a size from 1B to 2047MiB, such as 500KiB or 16MiB")
	}
	return int64(n), nil
}

// parseUpstream leaves what an upstream's URL may hold to package gateway.
func parseUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil, errors.New("want an absolute URL, such as http://127.0.0.1:9092")
	}
	return u, nil
}

// networks is the value of a flag that lists networks and may be repeated.
type networks struct {
	name   string
	target *[]netip.Prefix
}

// Set is part of kingpin.Value. It adds to what earlier flags listed.
func (v networks) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		network, err := parseNetwork(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("--%s=%q: %w", v.name, cut(text), err)
		}
		*v.target = append(*v.target, network)
	}
	return nil
}

// String is part of kingpin.Value.
func (v networks) String() string { return fmt.Sprint(*v.target) }

// IsCumulative tells kingpin that the flag may be repeated.
func (v networks) IsCumulative() bool { return true }

// parseNetwork reads a network, or an address as the network of it alone. IPv4
// is to be written as such, since that is how addresses are compared with it.
func parseNetwork(s string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network: want such as 10.0.0.0/8, 192.0.2.7 or fd00::/8", cut(s))
	}
	return network.Masked(), nil
}

// plainPath matches the route prefixes that mean the same to every router,
// escaped or not.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// parseRoutePrefix returns the prefix with a leading and without a trailing
// slash, empty for the root.
func parseRoutePrefix(s string) (string, error) {
	prefix := strings.Trim(s, "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	if !plainPath.MatchString(prefix) {
		return "", errors.New("want a plain path, such as /push or /team/push")
	}
	return prefix, nil
}
