// Package command runs a command line: flags by kong, errors as one line,
// exit codes 0 (done), 1 (failed) and 2 (wrong use).
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// Env is what a command may use of the world. Its Run method takes an *Env.
type Env struct {
	Ctx            context.Context
	Stdout, Stderr io.Writer
}

// PrintJSON prints v as one line of JSON.
func (e *Env) PrintJSON(v any) error {
	enc := json.NewEncoder(e.Stdout)
	enc.SetEscapeHTML(false) // "image>text" is read by people too
	return enc.Encode(v)
}

// Program is a command line's name and help.
type Program struct {
	Name, Description string
	// Vars are replaced in the help of flags: ${name}.
	Vars map[string]string
}

// UsageError is a mistake in the command line that the parser cannot see.
type UsageError struct{ error }

// Wrong makes a UsageError.
func Wrong(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Run parses args into app, a pointer to a struct with kong's tags, runs the
// command that they name and returns the exit code.
func (p Program) Run(ctx context.Context, app any, args []string, stdout, stderr io.Writer) (code int) {
	exited := false
	parser, err := kong.New(app,
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.Vars(p.Vars),
		kong.Writers(stdout, stderr),
		kong.Exit(func(c int) { code, exited = c, true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // the tags are wrong
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exited { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v (see %s --help)\n", p.Name, err, p.Name)
		return 2
	}
	err = k.Run(&Env{Ctx: ctx, Stdout: stdout, Stderr: stderr})
	var wrong UsageError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "%s: %v (see %s --help)\n", p.Name, err, p.Name)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	return 0
}
