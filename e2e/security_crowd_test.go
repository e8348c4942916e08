//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sessionserver/auth"
	"sessionserver/server/servertest"
	"sessionserver/server/servertest/require"
)

// rss returns the resident memory of a process in MiB.
func rss(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib >> 10
		}
	}
	return 0
}

// TestSecurityCrowd opens 10,000 connections that send nothing, a byte, or the beginning of a TLS handshake. They do
// not affect other clients, hold little memory, and are closed in time. They come from many addresses, so that limits
// per address do not apply.
func TestSecurityCrowd(t *testing.T) {
	const crowd, room = 10_000, 12_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < room {
		limit.Cur, limit.Max = room, max(limit.Max, room)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil && !servertest.Everything() {
			t.Skipf("needs %d open files: %v", room, err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	secret := auth.NewSecret()
	h := deployment{
		settings: "limits: {login_timeout: 8s, request_timeout: 6s}\n",
		tls:      "{local_ca: DIR/ca, handshake_timeout: 4s}",
		tenants:  map[string]string{"acme": tenantFile("", "shop "+secret)},
	}.serve(t)
	before := rss(h.cmd.Process.Pid)

	// An ordinary client, with and without TLS.
	var stop atomic.Bool
	var cycles atomic.Int64
	var working sync.WaitGroup
	trust := h.clientTLS(t)
	working.Go(func() {
		for i := 0; !stop.Load(); i++ {
			cfg := trust
			if i%2 != 0 {
				cfg = nil
			}
			if err := cycle(h.addr, secret, cfg); err != nil {
				t.Errorf("cycle %d: %v", i, err)
				return
			}
			cycles.Add(1)
			time.Sleep(5 * time.Millisecond) // the client is not a flood
		}
	})

	// The texts that connections of the crowd send.
	silences := []string{"", "", "", "a", "auth acme/shop", "*3\r\n$4\r\nAUTH\r\n", "\x16",
		"\x16\x03\x01\x02\x00\x01\x00\x01", "PROXY", "\r"}
	conns := make([]net.Conn, crowd)
	var joining sync.WaitGroup
	for part := range 4 {
		joining.Go(func() {
			for i := part; i < crowd; i += 4 {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%100), byte(1+i/100%50))},
					Timeout: require.Patience}
				nc, err := d.DialContext(context.Background(), "tcp", h.addr)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				conns[i] = nc
				if text := silences[i%len(silences)]; text != "" {
					_, _ = nc.Write([]byte(text))
				}
			}
		})
	}
	joining.Wait()
	during := rss(h.cmd.Process.Pid)
	worked := cycles.Load()
	require.Eventually(t, "the client is served beside the crowd", func() bool {
		return cycles.Load() >= worked+20 || t.Failed()
	})
	left := 0
	buf := make([]byte, 4096)
	for i, nc := range conns {
		if nc == nil {
			continue
		}
		_ = nc.SetReadDeadline(time.Now().Add(require.Patience))
		for {
			n, err := nc.Read(buf)
			if err == nil && n > 0 {
				continue
			}
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				left++
				if left < 10 {
					t.Errorf("connection %d, which sent %q, is still open", i, silences[i%len(silences)])
				}
			}
			break
		}
		_ = nc.Close()
	}
	stop.Store(true)
	working.Wait()
	t.Logf("%d connections; memory %d MiB, then %d MiB; %d cycles meanwhile", crowd, before, during, cycles.Load())
	if left > 0 {
		t.Errorf("%d connections are still open", left)
	}
	if during-before > 400 {
		t.Errorf("they hold %d MiB", during-before)
	}
}

// TestSecuritySlowHandshakes checks that the pending handshakes of one address do not delay handshakes of others, and
// end.
func TestSecuritySlowHandshakes(t *testing.T) {
	t.Parallel()
	secret := auth.NewSecret()
	h := deployment{tls: "{local_ca: DIR/ca, handshake_timeout: 5s, handshakes_per_ip: 8}",
		tenants: map[string]string{"acme": tenantFile("", "shop "+secret)}}.serve(t)
	var slow []*servertest.Conn
	for range 20 {
		c := dialFrom(t, "127.0.0.9", h.addr)
		_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01"))
		slow = append(slow, c)
	}
	trust := h.clientTLS(t)
	for range 10 {
		if err := cycle(h.addr, secret, trust); err != nil { // from another address
			t.Error(err)
		}
	}
	plain := dialFrom(t, "127.0.0.9", h.addr) // plaintext needs no handshake
	plain.OK("auth acme/shop " + secret)
	for _, c := range slow { // single bytes do not prolong the handshake
		go func() {
			for err := error(nil); err == nil; _, err = c.Write([]byte{0}) {
				time.Sleep(200 * time.Millisecond)
			}
		}()
	}
	for _, c := range slow {
		c.Rest()
	}
	if err := cycle(h.addr, secret, trust); err != nil {
		t.Error(err)
	}
}
