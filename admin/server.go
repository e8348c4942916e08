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

// What a client may cost. There are few: a scraper, an orchestrator, an operator or two.
const (
	maxConns      = 128
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Options are what a Server shows and to whom. Ready and Status are required.
type Options struct {
	// Access says who may come.
	Access Access

	// TLS is how connections are secured; nil is HTTP.
	TLS *tls.Config

	// Ready answers why clients had better go elsewhere now, or nil. The text is shown to everybody who asks.
	Ready func() error

	// Status tells how the server is.
	Status func() Status

	// Metrics serves /metrics; nil is not there.
	Metrics http.Handler

	// Profiles serves /debug/pprof/.
	Profiles bool

	// MaxConns is how many connections there may be; further ones wait. Default 128.
	MaxConns int

	// Logger gets what goes wrong with connections, at debug level. Default: nothing is logged.
	Logger *slog.Logger
}

// Server is an HTTP server for operators.
type Server struct {
	opts  Options
	http  http.Server
	token atomic.Pointer[tokenHash] // nil without one
}

// New makes a server that serves nothing yet.
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
		Handler: s.guard(s.pages()), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// pages are all that there is. What is not among them is not found, whoever asks.
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

// Serve answers those who connect to l, which it closes, until Close. It answers nil then.
func (s *Server) Serve(l net.Listener) error {
	l = netutil.LimitListener(l, s.opts.MaxConns)
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS) // the outermost, or requests would not know of it
	}
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the server: answers under way are finished if they are quick. It may be called again.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.http.Close() // somebody is taking a profile
}
