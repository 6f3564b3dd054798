package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run the binary itself as a terminal session would: pushguard in them is
// this test program, which is main then.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pushguard": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update})
}
