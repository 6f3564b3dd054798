package console

import (
	"strconv"
	"strings"

	"github.com/pushguard/pushguard/proxy/audit"
)

// told says in a line what a record is about.
func told(r *audit.Record) string {
	if why, ok := strings.CutPrefix(r.Reason, shed); ok { // of any job, since it is none's doing
		return "pushes were answered 503, " + shedFor(why)
	}
	text := cut(jobOf(r)) + ": "
	switch {
	case r.Reason != "":
		text += reasonText(r.Reason)
	case len(r.Findings) > 0:
		text += findingText(&r.Findings[0])
	default:
		text += answered(r)
	}
	return text
}

// answered says what became of a request of which nothing was found.
func answered(r *audit.Record) string {
	text := r.Method + " " + r.Outcome
	if r.Status > 0 {
		text += ", answered " + strconv.Itoa(r.Status)
	}
	if r.UpstreamStatus > 0 {
		text += ", by the Pushgateway " + strconv.Itoa(r.UpstreamStatus)
	}
	return text
}

// shed leads the reason of a push for which there was no room.
const shed = "shed: "

// reasonText says in words what a record has as its reason.
func reasonText(reason string) string {
	if why, ok := strings.CutPrefix(reason, shed); ok {
		return "answered 503, " + shedFor(why)
	}
	switch reason {
	case "spooled":
		return "a push that was kept for the Pushgateway was refused by it"
	default:
		return "a group was deleted, " + reason
	}
}

// shedFor says for want of what a push was not taken.
func shedFor(why string) string {
	switch why {
	case "memory":
		return "for the memory is full"
	case "bytes":
		return "for pushes at work take all the bytes they may"
	default:
		return "for more came than is worked on at once (" + why + ")"
	}
}
