package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// lengthEnv says how long TestSoak is to take.
const lengthEnv = "PUSHGUARD_SOAK"

func TestSoak(t *testing.T) {
	world.Need(t, world.PushgatewayPath)
	exporter, err := buildExporter(t.Context())
	if err != nil {
		world.Missing(t, err.Error())
	}
	length := time.Minute
	if text := os.Getenv(lengthEnv); text != "" {
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", lengthEnv, err)
		}
	}
	var out bytes.Buffer
	err = run(t.Context(), options{length: length, rate: 25, guard: world.Binary(t), exporter: exporter, seed: uint64(time.Now().UnixNano())}, &out)
	t.Logf("%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
}
