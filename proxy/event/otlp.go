package event

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// otlp sends OpenTelemetry logs as JSON over HTTP. A record is the body of a log
// record, what names its run, task or owner its attributes.
type otlp struct {
	*endpoint
	resource []otlpAttribute
}

type (
	otlpLogs struct {
		ResourceLogs []otlpResourceLogs `json:"resourceLogs"`
	}
	otlpResourceLogs struct {
		Resource  otlpResource    `json:"resource"`
		ScopeLogs []otlpScopeLogs `json:"scopeLogs"`
	}
	otlpResource struct {
		Attributes []otlpAttribute `json:"attributes"`
	}
	otlpScopeLogs struct {
		Scope      otlpScope    `json:"scope"`
		LogRecords []otlpRecord `json:"logRecords"`
	}
	otlpScope struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	otlpRecord struct {
		TimeUnixNano   string          `json:"timeUnixNano"`
		SeverityNumber int             `json:"severityNumber"`
		SeverityText   string          `json:"severityText"`
		EventName      string          `json:"eventName"`
		Body           otlpValue       `json:"body"`
		Attributes     []otlpAttribute `json:"attributes"`
	}
	otlpAttribute struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpValue struct {
		String string `json:"stringValue"`
	}
	otlpAnswer struct {
		PartialSuccess struct {
			// RejectedLogRecords is an int64, which JSON of protobuf has as a string.
			RejectedLogRecords json.RawMessage `json:"rejectedLogRecords"`
			ErrorMessage       string          `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
)

func newOTLP(e *endpoint, instance string) otlp {
	o := otlp{endpoint: e, resource: []otlpAttribute{{"service.name", otlpValue{"pushguard"}}}}
	if instance != "" {
		o.resource = append(o.resource, otlpAttribute{"service.instance.id", otlpValue{instance}})
	}
	return o
}

func (o otlp) close() error { return nil }

// send implements sink. Records that were rejected are not named by the answer,
// and are not to be sent again.
func (o otlp) send(ctx context.Context, records [][]byte) (delivery, error) {
	body, out, err := o.encode(records)
	if err != nil || len(out.rejected) == len(records) {
		return out, err
	}
	answer, err := o.post(ctx, o.url, "application/json", body)
	if err != nil {
		return delivery{}, err
	}
	out.lost, out.why = partial(answer, out.why)
	out.lost = min(out.lost, len(records)-len(out.rejected))
	return out, nil
}

// partial reads how many records an answer says were rejected.
func partial(answer []byte, why error) (int, error) {
	var a otlpAnswer
	if len(bytes.TrimSpace(answer)) == 0 || json.Unmarshal(answer, &a) != nil {
		return 0, why // taken, by who does not say it in JSON
	}
	n, err := strconv.Atoi(strings.Trim(string(a.PartialSuccess.RejectedLogRecords), `"`))
	if err != nil || n <= 0 {
		return 0, why
	}
	return n, fmt.Errorf("%s", words([]byte(a.PartialSuccess.ErrorMessage)))
}

func (o otlp) encode(records [][]byte) ([]byte, delivery, error) {
	var out delivery
	logs := make([]otlpRecord, 0, len(records))
	for i, line := range records {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			out.rejected, out.why = append(out.rejected, i), err
			continue
		}
		number, text := severity(&r)
		log := otlpRecord{
			TimeUnixNano: strconv.FormatInt(r.Time.UnixNano(), 10), SeverityNumber: number, SeverityText: text,
			EventName: "pushguard." + string(r.Kind), Body: otlpValue{string(line)},
			Attributes: []otlpAttribute{{"kind", otlpValue{string(r.Kind)}}, {"job", otlpValue{r.Job}}},
		}
		if r.State != "" {
			log.Attributes = append(log.Attributes, otlpAttribute{"state", otlpValue{r.State}})
		}
		more := metadata(&r)
		for _, name := range sortedKeys(more) {
			log.Attributes = append(log.Attributes, otlpAttribute{name, otlpValue{more[name]}})
		}
		logs = append(logs, log)
	}
	body, err := json.Marshal(otlpLogs{[]otlpResourceLogs{{
		otlpResource{o.resource}, []otlpScopeLogs{{otlpScope{"pushguard", strconv.Itoa(schemaVersion)}, logs}},
	}}})
	return body, out, err
}

// severity is a number of OpenTelemetry's, and its name.
func severity(r *Record) (int, string) {
	switch {
	case r.OpenLineage == "FAIL":
		return 17, "ERROR"
	case r.Kind == Rejected, r.Kind == Budget:
		return 13, "WARN"
	default:
		return 9, "INFO"
	}
}
