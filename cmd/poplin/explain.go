package main

import "github.com/spf13/cobra"

// newExplainCommand holds the commands that say why something is as it is.
func newExplainCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say why a service has the endpoints that it has, and where packets go",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(
		// One line a command, in the order of the help page.
		newExplainServiceCommand(),
		newExplainPacketCommand(),
	)
	return c
}
