package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// outputFlag adds -o text|json.
func outputFlag(c *cobra.Command, output *string) {
	c.Flags().VarP(&choice{output, "text", []string{"text", "json"}}, "output", "o", "text or json")
	*output = "text"
}

// choice is a flag with a few values.
type choice struct {
	value   *string
	initial string
	allowed []string
}

func (c *choice) String() string {
	if c.value == nil || *c.value == "" {
		return c.initial
	}
	return *c.value
}

func (c *choice) Set(s string) error {
	for _, a := range c.allowed {
		if s == a {
			*c.value = s
			return nil
		}
	}
	return fmt.Errorf("must be one of %v", c.allowed)
}

func (c *choice) Type() string { return "string" }

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// daemonError gives an error of the daemon or the kernel its exit code.
func daemonError(err error) error {
	var coded *exitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	var invalid *api.InvalidError
	if errors.As(err, &invalid) {
		return withCode(exitInvalid, err)
	}
	if errors.Is(err, api.ErrUnreachable) {
		err = fmt.Errorf("%w; is poplin running? `systemctl status poplin`", err)
	}
	return withCode(exitRuntime, err)
}
