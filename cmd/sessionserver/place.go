package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/configs"
)

// place says where the tenants are: the flags that the subcommands about them have.
type place struct {
	Config string `xor:"place" required:"" placeholder:"FILE" help:"The configuration of the server, which names the folder of the tenants."`
	Dev    bool   `xor:"place" required:"" help:"The tenants of serve --dev."`
	State  string `placeholder:"DIR" help:"With --dev: its folder (default .sessionserver)."`
}

// open finds the folder by a configuration in which nothing may be wrong.
func (p place) open() (*tenantFolder, error) { return p.find(nil) }

// openAnyhow finds it also if something is wrong with the configuration, as long as it says where the folder is: to take something away must not wait
// until all is right, and a server that runs goes on with what it has read before. It tells what is wrong.
func (p place) openAnyhow(io streams) (*tenantFolder, error) {
	return p.find(func(problems configs.Problems) {
		fmt.Fprintf(io.err, "Something is wrong with the configuration, which does not hinder this:\n%v\n", problems)
	})
}

func (p place) find(tell func(configs.Problems)) (*tenantFolder, error) {
	if p.Dev {
		cfg, err := devConfig(p.State)
		if err != nil {
			return nil, err
		}
		return &tenantFolder{Folder: &tenants.Folder{Path: cfg.Tenants, Config: cfg, MakeParent: true}, dev: true}, nil
	}
	if p.State != "" {
		return nil, errors.New("sessionserver: --state goes with --dev; a configuration file says it itself")
	}
	cfg, problems, err := configs.LoadAnyhow(p.Config, app.Inspect)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		if tell == nil || cfg.Tenants == "" {
			return nil, problems
		}
		tell(problems)
	}
	if cfg.Tenants == "" {
		return nil, fmt.Errorf("%s names no folder for tenants; add a line such as\n\n    tenants: /etc/sessionserver/tenants.d", p.Config)
	}
	return &tenantFolder{Folder: &tenants.Folder{Path: cfg.Tenants, Config: cfg}}, nil
}

// tenantFolder is the folder of the tenants, and whether it is that of serve --dev.
type tenantFolder struct {
	*tenants.Folder
	dev bool
}

// await waits until all running servers have the change of a tenant in force, and says so where none runs.
func (f *tenantFolder) await(ctx context.Context, tenant string, out io.Writer) error {
	servers, err := f.Await(ctx, tenant)
	if err == nil && servers == 0 {
		fmt.Fprintf(out, "No server that runs with %s was found: one that starts takes this over.\n", f.Path)
	}
	return err
}
