package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// elasticsearch sends to the bulk API of Elasticsearch and of OpenSearch, into a
// data stream, which takes nothing but create. The record's id is the document's:
// what is there already has been delivered.
type elasticsearch struct{ *endpoint }

type bulkAnswer struct {
	Errors bool `json:"errors"`
	Items  []map[string]struct {
		Status int             `json:"status"`
		Error  json.RawMessage `json:"error"`
	} `json:"items"`
}

func (e elasticsearch) close() error { return nil }

// send implements sink.
func (e elasticsearch) send(ctx context.Context, records [][]byte) (delivery, error) {
	body, out := encodeBulk(records)
	if len(out.rejected) == len(records) {
		return out, nil
	}
	answer, err := e.post(ctx, e.url, "application/x-ndjson", body)
	if err != nil {
		return delivery{}, err
	}
	if len(answer) == maxResponse { // it tells of each record: of fewer it is shorter
		return delivery{}, &refusedError{fmt.Errorf("the answer is longer than %d bytes", maxResponse)}
	}
	err = readBulk(&out, answer, len(records))
	return out, err
}

// encodeBulk makes two lines of each record: what to do with it, and itself with a
// @timestamp, without which a data stream takes nothing.
func encodeBulk(records [][]byte) ([]byte, delivery) {
	var out delivery
	var body []byte
	for i, line := range records {
		var r struct {
			ID   ID     `json:"event_id"`
			Time string `json:"ts"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			out.rejected, out.why = append(out.rejected, i), err
			continue
		}
		body = append(body, `{"create":{"_id":"`...)
		body = append(body, r.ID.String()...)
		body = append(body, "\"}}\n{\"@timestamp\":\""...)
		body = append(body, r.Time...) // of Time.MarshalJSON: nothing to escape
		body = append(body, `",`...)
		body = append(body, line[1:]...)
		body = append(body, '\n')
	}
	return body, out
}

// readBulk sorts the records by what the answer says of each.
func readBulk(out *delivery, answer []byte, sent int) error {
	var a bulkAnswer
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("the answer is not that of a bulk request: %w", err)
	}
	if !a.Errors {
		return nil
	}
	if want := sent - len(out.rejected); len(a.Items) != want {
		return fmt.Errorf("the answer tells of %d records, sent were %d", len(a.Items), want)
	}
	unread := map[int]bool{}
	for _, i := range out.rejected {
		unread[i] = true
	}
	next := 0
	for i := range sent {
		if unread[i] {
			continue
		}
		item := a.Items[next]["create"]
		next++
		said := func() error { return errors.New(words(fmt.Appendf(nil, "status %d: %s", item.Status, item.Error))) }
		switch status := item.Status; {
		case status/100 == 2, status == http.StatusConflict:
		case isAtFault(status):
			out.rejected, out.why = append(out.rejected, i), said()
		default: // such as a disk that is full, or a role that lacks something
			out.again, out.waits = append(out.again, i), said()
		}
	}
	return nil
}
