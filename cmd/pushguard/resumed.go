package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// resumedKey leads to what a connection's context has of a session that was resumed: whether
// its client may still come.
type resumedKey struct{}

// resumable adds to the context of a connection by TLS whether its client may still come.
// TLS looks at the names in a certificate (client_allowed_sans) when a session begins, and
// not when that is resumed, for a week: so this does, once.
func resumable(ctx context.Context, conn net.Conn, server *http.Server) context.Context {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, resumedKey{}, sync.OnceValue(func() bool {
		state := secure.ConnectionState()
		if len(state.PeerCertificates) == 0 {
			return true
		}
		now, err := server.TLSConfig.GetConfigForClient(nil)
		if err == nil && now.VerifyPeerCertificate != nil {
			err = now.VerifyPeerCertificate([][]byte{state.PeerCertificates[0].Raw}, nil)
		}
		if err != nil {
			server.ErrorLog.Printf(handshakeError+" from %s: session resumed: %v", conn.RemoteAddr(), err)
		}
		return err == nil
	}))
}

// namedStill has next serve nobody whose session was resumed and who may not come any more.
func namedStill(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && r.TLS.DidResume {
			if still, ok := r.Context().Value(resumedKey{}).(func() bool); ok && !still() {
				w.Header().Set("Connection", "close")
				http.Error(w, "pushguard: the names in your certificate are not permitted any more", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
