// Package eventtest starts real event logs for tests: ClickHouse and Loki, on
// 127.0.0.1 and a free port, stopped when the test ends.
package eventtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// ClickhousePath is where Debian installs ClickHouse.
const ClickhousePath = "/usr/sbin/clickhouse-server"

// LokiPath is the Loki that make loki builds.
func LokiPath() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", ".cache", "loki")
}

// Server is an event log that can be killed and started again, with its data.
type Server struct {
	URL string // http://host:port

	path, dir, probe string
	args             []string
	cmd              *exec.Cmd
	logs             *logtest.Buffer
}

// Clickhouse starts Debian's ClickHouse, empty.
func Clickhouse(t testing.TB) *Server {
	t.Helper()
	need(t, ClickhousePath, "run testdata/install.sh as root on a Debian, or install clickhouse-server")
	dir := t.TempDir()
	http, tcp := freePort(t), freePort(t)
	write(t, dir, "config.xml", fmt.Sprintf(`<yandex>
<logger><level>warning</level><console>1</console></logger>
<http_port>%s</http_port><tcp_port>%s</tcp_port><listen_host>127.0.0.1</listen_host>
<path>%[3]s/data/</path><tmp_path>%[3]s/tmp/</tmp_path>
<users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>67108864</mark_cache_size>
</yandex>`, http, tcp, dir))
	write(t, dir, "users.xml", `<yandex><profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
<quotas><default/></quotas></yandex>`)
	s := &Server{URL: "http://127.0.0.1:" + http, path: ClickhousePath, dir: dir, args: []string{"--config-file=config.xml"}, probe: "/ping"}
	s.Start(t)
	t.Cleanup(func() { s.Kill() })
	return s
}

// Loki starts Loki, empty, of schema v13 and without limits of rate.
func Loki(t testing.TB) *Server {
	t.Helper()
	need(t, LokiPath(), "run make loki, which takes a quarter of an hour")
	dir := t.TempDir()
	http, grpc := freePort(t), freePort(t)
	write(t, dir, "loki.yml", fmt.Sprintf(`auth_enabled: false
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: %s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %s, log_level: error, grpc_server_max_recv_msg_size: 67108864, grpc_server_max_send_msg_size: 67108864}
common:
  path_prefix: %[3]s/data
  replication_factor: 1
  instance_addr: 127.0.0.1
  ring: {kvstore: {store: inmemory}, instance_addr: 127.0.0.1}
  storage: {filesystem: {chunks_directory: %[3]s/chunks, rules_directory: %[3]s/rules}}
schema_config:
  configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]
ingester: {wal: {enabled: true, dir: %[3]s/wal, flush_on_shutdown: false}}
pattern_ingester: {enabled: false}
limits_config:
  ingestion_rate_mb: 1024
  ingestion_burst_size_mb: 1024
  per_stream_rate_limit: 1GB
  per_stream_rate_limit_burst: 1GB
  max_entries_limit_per_query: 2000000
  unordered_writes: true
  reject_old_samples: false
  allow_structured_metadata: true
  volume_enabled: false
`, http, grpc, dir))
	s := &Server{URL: "http://127.0.0.1:" + http, path: LokiPath(), dir: dir, args: []string{"-config.file=loki.yml"}, probe: "/ready"}
	s.Start(t)
	t.Cleanup(func() { s.Kill() })
	return s
}

// Start starts the server again and waits until it is ready.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.logs = &logtest.Buffer{}
	s.cmd = exec.Command(s.path, s.args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.logs, s.logs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		resp, err := client.Get(s.URL + s.probe)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	s.Kill()
	t.Fatalf("%s does not become ready:\n%s", s.path, s.logs)
}

// Kill ends the server as SIGKILL does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// Query asks ClickHouse and returns its answer.
func (s *Server) Query(t testing.TB, query string) string {
	t.Helper()
	resp, err := http.Post(s.URL+"/", "text/plain", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, status %d: %s", query, err, resp.StatusCode, b)
	}
	return string(b)
}

func need(t testing.TB, path, how string) {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return
	}
	message := path + " is missing: " + how
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(gatewaytest.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}
