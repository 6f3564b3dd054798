package main

import (
	"strings"
	"testing"
)

// What is kept has to have room for more than the one file that is written, of the audit
// log as of what is recorded.
func TestRetentionHasRoomForAFile(t *testing.T) {
	for _, tc := range []struct {
		max, keep int64
		refused   bool
	}{
		{max: 10, keep: 9, refused: true},
		{max: 10, keep: 10, refused: true},
		{max: 10, keep: 11},
		{max: 10, keep: 0}, // no limit
		{max: 0, keep: 1},  // nothing is set aside
	} {
		for prefix, err := range map[string]error{
			"audit":  (&auditFlags{maxSize: tc.max, keepSize: tc.keep}).check(),
			"record": (&recordFlags{maxSize: tc.max, keepSize: tc.keep}).check(),
		} {
			if refused := err != nil; refused != tc.refused {
				t.Errorf("%s, %d of %d bytes: %v", prefix, tc.max, tc.keep, err)
			} else if refused && !strings.Contains(err.Error(), "--"+prefix+".retention.size: it has to be more than --"+prefix+".max-size") {
				t.Errorf("%s: %v", prefix, err)
			}
		}
	}
}
