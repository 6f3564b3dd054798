// Package room has what TestFuzzScript runs.
package room

import "testing"

func FuzzSound(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(*testing.T, string) {})
}

func FuzzBroken(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2 {
			t.Error("too long")
		}
	})
}

func FuzzSeed(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, s string) {
		if s == "a" {
			t.Error("an a")
		}
	})
}
