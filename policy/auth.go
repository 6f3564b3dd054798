package policy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/policy/credential"
)

// Auth is who may do what. It is never changed after the policy is read.
type Auth struct {
	// Users are those whom the policy knows.
	Users credential.Users
	// PushRequired says that a push or a delete wants a user who may push as its job,
	// see Entry.MayPush.
	PushRequired bool
	// Read and Admin are who may: scrape and read the API, and reload, quit or wipe.
	Read, Admin Right
}

// Right is who may do something.
type Right struct {
	anyone bool
	names  []string
}

// Anyone reports whether it takes no user.
func (r Right) Anyone() bool { return r.anyone }

// Has reports whether a user has it.
func (r Right) Has(name string) bool { return r.anyone || allows(r.names, name) }

// everyUser is the name that stands for all users.
const everyUser = "*"

func allows(names []string, name string) bool {
	return slices.Contains(names, name) || slices.Contains(names, everyUser)
}

// MayPush reports whether a user may push and delete as the jobs of this entry.
func (e *Entry) MayPush(user string) bool { return allows(e.push, user) }

// Auth returns who may do what.
func (p *Policy) Auth() *Auth { return &p.auth }

// auth reads the top level's auth.
func (d *decoder) auth(n *yaml.Node, where string) auth {
	a := auth{spot: d.at(target(n)), faulty: make(map[string]bool)}
	names := func(to *words) func(*yaml.Node, string) {
		return func(n *yaml.Node, where string) { *to = d.strings(n, where, "a list of names of users") }
	}
	d.noted(n, where, []field{
		{"push", "", func(n *yaml.Node, _ string) { a.push = d.oneOf(n, where, "push", "off", "required") }},
		{"read", "", names(&a.read)},
		{"admin", "", names(&a.admin)},
		{"users", "", func(n *yaml.Node, where string) { a.users = d.hashes(n, where) }},
		{"users_file", "", func(n *yaml.Node, where string) { a.usersFile = d.name(n, where) }},
	}, a.faulty)
	return a
}

// hashes reads a mapping of users to hashes. What stands where a hash should is never
// repeated: it may be the secret itself.
func (d *decoder) hashes(n *yaml.Node, where string) pairs {
	n = d.follow(n)
	if n.Kind != yaml.MappingNode {
		d.fault(d.at(n), where, "want a mapping of users to hashes")
		return pairs{}
	}
	out := pairs{spot: d.at(n), list: []pair{}}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, hash := d.name(n.Content[i], where), d.follow(n.Content[i+1])
		switch {
		case !name.written():
		case seen[name.text]:
			d.fault(name.spot, where, "duplicate user %q: more secrets of one user stand in a users_file", cut(name.text))
		case hash.Kind != yaml.ScalarNode || hash.ShortTag() != "!!str":
			d.fault(d.at(hash), prefix(where, cut(name.text)), "want a hash in quotes")
		default:
			out.list = append(out.list, pair{name, word{d.at(hash), hash.Value}})
		}
		seen[name.text] = true
	}
	return out
}

// compileAuth makes the running form of who may do what.
func (c *compiler) compileAuth(a auth) {
	run := &c.policy.auth
	run.PushRequired = a.push.text == "required"
	before := len(c.faults)
	for _, u := range a.users.list {
		if err := run.Users.Add(u.name.text, u.value.text); err != nil {
			c.fault(u.name.spot, "auth: users", "%v", err)
		}
	}
	if a.usersFile.written() {
		c.usersFile(a.usersFile, &run.Users)
	}
	c.usersUnread = a.faulty["users"] || a.faulty["users_file"] || len(c.faults) > before
	// A users_file without one is no fault: whom it lacks may come with the next reload.
	if run.PushRequired && run.Users.Len() == 0 && !a.usersFile.written() && !c.usersUnread {
		c.fault(a.push.spot, "auth: push", "nobody can push: want users or a users_file beside it")
	}
	run.Read = Right{anyone: !a.read.written(), names: texts(a.read)}
	run.Admin = Right{anyone: !a.admin.written() && !run.PushRequired, names: texts(a.admin)}
	c.known(a.read, "auth: read")
	c.known(a.admin, "auth: admin")
}

// known refuses names of users that nobody has, if all who have one could be read.
func (c *compiler) known(names words, where string) {
	if c.usersUnread {
		return
	}
	for _, n := range names.list {
		if n.text != everyUser && !c.policy.auth.Users.Has(n.text) {
			c.fault(n.spot, where, "unknown user %q: want one of auth's users, or *", cut(n.text))
		}
	}
}

// usersFile reads users from a file beside the policy: NAME:HASH a line, as htpasswd
// writes it, blank lines and those that begin with # left out.
func (c *compiler) usersFile(said word, users *credential.Users) {
	name := said.text
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(said.file), name)
	}
	c.policy.besides = append(c.policy.besides, name)
	data, err := readRegular(name)
	if err == nil && len(data) > maxSize {
		err = errors.New("the file is too large")
	}
	if err != nil {
		c.fault(said.spot, "auth: users_file", "%v", err)
		return
	}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		place := spot{name, i + 1, 1}
		if !ok {
			c.fault(place, "", "want NAME:HASH")
		} else if err := users.Add(user, hash); err != nil {
			c.fault(place, "", "%v", err)
		}
	}
}

// readRegular reads a file, and nothing that never ends.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("no regular file: " + name)
	}
	return readFile(name)
}
