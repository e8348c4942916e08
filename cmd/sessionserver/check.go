package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sessionserver/app"
	"sessionserver/app/tenants"
	"sessionserver/configs"
)

type checkCmd struct {
	File string `arg:"" help:"The configuration file."`
}

// Run prints everything that is wrong with the file, with those of the tenants and those that it names, or OK. It
// changes nothing.
func (c *checkCmd) Run(ctx context.Context, io streams) error {
	cfg, err := configs.Load(c.File, app.Inspect)
	if err != nil {
		return err
	}
	var problems configs.Problems
	ts := new(configs.Tenants)
	if cfg.Tenants != "" {
		if ts = tenants.Load(cfg); missing(cfg.Tenants) {
			ts.Problems = configs.Problems{cfg.Problem("tenants", "the folder %s does not exist: create it, or the "+
				"first tenant with it: sessionserver tenant create", cfg.Tenants)}
		}
		problems = append(ts.Problems, tenants.Conflicts(cfg, ts)...)
	}
	found := app.Examine(cfg, ts, time.Now())
	problems = append(found.Problems, problems...)
	if cfg.Tenants != "" {
		if len(problems) == 0 {
			fmt.Fprintf(io.out, "%s: tenants in %s: %d\n", c.File, cfg.Tenants, len(ts.All))
		}
	}
	report, wrong := app.CheckPolicies(ctx, cfg)
	if problems = append(problems, wrong...); len(problems) > 0 {
		return problems
	}
	fmt.Fprintf(io.out, "%s: %s", c.File, report.Text)
	for _, note := range append(found.Notes, app.PolicyNotes(cfg, ts, report.Owners)...) {
		fmt.Fprintf(io.out, "%s: note: %s\n", c.File, note)
	}
	_, err = fmt.Fprintf(io.out, "%s: OK\n", c.File)
	return err
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

type referenceCmd struct{}

// Run prints the configuration file that shows every setting with its default.
func (referenceCmd) Run(io streams) error {
	_, err := io.out.Write(configs.Reference)
	return err
}
