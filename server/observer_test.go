package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"

	"sessionserver/session"
	"sessionserver/wire"
)

func TestHandshakeFailures(t *testing.T) {
	for _, row := range []struct {
		err  error
		want HandshakeFailure
	}{
		{errShutdown, HandshakeDrained},
		{context.DeadlineExceeded, HandshakeTimeout},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, HandshakeTimeout},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, HandshakeNotTLS},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, HandshakeCertificate},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, HandshakeAlert},
		{io.EOF, HandshakePeerLeft},
		{io.ErrUnexpectedEOF, HandshakePeerLeft},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, HandshakePeerLeft},
		{errors.New("tls: client offered only unsupported versions: [301]"), HandshakeDisagreed},
	} {
		if got := handshakeFailureOf(fmt.Errorf("wrapped: %w", row.err)); got != row.want {
			t.Errorf("%v: got %s, want %s", row.err, got, row.want)
		}
		if !slices.Contains(HandshakeFailures, row.want) {
			t.Errorf("%s is not in HandshakeFailures", row.want)
		}
	}
}

// TestGatesOfRefusals checks that a refusal by a handler or a listener has a gate of Gates, and that a faulty request
// has none.
func TestGatesOfRefusals(t *testing.T) {
	c := &conn{server: &Server{}}
	for _, row := range []struct {
		err  error
		want string
	}{
		{errRevoked, "authenticated"},
		{errMemoryLimit, "memory"},
		{errShutdown, "serving"},
		{errUnaudited, "audit"},
		{rateLimited(OfSessionCreation, 0), "rates"},
		{wire.Errorf(wire.IPDenied, "x"), "allowlist"},
		{wire.Errorf(wire.Denied, "x"), "policy"},
		{&session.QuotaError{Quota: session.QuotaSessions, Limit: 1}, gateQuota},
		{session.ErrNotFound, ""},
		{wire.Errorf(wire.BadArg, "x"), ""},
	} {
		got := c.refusalOf("open", row.err).gate
		if got != row.want {
			t.Errorf("%v has the gate %q, want %q", row.err, got, row.want)
		}
		if got != "" && !slices.Contains(Gates(), got) {
			t.Errorf("unknown gate %q", got)
		}
	}
}
