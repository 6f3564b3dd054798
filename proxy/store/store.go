package store

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Config configures a Store. The zero value keeps everything in memory.
type Config struct {
	// Dir is where the groups outlive the process. Nil keeps them in memory.
	Dir *state.Dir
	// Quit is called for a request to end the process. Nil refuses that.
	Quit func()
	// Flags are shown by /api/v1/status as those of the process.
	Flags map[string]string
	// Apart says that the console has an address of its own: the page for people does
	// not lead to it then.
	Apart bool
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Logger is told what an operator should know. Nil is told nothing.
	Logger *slog.Logger
}

// Store keeps groups and serves them. It is safe for concurrent use.
type Store struct {
	cfg     Config
	started time.Time
	index   *Index
	shapes  *shapes
	shards  [shardCount]shard
	padded  padded
	journal *journal // nil: in memory alone

	// owners is held to read by a push from its check to its end, and to write by
	// one that could bring a series which another group has: no two of these pass
	// each other unseen.
	owners   sync.RWMutex
	builders sync.Pool
	making   sync.Mutex // held while metrics are messages, or JSON, for a page
}

// Open returns a store with what its directory holds.
func Open(cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, started: cfg.Now(), index: NewIndex(), shapes: newShapes()}
	s.builders.New = func() any { return newBuilder() }
	for i := range s.shards {
		s.shards[i].groups = map[string]*group{}
		s.shards[i].members = map[string][]member{}
	}
	if cfg.Dir == nil {
		return s, nil
	}
	if err := s.restore(cfg.Dir); err != nil {
		return nil, err
	}
	return s, nil
}

// inconsistent begins the answer to a push that contradicts itself or what is
// stored.
const inconsistent = "pushed metrics are invalid or inconsistent with existing metrics: "

// Do takes a push or a delete as a Pushgateway does: 200 and 202, or 400 with its
// words. What the request was parsed to is read, its body not; after that nothing of
// it is kept. It waits for nothing but other pushes of the group and, if there is a
// directory, until what it changed is in the hands of the system.
func (s *Store) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	var position state.Position
	if r.Method == http.MethodDelete {
		position = s.remove(r.Key)
		return gateway.Answer{Status: http.StatusAccepted}, s.commit(ctx, position, r.Turn)
	}
	families, known := s.recall(r, s.cfg.Now().UnixNano())
	var err error
	if !known {
		families, err = s.build(r)
	}
	if err == nil {
		position, err = s.put(r.Key, families, r.Method == http.MethodPut)
	}
	if err == nil && !known {
		s.learn(r, families)
	}
	if err != nil {
		position = s.fail(r.Key)
		if err := s.commit(ctx, position, r.Turn); err != nil {
			return gateway.Answer{}, err
		}
		return refusal(err), nil
	}
	return gateway.Answer{Status: http.StatusOK}, s.commit(ctx, position, r.Turn)
}

func refusal(err error) gateway.Answer {
	return gateway.Answer{
		Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		Body:   []byte(inconsistent + err.Error() + "\n"),
	}
}

// build makes the families of a push, in the order of their names.
func (s *Store) build(r gateway.Request) ([]*family, error) {
	if r.Push == nil {
		return nil, nil
	}
	b := s.builders.Get().(*builder)
	defer s.builders.Put(b)
	return b.families(r, s.cfg.Now().UnixNano())
}

func (s *Store) shard(id string) *shard {
	return &s.shards[xxhash.Sum64String(id)%shardCount]
}

// enter returns the group, its turn taken, and makes it if it is not there.
func (s *Store) enter(key wire.Key) *group {
	sh := s.shard(key.ID())
	for {
		sh.mu.Lock()
		g := sh.groups[key.ID()]
		if g == nil {
			g = newGroup(key)
			sh.enter(g)
			s.padded.enter(g)
			g.names = s.index.Enter(g.key.Job(), g.names)
			if !g.plain {
				s.shapes.strange.Store(true)
			}
		}
		sh.mu.Unlock()
		g.turn.Lock()
		if !g.gone {
			return g
		}
		g.turn.Unlock()
	}
}

func newGroup(key wire.Key) *group {
	key = wire.KeyOf(strings.Clone(key.ID()))
	g := &group{key: key, text: string(appendGroup(nil, key)), content: &content{}, plain: true}
	_, g.named = key.Get(model.InstanceLabel)
	for _, l := range key.Labels() {
		g.plain = g.plain && model.LegacyValidation.IsValidLabelName(l.Name)
		if l.Value != "" && l.Name != "job" {
			g.names = append(g.names, l.Name)
		}
	}
	return g
}

// Groups lists what is stored, as package gateway does for a Pushgateway.
func (s *Store) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	var out []gateway.Group
	for _, g := range s.pinGroups() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, g.listed(seed))
	}
	return out, nil
}

// pinGroups returns what all groups hold now.
func (s *Store) pinGroups() []pinned {
	var out []pinned
	for i := range s.shards {
		out = s.shards[i].pin(out)
	}
	return out
}

func (p pinned) listed(seed uint64) gateway.Group {
	out := gateway.Group{Key: p.key}
	prints := wire.GroupPrinter{Seed: seed}
	for _, f := range p.families {
		out.Success = out.Success || strings.Contains(f.shape.Name, "last_success")
		prints.Family(f.shape.Name)
		f.shape.each(func(m shapeMetric) {
			prints.Metric(append(m.labels, p.key.Labels()...), int32(m.lines))
		})
	}
	out.Families = prints.Finish(p.key)
	if p.pushed != 0 {
		out.Pushed = time.Unix(0, p.pushed)
		out.Stamp = float64(p.pushed) / 1e9
	}
	if p.failed != 0 {
		out.Failed = time.Unix(0, p.failed)
	}
	if out.Stamp == 0 {
		out.Stamp = float64(p.failed) / 1e9
	}
	return out
}

// Started is when the store was opened.
func (s *Store) Started(context.Context) (time.Time, error) { return s.started, nil }

var errQuit = errors.New("the process cannot be asked to end")

// Forward does what the listed endpoints are for: it ends the process, or forgets
// every group.
func (s *Store) Forward(ctx context.Context, path string, r gateway.Request) (gateway.Answer, error) {
	switch {
	case path == gateway.QuitPath && s.cfg.Quit == nil:
		return gateway.Answer{}, errQuit
	case path == gateway.QuitPath && (r.Method == http.MethodPut || r.Method == http.MethodPost):
		s.cfg.Quit()
		return gateway.Answer{Status: http.StatusOK, Body: []byte("Requesting termination... Goodbye!")}, nil
	case path == gateway.WipePath && r.Method == http.MethodPut:
		return gateway.Answer{Status: http.StatusAccepted}, s.commit(ctx, s.wipe(), nil)
	default:
		return gateway.Answer{
			Status: http.StatusMethodNotAllowed, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
			Body: []byte("Method Not Allowed\n"),
		}, nil
	}
}
