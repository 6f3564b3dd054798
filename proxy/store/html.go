package store

import (
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed groups.html
var groupsHTML string

// mostShown is how many groups the page for people shows, the latest first.
const mostShown = 1000

type shownGroup struct {
	Labels         [][2]string
	Path           string
	Pushed, Failed string
	Bad            bool
	Families       []shownFamily
	More           int // families for which the page has no room
}

type shownFamily struct {
	Name, Type, Help, Text string
	Series                 int
}

// serveGroups shows people what is stored. Every value is escaped by the template.
func (s *Store) serveGroups(w http.ResponseWriter, _ *http.Request) {
	page, err := template.New("groups").Parse(groupsHTML)
	if err != nil {
		http.Error(w, "the page is broken", http.StatusInternalServerError)
		return
	}
	all := s.pinGroups()
	slices.SortFunc(all, func(a, b pinned) int {
		if d := max(b.pushed, b.failed) - max(a.pushed, a.failed); d != 0 {
			return int(min(max(d, -1), 1))
		}
		return strings.Compare(a.key.ID(), b.key.ID())
	})
	data := struct {
		Total, Hidden int
		Apart         bool
		Groups        []shownGroup
	}{Total: len(all), Hidden: max(0, len(all)-mostShown), Apart: s.cfg.Apart}
	room := mostText
	for _, g := range all[:min(len(all), mostShown)] {
		data.Groups = append(data.Groups, g.shown(&room))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = page.Execute(w, data)
}

const (
	// shownText is how much of a family the page for people shows.
	shownText = 16 << 10
	// mostText is how much it shows of all of them, and familyCost what each takes of that
	// beside its text: a page is made whole in memory, and a browser has to take it.
	mostText   = 2 << 20
	familyCost = 256
)

// shown takes the room of what is shown, as long as there is any.
func (p pinned) shown(room *int) shownGroup {
	out := shownGroup{Path: strings.TrimPrefix(p.key.Path(), "/"), Pushed: timeText(p.pushed), Failed: timeText(p.failed), Bad: p.failed >= p.pushed}
	for _, l := range p.key.Labels() {
		out.Labels = append(out.Labels, [2]string{l.Name, l.Value})
	}
	for i, f := range p.families {
		if *room <= 0 {
			out.More = len(p.families) - i
			break
		}
		text := f.appendText(nil, p.text)
		if len(text) > shownText {
			text = append(text[:shownText], "…"...)
		}
		*room -= len(text) + len(f.shape.help) + familyCost
		out.Families = append(out.Families, shownFamily{
			Name: f.shape.Name, Type: typeWord(f.shape.Type), Help: f.shape.help, Series: len(f.shape.lines), Text: strings.ToValidUTF8(string(text), "\ufffd"),
		})
	}
	return out
}

func timeText(at int64) string {
	if at == 0 {
		return "never"
	}
	return time.Unix(0, at).UTC().Format(time.RFC3339)
}
