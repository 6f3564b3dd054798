package shared

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed append.lua crown.lua publish.lua
var scripts embed.FS

const (
	// format is of what is in Redis. Guards of another one cannot take part.
	format = "5"
	// lifetime is how long the keys outlive the last guard.
	lifetime = 7 * 24 * time.Hour
	// chunk is how much of a snapshot is in one key.
	chunk = 1 << 20
	// most is how many entries one reply has, about, and mostBytes how much they are: a
	// few more are in it that came with the one that reached that.
	most, mostBytes = 500, 1 << 20
	// entryBytes is what an entry takes in Redis besides its commands: its mark, its time
	// and what the stream needs.
	entryBytes = 64
)

// store is the Redis of a fleet. All keys are of one slot of a cluster.
type store struct {
	client                   *redis.Client
	prefix                   string
	append_, crown_, publish *redis.Script
	run                      atomic.Pointer[string] // the process of Redis that answers; nil: whichever
}

// quiet keeps the client from writing to stderr by itself, past the guard's log and not in
// its format: what it would say is in the errors that it returns.
var quiet = sync.OnceFunc(logging.Disable)

func newStore(cfg Config) (*store, error) {
	options, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, errors.New(redact(err, cfg.URL))
	}
	if strings.Contains(options.Addr, ",") {
		return nil, errors.New("the URL names several hosts: guards share one Redis, not a Cluster or Sentinels")
	}
	if cfg.TLS != nil {
		if options.TLSConfig == nil {
			return nil, errors.New("how to speak TLS is given, and the URL is not of rediss://")
		}
		name := options.TLSConfig.ServerName
		options.TLSConfig = cfg.TLS.Clone()
		options.TLSConfig.ServerName = cmp.Or(options.TLSConfig.ServerName, name)
	}
	quiet()
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout
	options.MaxRetries = -1 // every broken connection is to be noticed
	options.DialerRetries, options.PoolSize = 1, 4
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	s := &store{prefix: "{" + cfg.Fleet + "}:"}
	s.append_, s.crown_, s.publish = script("append.lua"), script("crown.lua"), script("publish.lua")
	options.OnConnect = s.recognise
	s.client = redis.NewClient(options)
	return s, nil
}

// redact keeps what may be a password out of an error.
func redact(err error, url string) string {
	text := err.Error()
	if _, rest, ok := strings.Cut(url, "://"); ok && rest != "" {
		text = strings.ReplaceAll(text, rest, "…")
	}
	return "want such as redis://host:6379/0, rediss://user:password@host:6379/0 or unix:///run/redis.sock: " + text
}

func script(name string) *redis.Script {
	text, err := scripts.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return redis.NewScript(string(text))
}

func (s *store) close() error { return s.client.Close() }

func (s *store) keys() []string {
	return []string{s.prefix + "head", s.prefix + "log", s.prefix + "guards"}
}

// head is what Redis says of the order.
type head struct {
	epoch, mark string
	seq, time   uint64
	secret      string
	snap        uint64
	snapmark    string
	chunks      int
}

var errRestarted = errors.New("the Redis has restarted")

// recognise refuses a connection to another process than the one that was seen
// last: what that has forgotten is to be found out first.
func (s *store) recognise(ctx context.Context, conn *redis.Conn) error {
	run, err := runID(ctx, conn)
	if known := s.run.Load(); err == nil && known != nil && *known != run {
		return errRestarted
	}
	return err
}

// restarted reports whether another process answers than the last time.
func (s *store) restarted(ctx context.Context) (bool, error) {
	before := s.run.Swap(nil)
	run, err := runID(ctx, s.client)
	if err != nil {
		s.run.Store(before)
		return false, err
	}
	s.run.Store(&run)
	return before != nil && *before != run, nil
}

// doubt has restarted report that another process answers.
func (s *store) doubt() {
	none := ""
	s.run.Store(&none)
}

