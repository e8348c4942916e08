package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"sessionserver/configs"
	"sessionserver/policy"
	"sessionserver/policy/opa"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/storage"
	"sessionserver/storage/log"
	"sessionserver/wire"
)

// cycle is the two round trips of a web request: open and read everything, then write and close.
type cycle struct{ begin, end []byte }

func cycleOf(framing wire.Framing, id, value string) cycle {
	if framing == wire.Line {
		return cycle{
			begin: fmt.Appendf(nil, "open %s\r\nget_all\r\n", id),
			end:   fmt.Appendf(nil, "put data %s\r\nclose\r\n", value),
		}
	}
	return cycle{
		begin: wire.AppendRequest(wire.AppendRequest(nil, "open", id), "get_all"),
		end:   wire.AppendRequest(wire.AppendRequest(nil, "put", "data", value), "close"),
	}
}

// roundTrip sends two requests in one write and reads their replies.
func roundTrip(conn io.Writer, in *bufio.Reader, framing wire.Framing, requests []byte) error {
	if _, err := conn.Write(requests); err != nil {
		return err
	}
	if framing == wire.Line {
		for range 2 {
			line, err := in.ReadSlice('\n')
			if err != nil || !bytes.HasPrefix(line, []byte("ok")) {
				return fmt.Errorf("%q, %w", line, err)
			}
		}
		return nil
	}
	replies := wire.NewReplyReader(in)
	for range 2 {
		if r, err := replies.Next(); err != nil || r.Err != nil {
			return fmt.Errorf("%v, %w", r.Err, err)
		}
	}
	return nil
}

// BenchmarkCycle measures whole cycles with 2 KiB over loopback. Each client has a session of its own.
func BenchmarkCycle(b *testing.B) {
	stores := map[string]func(b *testing.B) storage.Store{
		"memory": func(*testing.B) storage.Store { return nil },
		"log": func(b *testing.B) storage.Store {
			store, err := log.Open(log.Options{Path: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = store.Close() })
			return store
		},
	}
	for name, open := range stores {
		for _, framing := range []wire.Framing{wire.Line, wire.RESP} {
			b.Run(name+"/"+framing.String(), func(b *testing.B) {
				runCycles(b, servertest.Config{Store: open(b)}, framing)
			})
		}
	}
}

// BenchmarkCyclePolicy measures the same cycle in memory under a policy that always allows, and under the default
// policy with cached decisions.
func BenchmarkCyclePolicy(b *testing.B) {
	engine, err := opa.New(b.Context(), opa.Options{
		Logger:  slog.New(slog.DiscardHandler),
		Source:  opa.FS("default", configs.DefaultPolicy()),
		Tenants: []policy.Tenant{{Name: "test", Apps: []policy.App{{Name: "app", Role: "readwrite"}}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, engine := range map[string]policy.Engine{"permissive": servertest.Permissive{}, "default": engine} {
		b.Run(name, func(b *testing.B) {
			runCycles(b, servertest.Config{Options: server.Options{Policy: engine}}, wire.RESP)
		})
	}
}

func runCycles(b *testing.B, cfg servertest.Config, framing wire.Framing) {
	value := strings.Repeat("0123456789abcdef", 128)
	s := servertest.Start(b, cfg)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := s.Dial(b.Context())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		if _, err := io.WriteString(conn, "new\r\n"); err != nil {
			b.Error(err)
			return
		}
		reply, err := in.ReadString('\n')
		if err != nil {
			b.Error(err)
			return
		}
		id := strings.TrimPrefix(strings.TrimSpace(reply), "ok ")
		if err := roundTrip(conn, in, wire.Line, fmt.Appendf(nil, "put data %s\r\nclose\r\n", value)); err != nil {
			b.Error(err)
			return
		}
		c := cycleOf(framing, id, value)
		for pb.Next() {
			if err := roundTrip(conn, in, framing, c.begin); err != nil {
				b.Error(err)
				return
			}
			if err := roundTrip(conn, in, framing, c.end); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkHandOver measures how fast a lock passes to the next client in the queue. The time begins with the release
// of the lock, or the end of the holder's connection. It ends with the reply to the next client.
func BenchmarkHandOver(b *testing.B) {
	for name, release := range map[string]string{"close": "close\r\n", "broken": ""} {
		b.Run(name, func(b *testing.B) {
			s := servertest.Start(b, servertest.Config{})
			first, err := s.Dial(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			in := bufio.NewReader(first)
			_, _ = io.WriteString(first, "new\r\ncommit\r\nabort\r\n")
			reply, err := in.ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			open := "open " + strings.TrimPrefix(strings.TrimSpace(reply), "ok ") + " rw 60000\r\n"
			_ = first.Close()
			holder, err := s.Dial(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if err := ask(holder, open); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				next, err := s.Dial(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				// After the reply to ping, the open behind it is in the queue or about to be.
				if err := ask(next, "ping\r\n"+open); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if release == "" {
					_ = holder.Close()
				} else if _, err := io.WriteString(holder, release); err != nil {
					b.Fatal(err)
				}
				if err := answered(next); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = holder.Close()
				holder = next
				b.StartTimer()
			}
			_ = holder.Close()
		})
	}
}

// ask sends a request whose reply must be ok.
func ask(conn io.ReadWriter, request string) error {
	if _, err := io.WriteString(conn, request); err != nil {
		return err
	}
	return answered(conn)
}

func answered(conn io.Reader) error {
	var line [64]byte
	n, err := conn.Read(line[:])
	if err != nil || !bytes.HasPrefix(line[:n], []byte("ok")) {
		return fmt.Errorf("%q, %w", line[:n], err)
	}
	return nil
}
