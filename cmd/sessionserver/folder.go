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

// folderFlags holds the flags that name the folder of the tenants.
type folderFlags struct {
	Config string `xor:"folder" required:"" placeholder:"FILE" help:"The configuration of the server, which names the folder of the tenants."`
	Dev    bool   `xor:"folder" required:"" help:"The tenants of serve --dev."`
	State  string `placeholder:"DIR" help:"With --dev: its folder (default .sessionserver)."`
}

// open returns the folder of a valid configuration.
func (f folderFlags) open() (*tenantFolder, error) { return f.find(nil) }

// openAnyhow returns the folder of a configuration that may have mistakes, which it prints, as long as the folder is
// named. A removal must not wait until all mistakes are mended, and a running server keeps its previous
// configuration.
func (f folderFlags) openAnyhow(io streams) (*tenantFolder, error) {
	return f.find(func(problems configs.Problems) {
		fmt.Fprintf(io.err, "The configuration has mistakes, in spite of which the command continues:\n%v\n", problems)
	})
}

func (f folderFlags) find(report func(configs.Problems)) (*tenantFolder, error) {
	if f.Dev {
		cfg, err := devConfig(f.State)
		if err != nil {
			return nil, err
		}
		return &tenantFolder{Folder: &tenants.Folder{Path: cfg.Tenants, Config: cfg, MakeParent: true}, dev: true}, nil
	}
	if f.State != "" {
		return nil, errors.New("sessionserver: --state needs --dev; a configuration file names its folders itself")
	}
	cfg, problems, err := configs.LoadAnyhow(f.Config, app.Inspect)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		if report == nil || cfg.Tenants == "" {
			return nil, problems
		}
		report(problems)
	}
	if cfg.Tenants == "" {
		return nil, fmt.Errorf("%s names no folder for tenants; add a line such as\n\n    tenants: "+
			"/etc/sessionserver/tenants.d", f.Config)
	}
	return &tenantFolder{Folder: &tenants.Folder{Path: cfg.Tenants, Config: cfg}}, nil
}

// tenantFolder is the folder of the tenants, and whether it is that of serve --dev.
type tenantFolder struct {
	*tenants.Folder
	dev bool
}

// await waits until all running servers have the change of a tenant in force, and prints a line if there are none.
func (f *tenantFolder) await(ctx context.Context, tenant string, out io.Writer) error {
	servers, err := f.Await(ctx, tenant)
	if err == nil && servers == 0 {
		fmt.Fprintf(out, "No server that runs with %s was found: one that starts takes this over.\n", f.Path)
	}
	return err
}
