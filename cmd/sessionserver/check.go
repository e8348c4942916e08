package main

import (
	"fmt"

	"sessionserver/configs"
)

type checkCmd struct {
	File string `arg:"" help:"The configuration file."`
}

// notes are what is not wrong and still unlikely to be meant.
func notes(cfg *configs.Config) []string {
	var notes []string
	for _, l := range cfg.Listen {
		if l.Anonymous == "" {
			notes = append(notes, fmt.Sprintf("listener %s has no anonymous identity: nobody can use sessions there, since credentials cannot be made yet", l.Name))
		}
	}
	return notes
}

// Run says everything that is wrong with the file, or that nothing is.
func (c *checkCmd) Run(io streams) error {
	cfg, err := configs.Load(c.File, inspect)
	if err != nil {
		return err
	}
	for _, note := range notes(cfg) {
		fmt.Fprintf(io.out, "%s: note: %s\n", c.File, note)
	}
	_, err = fmt.Fprintf(io.out, "%s: nothing is wrong with it\n", c.File)
	return err
}

type referenceCmd struct{}

// Run prints the configuration file that shows every setting with its default.
func (referenceCmd) Run(io streams) error {
	_, err := io.out.Write(configs.Reference)
	return err
}
