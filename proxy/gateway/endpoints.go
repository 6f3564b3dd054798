package gateway

// The endpoints of a Pushgateway that change something and are no group's, by their paths
// below its route prefix.
const (
	// QuitPath ends it, by PUT and POST.
	QuitPath = "/-/quit"
	// WipePath has it forget every group, by PUT.
	WipePath = "/api/v1/admin/wipe"
)

// OnlyByPush are its words to a GET of QuitPath, with 405.
const OnlyByPush = "Only POST or PUT requests allowed."
