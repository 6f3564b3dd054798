package main

import "fmt"

// object is a JSON object; encoding/json writes its keys in order.
type object = map[string]any

// dashboard is what is told of one; the rest is the same for all.
type dashboard struct {
	uid, title, about string
	other             dashboardLink
	rows              []row
}

// dashboardLink leads to another dashboard with the same choice of jobs.
type dashboardLink struct{ uid, title string }

// row is a heading and the panels below it.
type row struct {
	title  string
	panels []panel
}

const (
	gridWidth  = 24
	panelLines = 8
)

func (d dashboard) json() object {
	panels := []any{}
	y := 0
	for _, r := range d.rows {
		panels = append(panels, object{
			"id": len(panels) + 1, "type": "row", "title": r.title, "collapsed": false, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": gridWidth, "h": 1},
		})
		y++
		x := 0
		for _, p := range r.panels {
			if x+p.wide() > gridWidth {
				x, y = 0, y+panelLines
			}
			panels = append(panels, p.json(len(panels)+1, x, y))
			x += p.wide()
		}
		y += panelLines
	}
	return object{
		"uid": d.uid, "title": d.title, "description": d.about, "tags": []string{"pushguard"},
		"schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1,
		"refresh": "30s", "timezone": "browser", "time": object{"from": "now-6h", "to": "now"},
		"annotations": object{"list": []any{}},
		"templating":  object{"list": variables()},
		"links": []any{
			object{
				"type": "link", "title": d.other.title, "url": "/d/" + d.other.uid + "?${owner:queryparam}&${job:queryparam}",
				"keepTime": true, "includeVars": false, "targetBlank": false, "icon": "dashboard",
			},
			object{"type": "link", "title": "Console", "url": "${console}/guard/", "targetBlank": true, "icon": "external link"},
		},
		"panels": panels,
	}
}

// variables are the choices at the top of each dashboard.
func variables() []any {
	source := func(name, label, kind string) object {
		return object{"type": "datasource", "name": name, "label": label, "query": kind, "hide": 0, "refresh": 1, "regex": ""}
	}
	values := func(name, label, query, all string) object {
		v := object{
			"type": "query", "name": name, "label": label, "datasource": prometheus(), "definition": query,
			"query": object{"query": query, "refId": name}, "refresh": 2, "sort": 1, "hide": 0, "regex": "",
			"multi": true, "includeAll": true, "current": object{"text": "All", "value": "$__all"},
		}
		if all != "" {
			v["allValue"] = all
		}
		return v
	}
	console := object{"text": "http://localhost:9091", "value": "http://localhost:9091"}
	return []any{
		source("datasource", "Prometheus", "prometheus"),
		source("loki", "Loki", "loki"),
		values("owner", "Owner", "label_values(pushguard_job_info, owner)", ".*"),
		values("job", "Job", `label_values(pushguard_job_info{owner=~"$owner"}, job)`, ""),
		object{
			"type": "textbox", "name": "console", "label": "pushguard at", "query": console["value"], "hide": 0,
			"current": console, "options": []any{console},
		},
	}
}

func prometheus() object { return object{"type": "prometheus", "uid": "${datasource}"} }

// the kinds of panels.
const (
	timeseries = "timeseries"
	stat       = "stat"
	bargauge   = "bargauge"
	table      = "table"
)

// panel is one panel. Units are Grafana's own words.
type panel struct {
	kind, title, about, unit string
	queries                  []query
	// warn and bad are values from which the panel is yellow and red; 0 is never.
	warn, bad float64
	// ofJob has links that lead from a series to its job's page and records.
	ofJob bool
	// exemplars has Grafana ask for single pushes, too, which lead to their records.
	exemplars bool
	width     int // of 24 columns; 0 is 8
}

// query is PromQL, and how its series are called.
type query struct{ expr, legend string }

func (p panel) wide() int {
	if p.width == 0 {
		return 8
	}
	return p.width
}

// now reports whether a panel shows the present alone.
func (p panel) now() bool { return p.kind != timeseries }

func (p panel) json(id, x, y int) object {
	out := object{
		"id": id, "type": p.kind, "title": p.title, "description": p.about, "datasource": prometheus(),
		"gridPos": object{"x": x, "y": y, "w": p.wide(), "h": panelLines},
		"targets": p.targets(),
		"fieldConfig": object{
			"defaults":  object{"unit": p.unit, "min": 0, "thresholds": p.thresholds(), "links": p.links(), "custom": object{}, "color": p.color()},
			"overrides": []any{},
		},
		"options": p.options(),
	}
	if p.kind == bargauge && p.unit == "percentunit" {
		out["fieldConfig"].(object)["defaults"].(object)["max"] = 1 // a full bar is all that is granted
	}
	if p.kind == table {
		out["transformations"] = []any{object{"id": "organize", "options": object{
			"excludeByName": object{"Time": true, "__name__": true}, "renameByName": object{"Value": p.title},
		}}}
	}
	return out
}

func (p panel) targets() []any {
	var out []any
	for i, q := range p.queries {
		t := object{
			"refId": string(rune('A' + i)), "datasource": prometheus(), "expr": q.expr, "legendFormat": q.legend,
			"instant": p.now(), "range": !p.now(), "format": "time_series",
		}
		if p.kind == table {
			t["format"] = "table"
		}
		if p.exemplars {
			t["exemplar"] = true
		}
		out = append(out, t)
	}
	return out
}

func (p panel) thresholds() object {
	steps := []any{object{"color": "green", "value": nil}}
	for _, s := range []struct {
		color string
		from  float64
	}{{"yellow", p.warn}, {"red", p.bad}} {
		if s.from > 0 {
			steps = append(steps, object{"color": s.color, "value": s.from})
		}
	}
	return object{"mode": "absolute", "steps": steps}
}

func (p panel) color() object {
	if p.kind == timeseries {
		return object{"mode": "palette-classic"}
	}
	return object{"mode": "thresholds"}
}

func (p panel) options() object {
	last := object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch p.kind {
	case stat:
		return object{"reduceOptions": last, "colorMode": "background", "graphMode": "none", "textMode": "auto"}
	case bargauge:
		return object{"reduceOptions": last, "orientation": "horizontal", "displayMode": "gradient", "showUnfilled": true}
	case table:
		return object{"showHeader": true, "sortBy": []any{object{"displayName": p.title, "desc": true}}}
	default:
		return object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	}
}

// links lead from a series to what the guard and the event log know of its job.
func (p panel) links() []any {
	if !p.ofJob {
		return []any{}
	}
	job := "${__field.labels.job}"
	if p.kind == table {
		job = "${__data.fields.job}"
	}
	return []any{
		object{"title": "In the console", "url": "${console}/guard/job?name=" + job, "targetBlank": true},
		object{"title": "Records in Loki", "url": explore(job), "targetBlank": true},
	}
}

// explore is Grafana's page of a query to Loki, for the time that is looked at.
func explore(job string) string {
	const left, right = `/explore?schemaVersion=1&panes={"a":{"datasource":"${loki}","queries":[{"refId":"A","expr":"{source=\"pushguard\"} | job=\"`, `\""}],"range":{"from":"${__from}","to":"${__to}"}}}`
	return fmt.Sprint(escaped(left), job, escaped(right))
}
