package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/daemon"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

func newPlanCommand() *cobra.Command {
	var host hostFlags
	var output, stateFile string
	var verbose, code bool
	c := &cobra.Command{
		Use:     "plan [DIR]",
		Aliases: []string{"diff"},
		Short:   "Show what would change on this host, without touching anything",
		Long: `Show what would change on this host, without touching anything: with the
documents of DIR, or those of the daemon's directory. The daemon answers if
it runs; else the kernel and the state directory are read directly, and with
--state the file that poplin state wrote on any host.

Exit code 0: in sync; 1: there are differences.`,
		Example: `  poplin plan
  poplin plan ~/checkout -v
  poplin plan --state node-2.json ~/checkout     # for another host, as any user`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := ""
			if len(args) == 1 {
				dir = args[0]
			}
			node := ""
			if c.Flags().Changed("node") {
				node = host.node
			}
			plan, err := makePlan(c, &host, dir, stateFile, node)
			if err != nil {
				return planError(c.OutOrStdout(), err)
			}
			if output == "json" {
				err = writeJSON(c.OutOrStdout(), plan)
			} else {
				err = writePlan(c.OutOrStdout(), plan, verbose)
			}
			if err == nil && code && len(plan.Operations) > 0 {
				return silently(exitDifferences)
			}
			return withCode(exitRuntime, err)
		},
	}
	host.register(c.Flags())
	outputFlag(c, &output)
	c.Flags().StringVar(&stateFile, "state", "", "plan for the host whose state is in this file (see poplin state)")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every object")
	c.Flags().BoolVar(&code, "exit-code", true, "exit with 1 if there are differences")
	return c
}

// makePlan asks the daemon, a state file or the kernel.
func makePlan(c *cobra.Command, host *hostFlags, dir, stateFile, node string) (api.Plan, error) {
	if stateFile != "" {
		if dir == "" {
			dir = host.config
		}
		state, err := readState(stateFile)
		if err != nil {
			return api.Plan{}, err
		}
		return daemon.PlanOffline(state, dir, node)
	}
	var tree *api.Tree
	if dir != "" {
		read, err := source.Read(dir)
		if err != nil {
			return api.Plan{}, err
		}
		tree = &api.Tree{Revision: read.Label(), Digest: read.Digest, Files: read.Files}
	}
	plan, err := api.NewClient(host.runDir).Plan(c.Context(), tree)
	if !errors.Is(err, api.ErrUnreachable) {
		return plan, err
	}
	o, err := host.options()
	if err != nil {
		return api.Plan{}, err
	}
	if dir == "" {
		dir = host.config
	}
	return daemon.PlanLocal(c.Context(), o, dir)
}

// planError prints the diagnostics of invalid documents.
func planError(w io.Writer, err error) error {
	var invalid *api.InvalidError
	if !errors.As(err, &invalid) {
		return daemonError(err)
	}
	schema.Diagnostics(invalid.Diagnostics).WriteText(w, false)
	return withCode(exitInvalid, fmt.Errorf("the documents are invalid: nothing is planned"))
}
