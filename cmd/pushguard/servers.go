package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	oklogrun "github.com/oklog/run"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/pushguard/pushguard/proxy/seldom"
)

// addServers adds what takes requests. The address of the admin has connections of its
// own, which no flood of the jobs' address can take.
func (w *serving) addServers(group *oklogrun.Group) error {
	addresses, err := w.addresses()
	if err != nil {
		return err
	}
	w.addServer(group, "Serving", w.guard.Handler(), w.connections, addresses)
	if w.adminAddress != "" {
		apart := newConnections(w.limits.connections, w.limits.told, w.trustedProxies)
		w.addServer(group, "Serving the admin", w.guard.AdminHandler(), apart, []serves{w.on(w.adminAddress)})
	}
	return nil
}

// addServer adds a server for each address, which end together: web.Serve changes the one
// it is given, which several addresses would do at once.
func (w *serving) addServer(group *oklogrun.Group, says string, handler http.Handler, bound *connections, addresses []serves) {
	var servers []*http.Server
	stop := sync.OnceFunc(func() { w.unfinished = errors.Join(w.unfinished, w.shutdown(servers)) })
	for _, serve := range addresses {
		server := w.server(says, handler, bound)
		servers = append(servers, server)
		group.Add(func() error { return serve(server) }, func(error) { stop() })
	}
}

// serves has a server take the requests of one address until it is shut down.
type serves func(*http.Server) error

// addresses are those of the jobs.
func (w *serving) addresses() (all []serves, err error) {
	if !*w.web.WebSystemdSocket {
		for _, address := range *w.web.WebListenAddresses {
			all = append(all, w.on(address))
		}
		return all, nil
	}
	sockets, err := activation.Listeners()
	if err == nil && len(sockets) == 0 {
		err = errors.New("systemd gave no socket")
	}
	for i, l := range sockets {
		if l == nil {
			err = fmt.Errorf("the socket of systemd with number %d takes no connections", i+1)
			break
		}
		all = append(all, func(server *http.Server) error { return web.Serve(l, server, w.web, w.logger) })
	}
	if err != nil {
		return nil, fmt.Errorf("--web.systemd-socket: %w", err)
	}
	return all, nil
}

func (w *serving) on(address string) serves {
	flags := &web.FlagConfig{WebListenAddresses: &[]string{address}, WebConfigFile: w.web.WebConfigFile}
	return func(server *http.Server) error { return web.ListenAndServe(server, flags, w.logger) }
}

// unreadFor is how long a client may take nothing of an answer.
const unreadFor = time.Minute

// server gives clients that are slow on purpose a limit for every phase of a
// request, and to the answer none but that some of it is taken: a profile of the
// Pushgateway takes as long as it was asked to.
func (w *serving) server(says string, handler http.Handler, bound *connections) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ConnState:         bound.state,
		ReadTimeout:       w.readTimeout,
		ReadHeaderTimeout: w.readHeaderTimeout,
		IdleTimeout:       w.idleTimeout,
		MaxHeaderBytes:    w.limits.headers(debug.SetMemoryLimit(-1)),
		ErrorLog:          log.New(&connLog{logger: w.logger}, "", 0),
	}
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		cutUnread(conn, unreadFor)
		return resumable(ctx, conn, server)
	}
	// Called when it begins to serve. By then web.Serve has put the users of its file before
	// the handler, whose passwords are verified one after another: those who wait for that
	// are bounded, too.
	server.BaseContext = func(l net.Listener) context.Context {
		server.Handler = bound.boundStreams(namedStill(server.Handler))
		w.logger.Info(says, "address", l.Addr().String(), "pushgateway", w.behindName(), "policy", w.policyName())
		return context.Background()
	}
	server.RegisterOnShutdown(w.pages.Close)
	return server
}

// handshakeError leads what net/http says of a TLS connection that came to nothing.
const handshakeError = "http: TLS handshake error"

// connLog has what net/http says of its connections. Whoever looks whether the port is
// open ends a TLS handshake, again and again, and whoever wants can break the rules of
// HTTP/2 on each: of these the log has one for many.
type connLog struct {
	logger            *slog.Logger
	handshakes, http2 seldom.Warning
}

// Write is part of io.Writer: a line.
func (l *connLog) Write(line []byte) (int, error) {
	msg := strings.TrimSpace(string(line))
	switch {
	case strings.HasPrefix(msg, handshakeError):
		l.handshakes.Log(l.logger, msg)
	case strings.HasPrefix(msg, "http2: server"): // not "http2: panic"
		l.http2.Log(l.logger, msg)
	default:
		l.logger.Warn(msg)
	}
	return len(line), nil
}

// shutdown lets requests in flight finish, and cuts off those that take too
// long.
func (w *serving) shutdown(servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.shutdownTimeout)
	defer cancel()
	var late atomic.Bool
	var all sync.WaitGroup
	for _, server := range servers {
		all.Go(func() {
			if server.Shutdown(ctx) != nil {
				late.Store(true)
				_ = server.Close()
			}
		})
	}
	all.Wait()
	if late.Load() {
		return fmt.Errorf("requests in flight were cut off after --shutdown.timeout=%v", w.shutdownTimeout)
	}
	return nil
}
