package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestCutOffIsNotMade ends what makes a page that is cut off, which may have nothing to
// write for long.
func TestCutOffIsNotMade(t *testing.T) {
	all := readers{logger: slog.New(slog.DiscardHandler)}
	first, cancel := context.WithCancel(t.Context())
	defer cancel()
	all.enter(&reader{"127.0.0.1", http.NewResponseController(httptest.NewRecorder()), cancel})
	for range mostRead - 1 {
		all.enter(&reader{"127.0.0.1", http.NewResponseController(httptest.NewRecorder()), func() {}})
	}
	if first.Err() != nil {
		t.Errorf("%d pages are read at once, and one was cut off", mostRead)
	}
	all.enter(&reader{"127.0.0.2", http.NewResponseController(httptest.NewRecorder()), func() {}})
	if first.Err() == nil {
		t.Error("a page that was cut off is made all the same")
	}
}
