package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/pushguard/pushguard/proxy"
)

// ParseCapture reads a recorded request: a JSON object with the key request,
// and in it method, target, headers (a list of pairs) and body_base64. Other
// keys are ignored. The error says what is wrong with the capture.
func ParseCapture(data []byte) (proxy.Request, error) {
	var file struct {
		Request struct {
			Method  string      `json:"method"`
			Target  string      `json:"target"`
			Headers [][2]string `json:"headers"`
			Body    []byte      `json:"body_base64"` // encoding/json decodes base64
		} `json:"request"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return proxy.Request{}, fmt.Errorf("not a capture: %w", err)
	}
	in := &file.Request
	switch in.Method {
	case http.MethodPut, http.MethodPost, http.MethodDelete:
	default:
		return proxy.Request{}, fmt.Errorf("not the capture of a push: request.method %.20q: want PUT, POST or DELETE", in.Method)
	}
	target, err := url.ParseRequestURI(in.Target)
	if err != nil {
		return proxy.Request{}, fmt.Errorf("request.target: %w", err)
	}
	header := http.Header{}
	for _, h := range in.Headers {
		header.Add(h[0], h[1])
	}
	return proxy.Request{
		Method: in.Method, Path: target.EscapedPath(), Header: header,
		Body: bytes.NewReader(in.Body), Length: int64(len(in.Body)),
	}, nil
}
