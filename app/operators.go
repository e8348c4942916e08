package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"sessionserver/admin"
	"sessionserver/certs"
	"sessionserver/configs"
)

// operators is the HTTP server for operators. It is opened before the other parts, so that it can report that they
// are not ready, and closed after them.
type operators struct {
	log   *slog.Logger
	cfg   configs.Admin
	addr  net.Addr
	http  *admin.Server
	certs *certs.Certs // own certificate; nil for those of the listeners, or none
	ended chan struct{}

	observer func(certs.Event) // of its own certificate
}

// openOperators opens the address for operators and serves there. It returns nil if the configuration has none.
func openOperators(a *App, shared *certs.Certs, metrics http.Handler) (_ *operators, err error) {
	cfg := a.cfg.Admin
	if cfg.Address == "" {
		return nil, nil
	}
	o := &operators{log: a.log, cfg: cfg, ended: make(chan struct{}),
		observer: a.certificateObserver(adminCertificateReload)}
	access := admin.Access{Certificates: cfg.ClientCA != ""}
	if access.Token, err = operatorsToken(cfg); err != nil {
		return nil, fmt.Errorf("admin.token_file: %w", err)
	}
	l, err := listen(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for operators (admin.address): %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			if o.certs != nil {
				o.certs.Close()
			}
		}
	}()
	o.addr = l.Addr()
	if tcp, ok := o.addr.(*net.TCPAddr); ok {
		access.Loopback = tcp.IP.IsLoopback()
		if cfg.Local() && !access.Loopback { // a name that leads elsewhere
			return nil, fmt.Errorf("admin.address %s leads to %s, which is not on the loopback: set an address "+
				"such as 127.0.0.1:9091", cfg.Address, tcp)
		}
	}
	var secured *tls.Config
	if cfg.UsesTLS() {
		if secured, err = o.tls(shared); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	o.http, err = admin.New(admin.Options{
		Access: access, TLS: secured, Ready: a.health.ready, Status: a.status, Metrics: metrics, Profiles: cfg.Profiles,
		MaxConns: a.descriptors.operators, Logger: a.log,
	})
	if err != nil {
		return nil, err
	}
	a.log.Info("serving operators", "address", o.addr.String())
	go func() {
		defer close(o.ended)
		if err := o.http.Serve(l); err != nil {
			a.log.Error("operators are not served any more", "err", err)
		}
	}()
	return o, nil
}

// tls returns the TLS configuration: with a certificate of its own, or with one of the listeners.
func (o *operators) tls(shared *certs.Certs) (*tls.Config, error) {
	from := shared
	if o.cfg.Certificate != "" {
		own, err := certs.New(certs.Options{
			Files: []certs.Pair{{Cert: o.cfg.Certificate, Key: o.cfg.Key}}, Log: o.log, Observer: o.observer,
		})
		if err != nil {
			return nil, err
		}
		if err := own.Start(context.Background(), o.addr); err != nil {
			own.Close()
			return nil, err
		}
		o.certs, from = own, own
	}
	return from.HTTPConfig(o.cfg.ClientCA)
}

// url returns what operators open in a browser, or run.
func (o *operators) url() string {
	if o == nil {
		return "none"
	}
	if o.addr.Network() == "unix" {
		return "curl --unix-socket " + o.addr.String() + " http://localhost/status"
	}
	scheme := "http"
	if o.cfg.UsesTLS() {
		scheme = "https"
	}
	return scheme + "://" + o.addr.String() + "/"
}

// reloadToken reads the token again. An invalid one changes nothing.
func (o *operators) reloadToken() error {
	token, err := operatorsToken(o.cfg)
	if err != nil || token == "" {
		return err
	}
	return o.http.SetToken(token)
}

// ownCerts returns the certificates that only operators are served with, or nil.
func (o *operators) ownCerts() *certs.Certs {
	if o == nil {
		return nil
	}
	return o.certs
}

func (o *operators) close() error {
	err := o.http.Close()
	<-o.ended
	if o.certs != nil {
		o.certs.Close()
	}
	return err
}

// operatorsToken reads the token of operators. It returns "" if the configuration has none.
func operatorsToken(cfg configs.Admin) (string, error) {
	if cfg.TokenFile == "" {
		return "", nil
	}
	token, err := readToken(cfg.TokenFile)
	if err != nil {
		return "", err
	}
	if err := admin.CheckToken(token); err != nil {
		return "", fmt.Errorf("%s holds %w", cfg.TokenFile, err)
	}
	return token, nil
}
