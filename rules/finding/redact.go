package finding

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxSample is the longest sample in bytes.
	maxSample = 40
	// maxText is the longest text that Scrub leaves, in bytes.
	maxText = 4 << 10
	// maxLook is how much of a value Redact reads. What it shows comes from far
	// nearer the front; the rest serves only to recognise what a word is.
	maxLook = 512
	// shownOfID and shownOfSecret are how many bytes of an identifier and of
	// something that may be a secret are shown.
	shownOfID     = 8
	shownOfSecret = 4
	// secretRun is the shortest run of letters and digits taken for a secret,
	// and secretWord the shortest whole word.
	secretRun  = 16
	secretWord = 20
	// phoneDigits is the shortest run of digits taken for a number of a person:
	// a phone, an account, a card.
	phoneDigits = 9
)

// Redact returns what may be shown and kept of a label value: at most 40 bytes
// of valid UTF-8 without control characters, enough to recognise what kind of
// value it was and to find it again, never what could harm someone.
//
//   - an e-mail address keeps its first character: a…@…
//   - a URL keeps scheme and host: https://example.com/…
//   - a query goes: /users?…
//   - a UUID keeps 8 characters; tokens, JWTs, long hexadecimal or random
//     strings and long numbers such as phones keep 4 of the part concerned
//   - what follows password=, token: or Bearer goes whole
//   - longer text is cut
//
// When in doubt it hides. It is a help against spilling data into logs, not a
// proof: a short secret that looks like a word is shown, unless RedactLabel knows it by its
// label.
func Redact(value string) string { return redact(value, maxSample, maxLook, false) }

// Scrub is Redact for what is kept whole, in an event log: UUIDs stay, by which
// people look for things, and text stays up to 4 KiB.
func Scrub(value string) string { return redact(value, maxText, 2*maxText, true) }

// RedactLabel is Redact of the value of a label. Where the label is named as a secret is,
// by its last word, nothing of it is shown.
func RedactLabel(name, value string) string {
	if value != "" && isSecretName(name) {
		return ellipsis
	}
	return Redact(value)
}

// ScrubLabel is Scrub of the value of a label, as RedactLabel is Redact.
func ScrubLabel(name, value string) string {
	if value != "" && isSecretName(name) {
		return ellipsis
	}
	return Scrub(value)
}

// isSecretName reports whether a label is named as what it holds, such as db_password or
// apiKey, and not as what is about one, such as token_type.
func isSecretName(label string) bool {
	for _, name := range [...]string{"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey", "credential", "credentials", "authorization"} {
		if endsWith(label, name) {
			return true
		}
	}
	return false
}

// endsWith reports whether a label's name ends with a word in small letters, whatever its
// case and what stands between its parts.
func endsWith(label, word string) bool {
	for len(word) > 0 && len(label) > 0 {
		c := label[len(label)-1]
		label = label[:len(label)-1]
		if strings.IndexByte("_-.", c) >= 0 {
			continue
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != word[len(word)-1] {
			return false
		}
		word = word[:len(word)-1]
	}
	return word == ""
}

func redact(value string, most, reads int, uuids bool) string {
	look := value[:min(len(value), reads)]
	out := make([]byte, 0, min(2*most, 2*len(value)))
	hide := false // the next word is a secret by what stands before it
	for len(look) > 0 && len(out) <= most {
		word := look[:wordLen(look)]
		if n := phoneLen(look); n > 0 && !hide && !isUUID(word) {
			out = appendPrintable(out, look[:shownOfSecret])
			out = append(out, ellipsis...)
			look = look[n:]
			look = look[wordLen(look):]
			continue
		}
		if word == "" {
			_, size := utf8.DecodeRuneInString(look)
			out = appendPrintable(out, look[:size])
			hide = hide && !strings.ContainsAny(look[:size], ",;&")
			look = look[size:]
			continue
		}
		look = look[len(word):]
		switch {
		case isAuthScheme(word):
			out, hide = append(out, word...), true
		case hide:
			out, hide = append(out, ellipsis...), false
		case uuids && isUUID(word):
			out = append(out, word...)
		case isScheme(word) && strings.HasPrefix(look, "://"):
			end := urlLen(look)
			out = appendURL(out, word, look[:end])
			look = look[end:]
		case hasQuery(word):
			path, _, _ := strings.Cut(word, "?")
			out = append(appendWord(out, path), "?…"...)
			look = look[urlLen(look):]
		default:
			out = appendWord(out, word)
			hide = namesSecret(word, look)
		}
	}
	return string(cut(out, most, len(look) > 0 || len(value) > reads))
}

// wordLen returns the length of the word that s begins with; 0 if it begins
// with what separates words.
func wordLen(s string) int {
	for i, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(",;\"'`<>()[]{}|=:&", r) {
			return i
		}
	}
	return len(s)
}

// appendWord appends what may be shown of one word.
func appendWord(dst []byte, word string) []byte {
	if strings.Contains(word, "@") || strings.Contains(word, "%40") {
		_, size := utf8.DecodeRuneInString(word)
		if first := word[:size]; first != "@" && first != "%" && first != ellipsis {
			dst = appendPrintable(dst, first)
		}
		return append(dst, "…@…"...)
	}
	if isUUID(word) {
		return append(append(dst, word[:shownOfID]...), ellipsis...)
	}
	at := secretAt(word)
	if at < 0 {
		return appendPrintable(dst, word)
	}
	dst = appendPrintable(dst, word[:min(len(word), at+shownOfSecret)])
	return append(dst, ellipsis...)
}

