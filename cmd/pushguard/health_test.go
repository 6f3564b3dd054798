package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A guard with TLS lives whoever its certificate is for, as to the probes of a kubelet;
// whether it is ready, and whatever goes along with a password, is asked of a server that
// proves who it is.
func TestLiveWithAnyCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	withPassword := strings.Replace(server.URL, "https://", "https://a:secret@", 1)
	for _, test := range []struct {
		args []string
		want int
	}{
		{[]string{"--live", "--url=" + server.URL}, 0},
		{[]string{"--url=" + server.URL}, 1},
		{[]string{"--live", "--url=" + withPassword}, 1},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"health"}, test.args...), nil, &out, &errs); code != test.want || strings.Contains(errs.String(), "secret") {
			t.Errorf("%v: exit code %d, want %d: %s%s", test.args, code, test.want, &out, &errs)
		} else if code == 1 && !strings.Contains(errs.String(), "certificate") {
			t.Errorf("%v: %s", test.args, &errs)
		}
	}
}
