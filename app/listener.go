package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"sessionserver/certs"
	"sessionserver/configs"
	"sessionserver/server"
)

// listener is an open address with the options of its connections.
type listener struct {
	net.Listener
	options server.Listen
}

func (a *App) openListeners(context.Context) (err error) {
	for _, l := range a.cfg.Listen {
		options := listenOptions(l)
		if a.certs != nil {
			options.TLS, err = a.certs.ClientConfig(certs.ClientCertificates(l.ClientCertificates), l.ClientCA)
			if err != nil {
				return fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}
		open, err := listen(l.Address)
		if err != nil {
			return fmt.Errorf("cannot listen: %w", err)
		}
		a.closers = append(a.closers, ignoreClosed(open.Close))
		a.listeners = append(a.listeners, listener{open, options})
	}
	return nil
}

func listenOptions(l configs.Listen) server.Listen {
	options := server.Listen{
		Name: l.Name, Plaintext: server.Plaintext(l.Plaintext),
		Proxies: configs.Prefixes(l.Proxies), Allow: l.Allowlist(),
	}
	options.Anonymous, _ = l.Identity()
	return options
}

// listen opens an address of the configuration. A Unix socket that a dead server has left is replaced; its group may
// connect.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return net.Listen("tcp", address)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, dialErr := net.Dial("unix", path); dialErr == nil {
			_ = conn.Close()
			return nil, err
		}
		if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("the file %s is not a socket; remove it or choose another path", path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ignoreClosed returns a close function that may be called for what is closed already.
func ignoreClosed(close func() error) func() error {
	return func() error {
		if err := close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
