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
	if _, err := configs.Load(c.File, inspect); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.out, "%s: nothing is wrong with it\n", c.File)
	return err
}
