package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/atomicfile"
	"sessionserver/auth"
	"sessionserver/client"
	"sessionserver/configs"
)

// devState is the default folder of serve --dev. It holds the sessions, the tenants and the local CA.
const devState = ".sessionserver"

// devConfig returns the configuration of serve --dev with its state in a folder, "" for the default.
func devConfig(state string) (*configs.Config, error) {
	cfg, err := configs.Parse("dev.yaml", configs.Dev)
	if err != nil || state == "" {
		return cfg, err
	}
	for _, path := range []*string{&cfg.Storage.Path, &cfg.Tenants, &cfg.TLS.LocalCA} {
		within, err := filepath.Rel(devState, *path)
		if err != nil {
			return nil, err
		}
		*path = filepath.Join(state, within)
	}
	return cfg, nil
}

// devSecret returns the file with the secret of the app that serve --dev created, so that it can print its DSN again.
// No other secret is ever kept.
func devSecret(cfg *configs.Config) string { return filepath.Join(filepath.Dir(cfg.Tenants), "secret") }

// devAddress returns the file with the address of serve --dev, for the DSNs of commands with --dev.
func devAddress(cfg *configs.Config) string {
	return filepath.Join(filepath.Dir(cfg.Tenants), "address")
}

// devServer returns the address of a listener for clients on this machine, as the beginning of a DSN. A listener on
// all addresses is reached on the loopback.
func devServer(scheme string, addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix://" + addr.String()
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return scheme + "://" + addr.String()
}

// lastDevServer returns the address of the last serve --dev with this state, or its default.
func lastDevServer(cfg *configs.Config) (string, error) {
	text, err := os.ReadFile(devAddress(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return "tls://127.0.0.1:" + strconv.Itoa(client.DefaultPort), nil
	}
	return strings.TrimSpace(string(text)), err
}

// ensureDevTenant creates the tenant and the app of the listener's anonymous clients at the first start. It creates
// neither again if the operator deleted them, and changes no existing tenant. The tenant is not strict, so that
// clients of 2004 work with it.
func ensureDevTenant(ctx context.Context, cfg *configs.Config) error {
	id, err := auth.ParseIdentity(cfg.Listen[0].Anonymous)
	if err != nil {
		return err
	}
	f := &tenantFolder{Folder: &tenants.Folder{Path: cfg.Tenants, Config: cfg, MakeParent: true}, dev: true}
	for _, made := range []string{devSecret(cfg), f.File(id.Tenant)} {
		if _, err := os.Lstat(made); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	secret, hash, comment := newSecret()
	text, err := configs.AddApp(configs.NewTenant(cfg.Listen[0].Allow, 0, true), id.App,
		configs.App{Role: string(auth.ReadWrite), Secrets: []string{hash}}, comment)
	if err != nil {
		return err
	}
	if err := f.Create(ctx, id.Tenant, text); err != nil {
		return fmt.Errorf("cannot make the tenant %s: %w", id.Tenant, err)
	}
	return writeDevFile(devSecret(cfg), secret)
}

// writeDevFile writes a line into a file, without following links.
func writeDevFile(path, line string) error {
	return atomicfile.ReplacePath(path, []byte(line+"\n"), atomicfile.Options{})
}

// devDSN returns the DSN of the app that ensureDevTenant created.
func devDSN(cfg *configs.Config, addr net.Addr) (string, error) {
	text, err := os.ReadFile(devSecret(cfg))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if !auth.LooksLikeSecret(secret) {
		// The content is not shown.
		return "", fmt.Errorf("%s does not contain a secret: write a secret of the app to it", devSecret(cfg))
	}
	id, err := auth.ParseIdentity(cfg.Listen[0].Anonymous)
	if err != nil {
		return "", err
	}
	address, err := app.ParseAddress(devServer("tls", addr))
	if err != nil {
		return "", err
	}
	if address.Scheme == "tls" {
		if address.CAFile, err = devCA(cfg); err != nil {
			return "", err
		}
	}
	return newDSN(address, id, secret, false), nil
}

// taken reports whether an address is in use.
func taken(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return true
	}
	return l.Close() != nil
}
