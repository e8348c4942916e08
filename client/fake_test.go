package client_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"sessionserver/client"
	"sessionserver/wire"
)

// fake is a server whose replies a test controls. Its connections are pipes, so that it can run in a synctest bubble.
type fake struct {
	// reply returns the reply to a request, "" for none, or hangUp to close the connection. A nil reply is
	// defaultReply.
	reply  func(request string) string
	remote net.Addr // the server's address as the client sees it; nil for that of a pipe

	mu       sync.Mutex
	requests []string // each with its arguments, separated by spaces
	conns    []net.Conn
	frozen   map[net.Conn]bool // connections whose requests are discarded
}

const hangUp = "hang up"

// defaultReply returns a successful reply to a request.
func defaultReply(request string) string {
	switch name, _, _ := strings.Cut(request, " "); name {
	case "new":
		return "$32\r\n0123456789abcdef0123456789abcdef\r\n"
	case "get_all":
		return "%1\r\n$1\r\na\r\n$1\r\n1\r\n"
	case "hello":
		return "%2\r\n$5\r\nproto\r\n:3\r\n$12\r\nlock_wait_ms\r\n$5\r\n10000\r\n"
	}
	return "+OK\r\n"
}

func (f *fake) dialContext(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	f.mu.Lock()
	f.conns = append(f.conns, far)
	f.mu.Unlock()
	go f.serve(far)
	if f.remote != nil {
		return &remoteConn{near, f.remote}, nil
	}
	return near, nil
}

// remoteConn is a connection with a chosen remote address.
type remoteConn struct {
	net.Conn
	remote net.Addr
}

func (c *remoteConn) RemoteAddr() net.Addr { return c.remote }

func (f *fake) serve(nc net.Conn) {
	defer nc.Close()
	r := wire.NewReader(nc, wire.DefaultLimits(), nil)
	for {
		req, err := r.Next()
		if err != nil {
			return
		}
		request := string(req.Name)
		for _, arg := range req.Args(0) {
			request += " " + string(arg)
		}
		f.mu.Lock()
		frozen := f.frozen[nc]
		if !frozen {
			f.requests = append(f.requests, request)
		}
		f.mu.Unlock()
		if frozen {
			continue
		}
		reply := defaultReply(request)
		if f.reply != nil {
			reply = f.reply(request)
		}
		if reply == hangUp {
			return
		}
		if _, err := nc.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// take returns the requests since the previous call.
func (f *fake) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.requests = nil }()
	return f.requests
}

// freeze discards all further requests on the existing connections without closing them.
func (f *fake) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = make(map[net.Conn]bool)
	for _, nc := range f.conns {
		f.frozen[nc] = true
	}
}

// cut closes all connections on the server's side.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, nc := range f.conns {
		nc.Close()
	}
	f.conns = nil
}

// dial returns a client of the fake server.
func (f *fake) dial(t *testing.T, parameters string, opts client.Options) *client.Client {
	t.Helper()
	opts.DialContext = f.dialContext
	return dial(t, "tcp://a:s@h/t"+parameters, opts)
}
