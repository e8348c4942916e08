package server_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"

	"sessionserver/auth"
	"sessionserver/server"
	"sessionserver/server/servertest"
	"sessionserver/session"
	"sessionserver/storage/memory"
	"sessionserver/wire"
	"sessionserver/wire/transcript"
)

// incr is a command like the built-in ones: a row of the command table.
var incr = server.Command{
	Name:   "incr",
	Usage:  "key [by]",
	Help:   "adds to a number and returns the sum; a missing key counts as 0",
	Line:   server.Arity{Min: 1, Max: 2},
	RESP:   server.Arity{Min: 1, Max: 2},
	Needs:  server.OpenSession,
	Access: server.Write,
	Keys:   server.FirstKey,
	Cost:   1,
	Run:    runIncr,
}

func runIncr(c *server.Call) error {
	by := int64(1)
	if len(c.Args) == 2 {
		var err error
		if by, err = strconv.ParseInt(string(c.Args[1]), 10, 64); err != nil {
			return wire.Errorf(wire.BadArg, "usage: incr key [by], where by is a whole number")
		}
	}
	value, err := c.Session().Get(c.Args[0])
	if err != nil && !errors.Is(err, session.ErrNoKey) {
		return err
	}
	n := int64(0)
	if err == nil {
		if n, err = strconv.ParseInt(string(value), 10, 64); err != nil {
			return wire.Errorf(wire.BadArg, "the value is not a whole number")
		}
	}
	if sum := n + by; by != 0 && (sum > n) != (by > 0) {
		return wire.Errorf(wire.BadArg, "the sum exceeds 64 bits")
	}
	if err := c.Session().Put(c.Args[0], strconv.AppendInt(nil, n+by, 10)); err != nil {
		return err
	}
	c.Reply.Int(n + by)
	return nil
}

// A command of your own is a row in the table. The server dispatches it, checks it at the gates, counts it and lists
// it in help.
func Example() {
	store := memory.New(memory.Options{})
	srv, err := server.New(server.Options{
		Sessions: session.NewManager(store, session.Options{}),
		Policy:   servertest.Permissive{}, // see package policy/opa for one that decides
		Tenants: []server.Tenant{{
			Tenant: auth.Tenant{
				Name: "dev", Access: servertest.Loopback, Apps: []auth.App{{Name: "app", Role: auth.ReadWrite}},
			},
			Sessions: session.DefaultSettings(),
		}},
		Commands: []server.Command{incr},
	})
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(l, server.Listen{Name: "main", Allow: servertest.Loopback,
		Anonymous: auth.Identity{Tenant: "dev", App: "app"}})

	conversation, err := transcript.Parse("incr", strings.NewReader(`C: new
S: ok {id}
C: incr visits
S: ok 1
C: incr visits 41
S: ok 42
C: incr visits many
S: err BADARG usage: incr key [by], where by is a whole number
C: help incr
S: ok incr key [by]: adds to a number and returns the sum; a missing key counts as 0
C: commit
S: ok
C: incr visits
S: err READONLY the session is open for reading only; close it and open it in mode rw
`))
	if err != nil {
		log.Fatal(err)
	}
	played, err := conversation.Play(context.Background(), func(context.Context) (net.Conn, error) {
		return net.Dial("tcp", l.Addr().String())
	})
	fmt.Print(played)
	fmt.Println("err:", err, srv.Shutdown(context.Background()), store.Close())
	// Output:
	// C: new
	// S: ok {id}
	// C: incr visits
	// S: ok 1
	// C: incr visits 41
	// S: ok 42
	// C: incr visits many
	// S: err BADARG usage: incr key [by], where by is a whole number
	// C: help incr
	// S: ok incr key [by]: adds to a number and returns the sum; a missing key counts as 0
	// C: commit
	// S: ok
	// C: incr visits
	// S: err READONLY the session is open for reading only; close it and open it in mode rw
	// err: <nil> <nil> <nil>
}
