package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "poplin",
		Short: "The network that Kubernetes gives its nodes, for plain Linux hosts, from files in git",
		Long: `The network that Kubernetes gives its nodes, for plain Linux hosts, from files
in git and without a control plane.

Every flag can be given as an environment variable too: --state-dir is
POPLIN_STATE_DIR. Exit codes: 0 done, in sync; 1 differences; 2 usage;
3 invalid documents; 4 runtime error; 7 held back by a guard.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return flagsFromEnvironment(c.Flags()) },
	}
	root.AddCommand(
		// One line a command, in the order of the help page.
		newRunCommand(),
		newValidateCommand(),
		newPlanCommand(),
		newStatusCommand(),
		newExplainCommand(),
		newWaitCommand(),
		newStateCommand(),
		newExecCommand(),
		newEnvCommand(),
		newSchemaCommand(),
		newAllocateCommand(),
		newKeyCommand(),
		newReloadCommand(),
		newAckCommand(),
		newReleaseCommand(),
		newRekeyCommand(),
		newCleanupCommand(),
		newLabCommand(),
		newVersionCommand(),
	)
	return root
}

// flagsFromEnvironment sets each flag that was not given from its variable.
func flagsFromEnvironment(flags *pflag.FlagSet) error {
	var failure error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "POPLIN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, found := os.LookupEnv(name)
		if !found || f.Changed || failure != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			failure = withCode(exitUsage, fmt.Errorf("%s: %w", name, err))
		}
	})
	return failure
}
