package consistency

import (
	"maps"

	dto "github.com/prometheus/client_model/go"
)

// alone reports whether a family is one that a Pushgateway exposes of itself and nobody
// can push to. It has them only once something has happened, and holds no help text of
// theirs to give to a pushed one: who pushed one before it was there would break every
// scrape from then on.
func alone(name string) bool {
	switch name {
	case "pushgateway_http_push_duration_seconds", "pushgateway_http_push_size_bytes", "pushgateway_http_requests_total":
		return true
	}
	return false
}

// late are families that a Pushgateway may come to expose of itself.
var late = [...]struct {
	name string
	typ  dto.MetricType
}{
	{"promhttp_metric_handler_errors_total", dto.MetricType_COUNTER},
	{"promhttp_metric_handler_requests_in_flight", dto.MetricType_GAUGE},
	{"promhttp_metric_handler_requests_total", dto.MetricType_COUNTER},
	{"push_failure_time_seconds", dto.MetricType_GAUGE},
	{"push_time_seconds", dto.MetricType_GAUGE},
	{"pushgateway_build_info", dto.MetricType_GAUGE},
}

// knownOwn are the families that the upstream exposes of itself, and those it will.
func knownOwn(exposed map[string]dto.MetricType) map[string]dto.MetricType {
	out := map[string]dto.MetricType{}
	for _, f := range late {
		out[f.name] = f.typ
	}
	maps.Copy(out, exposed)
	return out
}
