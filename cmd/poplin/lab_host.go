//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

func contextWithoutSignals(cmd *cobra.Command) context.Context {
	return context.WithoutCancel(cmd.Context())
}

// runtimeCode gives an error the code of run-time errors, if it has none of
// its own.
func runtimeCode(err error) error {
	var coded *exitError
	if errors.As(err, &coded) {
		return err
	}
	return withCode(exitRuntime, err)
}

// newLabHostCommand makes a command that does one thing to one host.
func newLabHostCommand(name *string, use, short string, do func(*lab.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:     use + " NODE",
		Short:   short,
		Example: "  poplin lab " + use + " node-3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := lab.Open(*name)
			if err == nil {
				err = do(client, cmd.Context(), args[0])
			}
			return withCode(exitRuntime, err)
		},
	}
}

func newLabLogsCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:     "logs NODE",
		Short:   "Print what the daemon of a node has logged",
		Example: "  poplin lab logs node-1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withCode(exitRuntime, copyLog(cmd, *name, args[0]))
		},
	}
}

func copyLog(cmd *cobra.Command, name, node string) error {
	client, err := lab.Open(name)
	if err != nil {
		return err
	}
	info, err := client.Info(cmd.Context())
	if err != nil {
		return err
	}
	if !info.Has(node) {
		return fmt.Errorf("no host %q in lab %s", node, name)
	}
	directory, err := lab.OpenDirectory(name)
	if err != nil {
		return err
	}
	file, err := os.Open(directory.Log(node))
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(cmd.OutOrStdout(), file)
	return err
}
