package metrics

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"sessionserver/policy"
	"sessionserver/server"
	"sessionserver/server/audit"
	"sessionserver/server/certs"
	"sessionserver/server/servertest"
	"sessionserver/storage"
)

// world is a server whose observers are all those of one Metrics.
type world struct {
	*testing.T
	*Metrics
	server *servertest.Server
}

func newWorld(t *testing.T, cfg servertest.Config, o Options) *world {
	t.Helper()
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Observe, cfg.Options.Observer = m.Session, m.Server()
	w := &world{t, m, servertest.Start(t, cfg)}
	m.Watch(Sources{
		Server: w.server.Server, Sessions: w.server.Sessions,
		Storage: func() StorageState { return StorageState{1, 2, 3, 4, 5, time.Second} },
	})
	return w
}

// everything makes each family have a series at least.
func (w *world) everything() {
	c := w.dial()
	w.ask(c, "new", "close", "quit")
	o := w.Server().ConnOpened(server.ConnInfo{Listener: "tls"})
	o.HandshakeDone(0x0304, time.Millisecond)
	o.HandshakeFailed("timeout")
	o.Closed(0)
	w.Policy().Decided(policy.Evaluation{Outcome: policy.Allowed, Took: time.Millisecond})
	w.Certificates().CertificateChanged(certs.Event{Kind: certs.Renewed})
	w.Audit().Written(audit.SessionCreated)
	s := w.Storage()
	for _, op := range operations {
		s.OperationDone(op, time.Millisecond, errors.New("broken"))
		s.OperationDone(op, time.Millisecond, storage.ErrNotFound)
	}
	s.Synced(time.Millisecond)
	w.Swept(1, nil)
	w.ConfigLoaded()
	w.TenantFilesLoaded(0, nil)
	w.Policy().Reloaded(nil)
}

func (w *world) gather() []*dto.MetricFamily {
	w.Helper()
	all, err := w.Metrics.gather()
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// peer speaks lines to the server.
type peer struct {
	net.Conn
	in *bufio.Reader
}

func (w *world) dial() *peer {
	w.Helper()
	nc, err := w.server.Dial(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{nc, bufio.NewReader(nc)}
}

// ask sends each line and returns the answer to the last one.
func (w *world) ask(p *peer, lines ...string) (answer string) {
	w.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(p, line+"\r\n"); err != nil {
			w.Fatal(err)
		}
		text, err := p.in.ReadString('\n')
		if err != nil {
			w.Fatalf("%s: %v", line, err)
		}
		answer = strings.TrimSpace(text)
	}
	return answer
}
