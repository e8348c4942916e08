package main

import (
	"fmt"

	"sessionserver/configs"
)

type checkCmd struct {
	File string `arg:"" help:"The configuration file."`
}

// Run says everything that is wrong with the file, or that nothing is.
func (c *checkCmd) Run(io streams) error {
	cfg, err := configs.Load(c.File)
	if err != nil {
		return err
	}
	if problems := inspect(cfg); len(problems) > 0 {
		return problems
	}
	_, err = fmt.Fprintf(io.out, "%s: nothing is wrong with it\n", c.File)
	return err
}
