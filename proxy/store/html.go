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
	for _, g := range all[:min(len(all), mostShown)] {
		data.Groups = append(data.Groups, g.shown())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = page.Execute(w, data)
}

// shownText is how much of a family the page for people shows.
const shownText = 16 << 10

func (p pinned) shown() shownGroup {
	out := shownGroup{Path: strings.TrimPrefix(p.key.Path(), "/"), Pushed: timeText(p.pushed), Failed: timeText(p.failed), Bad: p.failed >= p.pushed}
	for _, l := range p.key.Labels() {
		out.Labels = append(out.Labels, [2]string{l.Name, l.Value})
	}
	for _, f := range p.families {
		text := f.appendText(nil, p.text)
		if len(text) > shownText {
			text = append(text[:shownText], "…"...)
		}
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
