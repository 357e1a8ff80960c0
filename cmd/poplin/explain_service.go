package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func newExplainServiceCommand() *cobra.Command {
	var output, runDir string
	c := &cobra.Command{
		Use:   "service [NAMESPACE/]NAME",
		Short: "Say on what a service answers, and why each endpoint is in or out",
		Long: `Say, as this node sees it, on which addresses and ports a service answers and
where each leads; each pod that it selects, or endpoint of its slices, with its
share of new connections and why it is in or out; and what the service comes
down to in nftables, with a ! before what the kernel does not have now. Each
line names the document that it comes from.

What is said of pods of other nodes is what those nodes announce; for the
reason, ask there.`,
		Example: "  poplin explain service default/web\n  poplin explain service web -o json | jq '.ports[].endpoints[] | select(.in | not)'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			namespace, name, found := strings.Cut(args[0], "/")
			if !found {
				namespace, name = "default", args[0]
			}
			e, err := api.NewClient(runDir).ExplainService(c.Context(), namespace, name)
			var unknown *api.UnknownError
			if errors.As(err, &unknown) {
				return withCode(exitUsage, err)
			}
			if err == nil && output == "json" {
				err = writeJSON(c.OutOrStdout(), e)
			} else if err == nil {
				err = writeServiceExplanation(c.OutOrStdout(), e)
			}
			return daemonError(err)
		},
	}
	outputFlag(c, &output)
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	return c
}
