package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sessionserver/wire"
)

const (
	patience  = 5 * time.Minute // for a server that reads its sessions
	redisUser = "default"
)

// certificate holds the files of a certificate for localhost, which clients trust. Both servers have it.
type certificate struct{ file, key string }

func writeCertificate(dir string) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return certificate{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, err
	}
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	return c, errors.Join(
		os.WriteFile(c.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// server is a running server.
type server struct {
	folder string
	args   []string // of the command
	dsn    string   // for `sessionserver bench`
	addr   string
	auth   []string // the request that authenticates; nil without credentials
	tls    *tls.Config

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended; out may be read then
	out   *bytes.Buffer // both outputs
}

// pinned returns a command that runs on one processor.
func pinned(ctx context.Context, cpu int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"--cpu-list", strconv.Itoa(cpu)}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// start starts the server and waits until it serves.
func (s *server) start(ctx context.Context) error {
	s.cmd, s.ended, s.out = pinned(ctx, 0, s.args...), make(chan struct{}), new(bytes.Buffer)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	for begin := time.Now(); ; {
		nc, err := s.connect()
		if err == nil {
			return nc.Close()
		}
		select {
		case <-time.After(2 * time.Millisecond):
			if time.Since(begin) < patience {
				continue
			}
			s.stop()
		case <-s.ended:
		}
		return fmt.Errorf("%s does not serve: %w\n%s", s.args[0], err, s.out)
	}
}

// stop ends the server in good order.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
}

// connect connects, authenticates, and waits for the reply to a ping.
func (s *server) connect() (net.Conn, error) {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	if err := s.greet(&nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

func (s *server) greet(nc *net.Conn) error {
	if err := (*nc).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if s.tls != nil {
		*nc = tls.Client(*nc, s.tls)
	}
	replies := wire.NewReplyReader(*nc)
	for _, request := range [][]string{s.auth, {"ping"}} {
		if request == nil {
			continue
		}
		if _, err := (*nc).Write(wire.AppendRequest(nil, request...)); err != nil {
			return err
		}
		reply, err := replies.Next()
		if err != nil {
			return err
		}
		if reply.Err != nil {
			return reply.Err
		}
	}
	return (*nc).SetDeadline(time.Time{})
}

// memory returns the resident memory in bytes.
func (s *server) memory() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("no VmRSS in /proc/PID/status")
	}
	n, err := strconv.ParseFloat(fields[0], 64)
	return n * 1024, err
}

// newServer prepares a server in a new folder.
func (b *bench) newServer(ctx context.Context, c trial, set setup) (*server, error) {
	folder, err := os.MkdirTemp(b.dir, "server")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		return nil, err
	}
	s := &server{folder: folder, addr: addr.String()}
	if !c.plaintext {
		text, err := os.ReadFile(b.cert.file)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
		s.tls.RootCAs.AppendCertsFromPEM(text)
	}
	port := strconv.Itoa(addr.Port)
	if set.redis {
		b.redis(s, set, port)
		return s, nil
	}
	return s, b.native(ctx, s, set, port)
}

// redis prepares Redis, with a password.
func (b *bench) redis(s *server, set setup, port string) {
	secret := rand.Text()
	s.auth = []string{"AUTH", redisUser, secret}
	s.args = []string{"redis-server", "--bind", "127.0.0.1", "--dir", s.folder, "--requirepass", secret, "--save", "",
		"--maxclients", "15000", "--tcp-backlog", "511"}
	dsn := url.URL{Scheme: "redis", User: url.UserPassword(redisUser, secret), Host: "localhost:" + port}
	if s.tls == nil {
		s.args = append(s.args, "--port", port)
	} else {
		s.args = append(s.args, "--port", "0", "--tls-port", port, "--tls-cert-file", b.cert.file, "--tls-key-file",
			b.cert.key, "--tls-ca-cert-file", b.cert.file, "--tls-auth-clients", "no", "--tls-protocols", "TLSv1.3")
		dsn.Scheme, dsn.RawQuery = "rediss", url.Values{"cafile": {b.cert.file}}.Encode()
	}
	switch set.sync {
	case "interval":
		s.args = append(s.args, "--appendonly", "yes", "--appendfsync", "everysec")
	case "always":
		s.args = append(s.args, "--appendonly", "yes", "--appendfsync", "always")
	}
	s.dsn = dsn.String()
}

