// Package e2e proves pushguard from outside: the real binary in front of a real
// Pushgateway, spoken to over TCP, read back by code that shares nothing with
// it. The Pushgateway beside it, spoken to directly, is the oracle.
package e2e

import (
	"os"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }
