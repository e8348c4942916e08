package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"sessionserver/configs"
)

// version is set by the build.
var version = "dev"

// commands are the subcommands, as kong reads them.
type commands struct {
	Serve     serveCmd     `cmd:"" help:"Run the server."`
	Check     checkCmd     `cmd:"" help:"Check a configuration file and print everything that is wrong with it."`
	Reference referenceCmd `cmd:"" help:"Print a configuration file with every setting and its default."`
	Tenant    tenantCmd    `cmd:"" help:"Create, list, show and delete tenants."`
	App       appCmd       `cmd:"" help:"Create, list, rotate and revoke the credentials of a tenant's apps."`
	Policy    policyCmd    `cmd:"" help:"Test policies, and explain what they decide."`
	DSN       dsnCmd       `cmd:"" name:"dsn" help:"Check a DSN."`
	Play      playCmd      `cmd:"" help:"Play a transcript against a running server."`
	Bench     benchCmd     `cmd:"" help:"Run session cycles against a running server and measure them."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

// streams are the input and output of a subcommand.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	// The first signal ends the subcommand in good order. A further one kills the process as usual, from before the
	// first one shows any effect.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run executes a command line and returns its exit status: 0 for success, 1 for failure, 2 for an invalid command
// line.
func run(ctx context.Context, args []string, io streams) (status int) {
	var cmds commands
	exited := -1
	parser, err := kong.New(&cmds,
		kong.Name("sessionserver"),
		kong.Description("Keeps web session data for many hosts, applications and programming languages."),
		kong.Writers(io.out, io.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(io),
		kong.UsageOnError(),
		kong.Help(usage),
	)
	if err != nil {
		panic(err) // a mistake in the struct above
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // for the program, or for the words that follow
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited >= 0: // help was printed
		return exited
	case err != nil:
		fmt.Fprintf(io.err, "sessionserver: %s\n", configs.Conceal(err.Error())) // it may show an argument
		return 2
	}
	if err := parsed.Run(); err != nil {
		if !errors.As(err, new(loggedError)) {
			fmt.Fprintln(io.err, configs.Conceal(err.Error()))
		}
		return 1
	}
	return 0
}

// loggedError is an error that is in the log already.
type loggedError struct{ error }

// usage prints the help of kong, which shows alternative required flags as if all of them were required.
func usage(options kong.HelpOptions, ctx *kong.Context) error {
	var text strings.Builder
	out := ctx.Stdout
	ctx.Stdout = &text
	err := kong.DefaultHelpPrinter(options, ctx)
	ctx.Stdout = out
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, strings.ReplaceAll(text.String(), " --config=FILE --dev ", " (--config=FILE | "+
		"--dev) "))
	return err
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(io streams) error {
	_, err := fmt.Fprintln(io.out, "sessionserver", version)
	return err
}
