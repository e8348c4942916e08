package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of a client. Few clients connect: a scraper, an orchestrator, an operator or two.
const (
	maxConns      = 128
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Options configure New. Ready and Status are required.
type Options struct {
	// Access decides which requests are admitted.
	Access Access

	// TLS secures connections. nil is plain HTTP.
	TLS *tls.Config

	// Ready returns nil if clients can use the server, or the reason why not. Every client can read the text.
	Ready func() error

	// Status returns the state of the server.
	Status func() Status

	// Metrics serves /metrics, which does not exist if it is nil.
	Metrics http.Handler

	// Profiles enables /debug/pprof/.
	Profiles bool

	// MaxConns is the maximum number of connections; further ones wait. Default 128.
	MaxConns int

	// Logger logs errors of connections, at debug level. By default nothing is logged.
	Logger *slog.Logger
}

// Server is an HTTP server for operators.
type Server struct {
	opts  Options
	http  http.Server
	token atomic.Pointer[tokenHash] // nil without a token
}

// New returns a server that does not serve yet.
func New(o Options) (*Server, error) {
	if o.Ready == nil || o.Status == nil {
		return nil, errors.New("admin: Options.Ready and Status are required")
	}
	if o.MaxConns == 0 {
		o.MaxConns = maxConns
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o}
	if o.Access.Token != "" {
		if err := s.SetToken(o.Access.Token); err != nil {
			return nil, err
		}
	}
	s.http = http.Server{
		Handler: s.guard(s.pages()), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// pages returns the handler of all pages. Every other path is not found.
func (s *Server) pages() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.index)
	mux.HandleFunc(healthPath, s.health)
	mux.HandleFunc(readyPath, s.ready)
	mux.HandleFunc(statusPath, s.status)
	if s.opts.Metrics != nil {
		mux.Handle(metricsPath, s.opts.Metrics)
	}
	if s.opts.Profiles {
		profiles(mux)
	}
	return mux
}

// Serve serves the connections of l until Close, and returns nil then. It closes l.
func (s *Server) Serve(l net.Listener) error {
	l = netutil.LimitListener(l, s.opts.MaxConns)
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS) // outermost, so that requests have the TLS state
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the server. Responses in progress have a second to finish. It may be called again.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.http.Close() // a response in progress, such as a profile
}
