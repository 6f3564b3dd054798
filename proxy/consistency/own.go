package consistency

import (
	"maps"

	dto "github.com/prometheus/client_model/go"
)

// late are families of a Pushgateway that it exposes only once something has happened.
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
	{"pushgateway_http_push_duration_seconds", dto.MetricType_SUMMARY},
	{"pushgateway_http_push_size_bytes", dto.MetricType_SUMMARY},
	{"pushgateway_http_requests_total", dto.MetricType_COUNTER},
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
