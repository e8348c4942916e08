package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"sessionserver/app"
	"sessionserver/configs"
	"sessionserver/storage"
)

type serveCmd struct {
	Config string `xor:"what" required:"" placeholder:"FILE" help:"The configuration file."`
	Dev    bool   `xor:"what" required:"" help:"Serve for a trial: clients on this machine need no credentials."`

	AcceptLoss bool `help:"Open a damaged storage folder without the sessions that are lost."`

	Listen string `placeholder:"ADDR" help:"With --dev: the address to listen on (default 127.0.0.1:9090)."`
	Admin  string `placeholder:"ADDR" help:"With --dev: the address of the HTTP server for operators (default 127.0.0.1:9180)."`
	State  string `placeholder:"DIR" help:"With --dev: the folder to keep everything in (default .sessionserver)."`
}

// Run serves until ctx ends.
func (s *serveCmd) Run(ctx context.Context, io streams) error {
	app.SurviveBrokenPipes()
	// Before anything is opened, since the default action is to kill. A reload during the start takes place after it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	cfg, err := s.load()
	if err != nil {
		return err
	}
	log, level, sink := newLogger(cfg.Log, io)
	defer sink.Close()
	err = s.serve(ctx, io, cfg, log, level, sink, hangups)
	if _, forPrograms := log.Handler().(*slog.JSONHandler); err != nil && forPrograms {
		log.Error("the server has ended with an error", "err", configs.Conceal(err.Error()))
		return loggedError{err}
	}
	return err
}

// serve runs the server of a configuration until ctx ends.
func (s *serveCmd) serve(
	ctx context.Context, io streams, cfg *configs.Config, log *slog.Logger, level *slog.LevelVar, sink *app.LogSink,
	hangups <-chan os.Signal,
) error {
	a, err := s.open(ctx, cfg, app.Options{
		Version: version, Logger: log, LogLost: sink.Lost, AcceptLoss: s.AcceptLoss,
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		log.Info("stopped before anything was served")
		return nil
	}
	if err != nil {
		return s.advise(err)
	}
	if s.Dev {
		addr := a.Addrs()[0]
		if err := writeDevFile(devAddress(cfg), devServer("tls", addr)); err != nil {
			return errors.Join(err, a.Close())
		}
		if err := publishDevCA(cfg); err != nil {
			log.Warn("other users of this machine cannot read the certificate of the CA, which their DSNs would "+
				"need: choose another folder with --state",
				"folder", cfg.TLS.LocalCA, "err", err)
		}
		welcome(io, cfg, addr, a.OperatorsURL())
	}
	stop := s.reloadOnHangup(a, log, level, hangups)
	err = a.Run(ctx)
	stop() // no reload meets a part that is closed
	err = errors.Join(err, a.Close())
	log.Info("stopped")
	return err
}

// open opens the server.
func (s *serveCmd) open(ctx context.Context, cfg *configs.Config, opts app.Options) (*app.App, error) {
	if s.Dev {
		if err := ensureDevTenant(ctx, cfg); err != nil {
			return nil, err
		}
		if s.Admin == "" && taken(cfg.Admin.Address) { // a second server beside the first takes any free port
			cfg.Admin.Address = "127.0.0.1:0"
		}
	}
	return app.New(ctx, cfg, opts)
}

// load reads the configuration of the flags.
func (s *serveCmd) load() (*configs.Config, error) {
	if !s.Dev {
		if s.Listen != "" || s.Admin != "" || s.State != "" {
			return nil, errors.New("sessionserver serve: --listen, --admin and --state need --dev; a configuration " +
				"file has these settings itself")
		}
		return configs.Load(s.Config, app.Inspect)
	}
	cfg, err := devConfig(s.State)
	if err != nil {
		return nil, err
	}
	if s.Listen != "" {
		cfg.Listen[0].Address = s.Listen
	}
	if s.Admin != "" {
		cfg.Admin.Address = s.Admin
	}
	if problems := cfg.Validate(); len(problems) > 0 {
		return nil, problems
	}
	return cfg, nil
}

// advise adds to an error what to do about it.
func (s *serveCmd) advise(err error) error {
	if s.Dev && errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nanother program listens there; choose another address and folder, such as --listen "+
			"127.0.0.1:9091 --state .sessionserver-2", err)
	}
	if s.Dev && errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("%w\nanother server runs in this folder; choose another, and another address, such as "+
			"--state .sessionserver-2 --listen 127.0.0.1:9091", err)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w (another program listens there, perhaps another server: end it, or set another address "+
			"in the configuration)", err)
	}
	if errors.Is(err, storage.ErrLocked) {
		return fmt.Errorf("%w (another server runs with this storage.path: end it, or give this one a folder of its "+
			"own)", err)
	}
	if errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%w (the user that the server runs as lacks a permission: see owner and mode; ports below "+
			"1024 need CAP_NET_BIND_SERVICE)", err)
	}
	return err
}

