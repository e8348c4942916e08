package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"sessionserver/wire/transcript"
)

type playCmd struct {
	File    string        `arg:"" help:"The transcript."`
	Addr    string        `default:"127.0.0.1:9090" placeholder:"ADDR" help:"The server's address (default ${default})."`
	Timeout time.Duration `default:"1m" help:"How long the conversation may take (default ${default})."`
}

// Run plays the transcript, and shows the conversation if a reply differs from it.
func (p *playCmd) Run(ctx context.Context, io streams) error {
	f, err := os.Open(p.File)
	if err != nil {
		return err
	}
	defer f.Close()
	script, err := transcript.Parse(p.File, f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	_, err = script.Play(ctx, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", p.Addr)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(io.out, "%s: the server at %s replies as written\n", p.File, p.Addr)
	return err
}