// secretAt returns where in word something begins that may be a secret, or -1.
func secretAt(word string) int {
	if strings.HasPrefix(word, "eyJ") && strings.Count(word, ".") >= 2 || isRandom(word) {
		return 0
	}
	for i := 0; i < len(word); {
		end := i
		var digits, letters bool
		for end < len(word) && isAlnum(word[end]) {
			digits = digits || isDigit(word[end])
			letters = letters || !isDigit(word[end])
			end++
		}
		if end-i >= secretRun && digits && letters || phoneLen(word[i:]) > 0 {
			return i
		}
		i = max(end, i+dateLen(word[i:]), i+1)
	}
	return -1
}

// isRandom reports whether word looks drawn by lot from a base64 alphabet:
// capitals, small letters and digits that change places far more often than
// they do in names.
func isRandom(word string) bool {
	if len(word) < secretWord {
		return false
	}
	var seen [4]bool
	changes, last := 0, 0
	for i := 0; i < len(word); i++ {
		k := kind(word[i])
		if k == 0 && !strings.Contains("+/_-", word[i:i+1]) {
			return false
		}
		if k != last && k != 0 && last != 0 {
			changes++
		}
		seen[k], last = true, k
	}
	return seen[1] && seen[2] && seen[3] && changes*10 >= len(word)*3
}

// kind tells small letters, capitals and digits (1, 2, 3) from all else (0).
func kind(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return 1
	case 'A' <= c && c <= 'Z':
		return 2
	case isDigit(c):
		return 3
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlnum(c byte) bool { return kind(c) != 0 }

// phoneLen returns the length of the number that s begins with, grouped or not,
// if it has as many digits as a phone number; else 0. A leading date is none.
func phoneLen(s string) int {
	if dateLen(s) > 0 {
		return 0
	}
	digits, end := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isDigit(c):
			digits, end = digits+1, i+1
		case i == 0 && c == '+':
		case i > 0 && strings.IndexByte(" -./()", c) >= 0:
		default:
			i = len(s)
		}
	}
	if digits < phoneDigits {
		return 0
	}
	return end
}

// dateLen returns the length of the date (2026-01-31) that s begins with, or 0.
func dateLen(s string) int {
	const form = "0000-00-00"
	if len(s) < len(form) || !strings.HasPrefix(s, "19") && !strings.HasPrefix(s, "20") {
		return 0
	}
	for i := range len(form) {
		if isDigit(form[i]) != isDigit(s[i]) || form[i] == '-' && s[i] != '-' {
			return 0
		}
	}
	return len(form)
}

// isUUID reports whether s is a UUID in its usual form.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
		} else if !isDigit(s[i]) && (s[i]|0x20 < 'a' || s[i]|0x20 > 'f') {
			return false
		}
	}
	return true
}

// isScheme reports whether word can be the scheme of a URL.
func isScheme(word string) bool {
	for i := 0; i < len(word); i++ {
		if !isAlnum(word[i]) && !strings.Contains("+.-", word[i:i+1]) {
			return false
		}
	}
	return true
}

// hasQuery reports whether word is a path with a query, as of a URL without its
// host. An address keeps the form of an address.
func hasQuery(word string) bool {
	i := strings.IndexByte(word, '?')
	return i >= 0 && i < len(word)-1 && !strings.Contains(word, "@") && !strings.Contains(word, "%40")
}

// urlLen returns how far the URL goes that has its "://" at the start of s.
func urlLen(s string) int {
	for i, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("\"`<>", r) {
			return i
		}
	}
	return len(s)
}

// appendURL appends scheme and host of a URL; rest begins with its "://". Names
// and passwords before the host, the path, the query and the fragment go.
func appendURL(dst []byte, scheme, rest string) []byte {
	rest = rest[len("://"):]
	host := rest
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		host = rest[:i]
	}
	path := rest[len(host):]
	// An @ after the authority may still belong to a password that holds a slash.
	if i := strings.LastIndexByte(rest, '@'); i >= len(host) {
		host, path = "", rest
	} else if i >= 0 {
		host = host[i+1:]
	}
	dst = append(appendWord(dst, scheme), "://"...)
	dst = appendWord(dst, host)
	if path != "" && path != "/" {
		dst = append(dst, "/…"...)
	}
	return dst
}

// isAuthScheme reports whether word announces credentials, as in a header.
func isAuthScheme(word string) bool {
	return strings.EqualFold(word, "bearer") || strings.EqualFold(word, "basic")
}

// namesSecret reports whether word is the name of a secret whose value follows
// it in rest: password=x, "token": "x".
func namesSecret(word, rest string) bool {
	rest = strings.TrimLeft(rest, "\"' ")
	if rest == "" || rest[0] != '=' && rest[0] != ':' {
		return false
	}
	word = strings.ToLower(word)
	for _, name := range []string{"passw", "pwd", "secret", "token", "api_key", "apikey", "api-key", "access_key", "credential", "authorization"} {
		if strings.Contains(word, name) {
			return true
		}
	}
	return false
}