// welcome prints the first steps with a dev server.
func welcome(io streams, cfg *configs.Config, addr net.Addr, operators string) {
	state, err := filepath.Abs(filepath.Dir(cfg.Tenants))
	if err != nil {
		state = filepath.Dir(cfg.Tenants)
	}
	fmt.Fprintf(io.out, "sessionserver %s is ready on %s, everything is kept in %s\n\n", version, addr, state)
	if dsn, err := devDSN(cfg, addr); err == nil {
		fmt.Fprintf(io.out, "  DSN     %s\n", dsn)
	}
	plain := devServer("tcp", addr)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(plain, "tcp://"))
	if err != nil { // a Unix socket
		fmt.Fprintf(io.out, "  status  %s\n\n", operators)
		return
	}
	fmt.Fprintf(io.out, `          %s for clients on this machine, which act as %s without credentials
  status  %s

  try     telnet %s %s        redis-cli -h %s -p %s

          new                        creates a session, opens it, and replies with its id
          put foo bar
          get foo
          close                      saves it
          open ID u                  with the id from above: opens it again
          help                       lists the commands

`, plain, cfg.Listen[0].Anonymous, operators, host, port, host, port)
}

// hangup reads everything again, and logs success only if nothing failed.
func (s *serveCmd) hangup(ctx context.Context, a *app.App, log *slog.Logger, level *slog.LevelVar) {
	cfg, err := s.load()
	if failed := a.Reload(ctx, cfg, err); len(failed) > 0 {
		log.Error("not everything was reloaded: failed parts keep their previous state", "failed",
			strings.Join(failed, " "))
	} else {
		level.Set(min(level.Level(), slog.LevelInfo)) // the operator asked for it, so it is logged at any level
		log.Info("reloaded the rules for sessions, the quotas and rates of tenants, their files, those of " +
			"certificates and of policies, and the level of the log; everything else takes effect at the next start")
	}
	if err == nil {
		setLevel(level, cfg.Log)
	}
}

// reloadOnHangup reads everything again at each SIGHUP. After stop a SIGHUP does nothing.
func (s *serveCmd) reloadOnHangup(
	a *app.App, log *slog.Logger, level *slog.LevelVar, hangups <-chan os.Signal,
) (stop func()) {
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangups:
			}
			s.hangup(ctx, a, log, level)
		}
	}()
	return func() {
		cancel() // a server of policies may hang
		<-done
	}
}

// newLogger returns the log, which goes to standard error: text for people, JSON for programs. The level can be
// changed. The caller closes the sink.
func newLogger(c configs.Log, streams streams) (*slog.Logger, *slog.LevelVar, *app.LogSink) {
	level := new(slog.LevelVar)
	setLevel(level, c)
	opts := &slog.HandlerOptions{Level: level}
	form := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }
	if c.Format == "text" || c.Format == "auto" && isTerminal(streams.err) {
		form = func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }
	}
	sink := app.NewLogSink(streams.err, form)
	return slog.New(form(sink)), level, sink
}

func setLevel(level *slog.LevelVar, c configs.Log) {
	_ = level.UnmarshalText([]byte(c.Level)) // valid, by configs
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
