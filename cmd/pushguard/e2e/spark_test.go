package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// twoApplications drives the Spark helper as two drivers of one job would, each of
// which runs it three times.
const twoApplications = `
import os, sys, types
os.environ["PUSHGUARD_URL"], os.environ["PUSHGUARD_TIMEOUT"] = sys.argv[1], "120"
sys.path.insert(0, "deploy/spark")
import pushguard_spark
for app in ("application_1690000000000_0001", "application_1690000000000_0002"):
    spark = types.SimpleNamespace(sparkContext=types.SimpleNamespace(applicationId=app))
    for rows in (5, 7, 7):
        with pushguard_spark.run("load_orders", spark) as run:
            run.count("rows_written_total", rows, table="orders")
`

// What two applications of one job count in all their runs adds up, and neither is a label.
func TestSparkAddsUp(t *testing.T) {
	t.Parallel()
	guard := world.Guard(t, world.GuardOptions{Policy: filepath.Join(world.Root(), "deploy/policy.example.yml")})
	runPython(t, "-c", twoApplications, guard.URL)
	page := guard.Scrape(t, "")
	if got := page[`rows_written_total{job="load_orders", table="orders"}`]; got != 38 {
		t.Errorf("%g rows, want 38: %v", got, page)
	}
	for series := range page {
		if strings.Contains(series, "app") || strings.Contains(series, "_created") {
			t.Errorf("an application is a label, or a beginning a series: %s", series)
		}
	}
}
