package main

import (
	"github.com/spf13/cobra"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "poplin",
		Short:         "The network that Kubernetes gives its nodes, for plain Linux hosts, from files in git",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		// One line a command, in the order of the help page.
		newValidateCommand(),
		newSchemaCommand(),
		newAllocateCommand(),
		newLabCommand(),
	)
	return root
}
