package policy

import (
	"regexp"
	"strings"
)

// Text is one file of a policy, as it was read, without the secrets in it.
type Text struct {
	Name  string
	Lines []string
}

// Texts returns the files the policy was read from, in order. What stands under users,
// where the hashes of auth are, is left out of them, and so is whatever else looks
// like a hash of a secret, in a comment, too.
func (p *Policy) Texts() []Text {
	out := make([]Text, len(p.sources))
	for i, s := range p.sources {
		out[i] = Text{s.name, redacted(string(s.data))}
	}
	return out
}

// maxShown is how many bytes of a line a fault keeps.
const maxShown = 400

// shown is the beginning of a line, as text.
func shown(line string) string {
	if len(line) > maxShown {
		line = line[:maxShown] + left
	}
	return strings.ToValidUTF8(line, "\ufffd")
}

// left stands for what is left out.
const left = "…"

var (
	usersKey = regexp.MustCompile(`(?:^|[\s{,?])["']?users["']?\s*:`)
	// hash is that of a password or a token, as credential reads them, and what is
	// nearly one.
	hash = regexp.MustCompile(`\$2[a-z]?\$[^\s"',}\]]*|(?i:sha256:)[0-9a-zA-Z]+|[0-9a-fA-F]{40,}`)
)

// redacted returns the lines of a text, of a policy or of what was to be one: it takes
// no parser, since it also has to hold for what none can read. What it cannot place it
// leaves out.
func redacted(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	secret := -1 // the indentation of users, while what stands under it is read
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		blank := strings.TrimSpace(line) == ""
		if secret >= 0 && !blank && indent <= secret {
			secret = -1
		}
		at := usersKey.FindStringIndex(line)
		switch {
		case secret >= 0 && !blank:
			line = beforeColon(line)
		case at != nil && !strings.HasPrefix(strings.TrimSpace(line), "#"):
			if secret = indent; strings.ContainsAny(line, "{[&*?") {
				// In this style what follows may be indented as it likes.
				return append(masked(lines[:i]), line[:at[1]]+" "+left, "# "+left)
			}
			if strings.TrimSpace(line[at[1]:]) != "" {
				line = line[:at[1]] + " " + left
			}
		}
		lines[i] = line
	}
	return masked(lines)
}

// beforeColon is the name in front of a secret; nothing where none can be told.
func beforeColon(line string) string {
	name, _, ok := strings.Cut(line, ": ")
	if !ok || strings.ContainsAny(name, `{[&*?#!|>"'$:`) {
		return line[:len(line)-len(strings.TrimLeft(line, " \t"))] + left
	}
	return name + ": " + left
}

func masked(lines []string) []string {
	for i, line := range lines {
		lines[i] = hash.ReplaceAllString(line, left)
	}
	return lines
}
