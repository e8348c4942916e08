package app

import (
	"errors"
	"fmt"
	"strings"

	"sessionserver/client"
	"sessionserver/configs"
	"sessionserver/server"
)

// Inspect returns the mistakes in a configuration that package configs cannot find. It touches nothing.
func Inspect(cfg *configs.Config) configs.Problems {
	problems := inspectAddress(cfg)
	problems = append(problems, inspectAudit(cfg)...)
	if drivers[cfg.Storage.Driver] == nil {
		problems = append(problems, cfg.Problem("storage.driver", "%q (allowed: %s)", cfg.Storage.Driver,
			driverNames()))
	}
	if cfg.Storage.Driver == "file" && cfg.Storage.Sync == "interval" {
		problems = append(problems, cfg.Problem("storage.sync", "\"interval\" is not for driver file (allowed: "+
			"always, never)"))
	}
	for i, l := range cfg.Listen {
		if err := server.CheckAnonymous(configs.Prefixes(l.Allow)); l.Anonymous != "" && err != nil {
			problems = append(problems, cfg.Problem(fmt.Sprintf("listen[%d].anonymous", i), "%v", err))
		}
	}
	return problems
}

// inspectAddress returns the mistakes in public_address.
func inspectAddress(cfg *configs.Config) configs.Problems {
	if cfg.PublicAddress == "" {
		return nil
	}
	if _, err := ParseAddress(cfg.PublicAddress); err != nil {
		return configs.Problems{cfg.Problem("public_address", "%v", err)}
	}
	return nil
}

// ParseAddress parses a DSN that has the address of a server and no credentials.
func ParseAddress(text string) (*client.DSN, error) {
	dsn, err := client.ParseDSN(text)
	if err == nil && !strings.Contains(text, "://") {
		err = errors.New("the scheme is missing")
	}
	if err == nil && (dsn.App != "" || dsn.Tenant != "") {
		err = errors.New("an address contains neither a tenant nor an app")
	}
	if err != nil {
		return nil, fmt.Errorf("%w (allowed: such as tls://sessions.example.com:9090)", err)
	}
	return dsn, nil
}
