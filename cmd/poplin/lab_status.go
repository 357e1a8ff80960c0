//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

func newLabStatusCommand(name *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what every node's daemon says",
		Example: "  poplin lab status\n  poplin lab status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := lab.Open(*name)
			if err != nil {
				return withCode(exitRuntime, err)
			}
			if output == "json" {
				return withCode(exitRuntime, labStatusJSON(cmd, client))
			}
			return withCode(exitRuntime, labStatusText(cmd, client))
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// labStatusJSON prints a list of the nodes' Status documents. A node without
// an answer is there too, with what is wrong as a problem.
func labStatusJSON(cmd *cobra.Command, client *lab.Client) error {
	info, err := client.Info(cmd.Context())
	if err != nil {
		return err
	}
	list := []api.Status{}
	for _, h := range info.Hosts {
		if len(h.Daemon) == 0 {
			continue
		}
		status, err := client.Status(cmd.Context(), h.Name)
		if err != nil {
			status = api.Status{APIVersion: api.APIVersion, Kind: "Status", Node: h.Name, Problems: []api.Problem{
				{What: fmt.Sprintf("daemon %s: %v", h.DaemonState, err), Remedy: "poplin lab start " + h.Name},
			}}
		}
		list = append(list, status)
	}
	return writeJSON(cmd.OutOrStdout(), list)
}

// labStatusText prints what `poplin status` prints on each node.
func labStatusText(cmd *cobra.Command, client *lab.Client) error {
	info, err := client.Info(cmd.Context())
	if err != nil {
		return err
	}
	for i, h := range info.Hosts {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		if err := labHostText(cmd, client, h); err != nil {
			return err
		}
	}
	return nil
}

func labHostText(cmd *cobra.Command, client *lab.Client, h lab.HostInfo) error {
	out := cmd.OutOrStdout()
	if h.Cut {
		fmt.Fprintf(out, "%s · cut off the underlay\n", h.Name)
	}
	if len(h.Daemon) == 0 {
		_, err := fmt.Fprintf(out, "%s · no daemon · %s\n", h.Name, joinText(h.Addresses))
		return err
	}
	status, err := client.Status(cmd.Context(), h.Name)
	if err != nil {
		_, err = fmt.Fprintf(out, "%s · daemon %s · %v\n", h.Name, h.DaemonState, err)
		return err
	}
	return writeStatus(out, status, "", time.Now())
}
