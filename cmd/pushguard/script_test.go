package main

import (
	"net"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// The scripts run the binary itself as a terminal session would: pushguard in them is
// this test program, which is main then.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pushguard": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			_, port, err := net.SplitHostPort(gatewaytest.FreeAddress(t))
			env.Setenv("PORT", port)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"retry": retry},
	})
}

// retry runs a command, such as exec pushguard health, until it succeeds: a server that
// a script has started takes a moment.
func retry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[0] != "exec" {
		ts.Fatalf("usage: retry exec program [args...]")
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v: %v", args, err)
		}
	}
}
