package clocktest

import (
	"testing"
	"time"
)

func TestHost(t *testing.T) {
	start := time.Date(2031, 5, 5, 1, 2, 3, 4, time.UTC)
	h := New(start)
	first := h.Now()
	h.Pass(time.Hour)
	h.Set(24 * time.Hour)
	h.Pass(time.Minute)
	h.Set(-48 * time.Hour)
	now := h.Now()
	if got := now.Sub(first); got != 61*time.Minute {
		t.Errorf("%v has passed, want 61m", got)
	}
	if want := start.Add(61*time.Minute - 24*time.Hour); !now.Round(0).Equal(want) || now.UnixNano() != want.UnixNano() {
		t.Errorf("the clock shows %v, want %v", now, want)
	}
	if !first.Before(now) || now.Add(time.Second).Sub(now) != time.Second {
		t.Error("time does not go on")
	}
}
