package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/daemon"
)

func newStateCommand() *cobra.Command {
	var host hostFlags
	c := &cobra.Command{
		Use:   "state",
		Short: "Print what this host observes and knows, as a file for plan --state",
		Example: `  poplin state > node-1.json
  poplin plan --state node-1.json ~/checkout`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			state, err := api.NewClient(host.runDir).State(c.Context())
			if errors.Is(err, api.ErrUnreachable) {
				var o daemon.Options
				if o, err = host.options(); err == nil {
					state, err = daemon.StateLocal(c.Context(), o, host.config)
				}
			}
			if err != nil {
				return daemonError(err)
			}
			return withCode(exitRuntime, writeJSON(c.OutOrStdout(), state))
		},
	}
	host.register(c.Flags())
	return c
}

func readState(path string) (api.State, error) {
	var state api.State
	text, err := os.ReadFile(path)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return state, fmt.Errorf("%s: %w", path, err)
	}
	if state.Kind != "State" || state.APIVersion != api.APIVersion {
		return state, fmt.Errorf("%s: is no State of %s", path, api.APIVersion)
	}
	return state, nil
}
