package console

import (
	"encoding/json"
	"net/url"
	"sync"
)

// maxViews is how many views a snapshot keeps for others who look at the same: one for
// every stream, were each of another page.
const maxViews = maxStreams

// made is what all who look at one snapshot have of it, made when the first of them
// wants it. It is gone with its snapshot, so it is never older than that.
type made struct {
	listing sync.Once
	rows    []row    // of all jobs
	owners  []string // of those

	mu    sync.Mutex
	views map[string]*view
}

// view is what changes by itself of a page, as it is sent.
type view struct {
	making sync.Once
	data   string // a message
	sum    uint64 // tells it from the one before
	err    error
}

// view returns the one of that name, which make makes unless somebody has.
func (m *made) view(name string, make func() ([]byte, error)) *view {
	v := m.viewOf(name)
	v.making.Do(func() {
		data, err := make()
		v.data, v.sum, v.err = string(data), sum(data), err
	})
	return v
}

// viewOf finds a view, or a place for one.
func (m *made) viewOf(name string) *view {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.views[name]
	if v != nil {
		return v
	}
	if m.views == nil {
		m.views = map[string]*view{}
	}
	v = &view{}
	if len(m.views) < maxViews {
		m.views[name] = v
	}
	return v
}

// view is what a page shows now.
func (c *Console) view(of string, q url.Values) *view {
	s := c.snapshot()
	return s.view(viewName(of, q), func() ([]byte, error) {
		part := of + "-live"
		data, ok := c.liveData(s, of, q)
		if !ok { // a job that was there when the page was loaded
			part, data = "gone", noJob
		}
		html, err := c.fragment(part, data)
		if err != nil {
			return nil, err
		}
		return json.Marshal(message{ID: of + "-live", HTML: html})
	})
}

// liveData is what a page is made of, and whether there is any.
func (c *Console) liveData(s *snapshot, of string, q url.Values) (data any, ok bool) {
	switch of {
	case "overview":
		return c.overviewOf(s), true
	case "jobs":
		return c.jobsPage(s, q), true
	default:
		return c.jobPage(s, q)
	}
}

// viewName tells a view from others: by all of the query that it depends on.
func viewName(of string, q url.Values) string {
	name := url.Values{"of": {of}}
	for _, key := range map[string][]string{"jobs": asked, "job": {"name", "groups"}}[of] {
		if v := q.Get(key); v != "" {
			name.Set(key, v)
		}
	}
	return name.Encode()
}
