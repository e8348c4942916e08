package app

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"slices"

	"sessionserver/certs"
	"sessionserver/configs"
)

// certificateOptions returns the sources of certificates that cfg names.
func certificateOptions(cfg *configs.Config, log *slog.Logger, observer func(certs.Event)) certs.Options {
	opts := certs.Options{LocalCA: cfg.TLS.LocalCA, Log: log, Observer: observer}
	for _, pair := range cfg.TLS.Certificates {
		opts.Files = append(opts.Files, certs.Pair{Cert: pair.Cert, Key: pair.Key})
	}
	if a := cfg.TLS.ACME; a.Used() {
		opts.ACME = &certs.ACME{
			Names: a.Names, Email: a.Email, AgreeTerms: a.AgreeTerms, Directory: a.Directory, CARoots: a.CARoots,
			Storage: a.Storage, HTTPAddress: a.HTTPAddress, DNSProgram: a.DNSProgram,
		}
	}
	if public, err := url.Parse(cfg.PublicAddress); err == nil && public.Hostname() != "" && cfg.TLS.LocalCA != "" {
		opts.LocalNames = []string{public.Hostname()}
	}
	return opts
}

// startCertificates begins to obtain certificates and to watch their files. The listeners accept already, since a
// certificate authority connects to one of them.
func (a *App) startCertificates(ctx context.Context) error {
	if a.certs == nil {
		return nil
	}
	return a.certs.Start(ctx, challengeAddress(a.Addrs()))
}

// challengeAddress returns the listener to which a certificate authority connects: that of port 443 if there is one, or
// the first of TCP, to which the operator forwards that port.
func challengeAddress(all []net.Addr) net.Addr {
	port := func(addr net.Addr) int {
		if tcp, ok := addr.(*net.TCPAddr); ok {
			return tcp.Port
		}
		return 0
	}
	i := slices.IndexFunc(all, func(addr net.Addr) bool { return port(addr) == 443 })
	if i < 0 {
		i = slices.IndexFunc(all, func(addr net.Addr) bool { return port(addr) != 0 })
	}
	return all[max(i, 0)]
}

// certificateObserver returns an observer of certificates. Reads of their files are recorded under name.
func (a *App) certificateObserver(name string) func(certs.Event) {
	return func(e certs.Event) {
		a.metrics.Certificate(e)
		if e.Kind == certs.FilesRead {
			a.reloads.note(name, e.Err)
		} else {
			a.audit.certificate(e)
		}
	}
}
