package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/state"
)

// TestReports has the log say what is wrong: that the state is not written, or only that
// it could not be written anew.
func TestReports(t *testing.T) {
	for want, err := range map[string]error{
		"":                   state.ErrClosed,
		"not written at all": errors.New("no space left on device"),
		"its files grow":     fmt.Errorf("state: log groups %w: no space left on device", state.ErrGrows),
	} {
		var out strings.Builder
		reports("not written at all", slog.New(slog.NewTextHandler(&out, nil)))(err)
		if got := out.String(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}