// single refuses what is no Redis by itself: a Cluster moves keys, and Sentinels have
// none. It returns for how long the Redis has run.
func (s *store) single(ctx context.Context) (time.Duration, error) {
	info, err := s.client.Info(ctx, "server").Result()
	if mode := field(info, "redis_mode"); mode != "standalone" && mode != "" {
		return 0, fmt.Errorf("this Redis is of a %.20s: guards share one Redis by itself, or the address that leads to the master of several", mode)
	}
	seconds, _ := strconv.Atoi(field(info, "uptime_in_seconds")) // 0: it is not told
	return time.Duration(seconds) * time.Second, err
}

// field is what a Redis says of itself by a name.
func field(info, name string) string {
	_, value, _ := strings.Cut(info, name+":")
	value, _, _ = strings.Cut(value, "\r\n")
	return value
}

func runID(ctx context.Context, c interface {
	Info(ctx context.Context, section ...string) *redis.StringCmd
},
) (string, error) {
	info, err := c.Info(ctx, "server").Result()
	return field(info, "run_id"), err
}

func (s *store) election() string { return s.prefix + "election" }

// head returns what there is, and whether there is any.
func (s *store) head(ctx context.Context) (head, bool, error) {
	fields, err := s.client.HGetAll(ctx, s.keys()[0]).Result()
	if err != nil || len(fields) == 0 {
		return head{}, false, err
	}
	if got := fields["format"]; got != format {
		return head{}, false, fmt.Errorf("%w: the Redis keeps format %.20q of what they share, and this one wants %q", ErrVersion, got, format)
	}
	number := func(name string) uint64 {
		n, parsed := strconv.ParseUint(fields[name], 10, 64)
		err = errors.Join(err, parsed)
		return n
	}
	h := head{
		epoch: fields["epoch"], mark: fields["mark"], seq: number("seq"), time: number("time"), secret: fields["secret"],
		snap: number("snap"), snapmark: fields["snapmark"], chunks: int(number("chunks")),
	}
	return h, true, err
}

// news is what a round trip brought.
type news struct {
	state   string // ok, lost or behind
	seq     uint64
	time    int64 // of Redis, in microseconds since 1970
	entries []entry
}

// entry is a batch in its place.
type entry struct {
	seq  uint64
	mark string
	time int64
	body string
}

// append puts a batch into the order, unless it is empty or there already, and
// returns what came since the place.
func (s *store) append(ctx context.Context, at place, guard Guard, batch uint64, body []byte) (news, error) {
	reply, err := s.append_.Run(ctx, s.client, s.keys(), at.epoch, at.seq, at.mark, string(guard), batch, body, most, lifetime.Milliseconds(), mostBytes).Slice()
	if err != nil {
		return news{}, err
	}
	var n news
	n.state, _ = reply[0].(string)
	if n.state != "ok" || len(reply) != 4 {
		return n, nil
	}
	text, _ := reply[1].(string)
	if n.seq, err = strconv.ParseUint(text, 10, 64); err != nil {
		return n, err
	}
	text, _ = reply[3].(string)
	if n.time, err = strconv.ParseInt(text, 10, 64); err != nil {
		return n, err
	}
	list, _ := reply[2].([]any)
	for _, one := range list {
		e, err := readEntry(one)
		if err != nil {
			return n, err
		}
		n.entries = append(n.entries, e)
	}
	return n, nil
}

var errEntry = errors.New("the Redis keeps an entry that no guard wrote")

// readEntry reads an entry of the stream: its ID, and its fields m, t and b.
func readEntry(reply any) (entry, error) {
	pair, ok := reply.([]any)
	if !ok || len(pair) != 2 {
		return entry{}, errEntry
	}
	id, _ := pair[0].(string)
	fields, _ := pair[1].([]any)
	if len(fields) != 6 {
		return entry{}, errEntry
	}
	mark, _ := fields[1].(string)
	at, _ := fields[3].(string)
	body, _ := fields[5].(string)
	seq, err := strconv.ParseUint(strings.TrimPrefix(id, "0-"), 10, 64)
	if err != nil {
		return entry{}, errEntry
	}
	t, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return entry{}, errEntry
	}
	return entry{seq: seq, mark: mark, time: t, body: body}, nil
}