// native prepares a session server with every gate: allowlists, the credentials of an app, all rates, quotas, the
// default policy, and the metrics of tenants. The rates are too high to refuse anything.
func (b *bench) native(ctx context.Context, s *server, set setup, port string) error {
	var text strings.Builder
	anonymous := ""
	if set.bare {
		anonymous = ", anonymous: bench/load"
	}
	fmt.Fprintf(&text, "listen: [{name: main, address: %q, allow: [127.0.0.0/8]%s}]\n", s.addr, anonymous)
	scheme := "tcp"
	if s.tls != nil {
		scheme = "tls"
		fmt.Fprintf(&text, "tls: {certificates: [{cert: %s, key: %s}]}\n", b.cert.file, b.cert.key)
	}
	fmt.Fprintf(&text, "public_address: %s://localhost:%s\ntenants: %s/tenants.d\n", scheme, port, s.folder)
	if set.sync == "memory" {
		text.WriteString("storage: {driver: memory}\n")
	} else {
		fmt.Fprintf(&text, "storage: {path: %s/sessions, sync: %s}\n", s.folder, set.sync)
	}
	text.WriteString("limits: {connections: 15000, connections_per_ip: 15000}\n")
	const free = "{per_second: 0, burst: 0}"
	if set.bare {
		fmt.Fprintf(&text, "rates: {session_creation: %s, auth_failures: %s, unauthenticated: %s}\n", free, free, free)
		text.WriteString("metrics: {tenants: off}\n")
	} else {
		const high, bytes = "{per_second: 1000000, burst: 2000000}", "{per_second: 64GiB, burst: 64GiB}"
		fmt.Fprintf(&text, "quotas: {sessions: 100000000, bytes: 1024GiB, connections: 15000, waiters: 15000}\n"+
			"rates: {tenant: %[1]s, app: %[1]s, address: %[1]s, tenant_bytes: %[2]s, app_bytes: %[2]s, "+
			"session_creation: %[1]s, unauthenticated: %[1]s}\n", high, bytes)
		fmt.Fprintf(&text, "admin: {address: 'unix:%s/admin'}\n", s.folder)
	}
	if set.audit {
		fmt.Fprintf(&text, "audit: {output: %s/audit.log}\n", s.folder)
	}
	file := filepath.Join(s.folder, "config.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return err
	}
	s.args = []string{b.binary, "serve", "--config", file}
	if _, err := b.command(ctx, "tenant", "create", "bench", "--config", file); err != nil {
		return err
	}
	dsn, err := b.command(ctx, "app", "create", "bench/load", "--config", file)
	if err != nil {
		return err
	}
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil {
		return errors.New("app create printed no DSN")
	}
	secret, _ := u.User.Password()
	s.auth = []string{"auth", "bench/load", secret}
	if set.bare {
		s.auth, u.User, u.Path = nil, nil, ""
	}
	if s.tls != nil {
		query := u.Query()
		query.Set("cafile", b.cert.file)
		u.RawQuery = query.Encode()
	}
	s.dsn = u.String()
	return nil
}

// command runs a subcommand of the server and returns its standard output.
func (b *bench) command(ctx context.Context, args ...string) (string, error) {
	var out, log strings.Builder
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("sessionserver %s: %w\n%s", strings.Join(args, " "), err, log.String())
	}
	return out.String(), nil
}

// lastCPU returns the number of the processor for the load.
func lastCPU() int { return runtime.NumCPU() - 1 }
