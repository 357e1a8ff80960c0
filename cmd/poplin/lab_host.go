//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/lab"
	"github.com/poplin-net/poplin/schema"
)

func contextWithoutSignals(cmd *cobra.Command) context.Context {
	return context.WithoutCancel(cmd.Context())
}

// labError gives an error its exit code; documents that were refused are
// shown with all that is wrong with them.
func labError(cmd *cobra.Command, err error) error {
	var invalid *api.InvalidError
	if errors.As(err, &invalid) {
		schema.Diagnostics(invalid.Diagnostics).WriteText(cmd.ErrOrStderr(), false)
	}
	return daemonError(err)
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

func newLabStopCommand(name *string) *cobra.Command {
	drop := false
	cmd := newLabHostCommand(name, "stop", "End the daemon of a node with SIGTERM", func(c *lab.Client, ctx context.Context, node string) error {
		if drop {
			return c.Drop(ctx, node)
		}
		return c.Stop(ctx, node)
	})
	cmd.Long = `End the daemon of a node with SIGTERM. The lab keeps the descriptors of the udp tunnel and gives them to the
next daemon, as systemd does when it restarts a service.`
	cmd.Flags().BoolVar(&drop, "drop", false, "close those descriptors, as systemd does when it stops a service")
	return cmd
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
