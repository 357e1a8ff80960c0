//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

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
			switch output {
			case "text":
				return withCode(exitRuntime, labStatusText(cmd, client))
			case "json":
				return withCode(exitRuntime, labStatusJSON(cmd, client))
			}
			return fmt.Errorf("-o %s: want text or json", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json (a list of Status)")
	return cmd
}

// labStatusJSON prints a list of the nodes' Status documents. A node without
// an answer is there too, with its name and the error.
func labStatusJSON(cmd *cobra.Command, client *lab.Client) error {
	info, err := client.Info(cmd.Context())
	if err != nil {
		return err
	}
	list := []json.RawMessage{}
	for _, h := range info.Hosts {
		if len(h.Daemon) == 0 {
			continue
		}
		out, err := client.Output(cmd.Context(), h.Name, "poplin", "status", "-o", "json")
		if err != nil || !json.Valid(out) {
			out, err = json.Marshal(map[string]any{
				"apiVersion": "poplin/v1alpha1", "kind": "Status", "node": h.Name,
				"ready": false, "inSync": false, "error": fmt.Sprint(h.DaemonState, ": ", err),
			})
		}
		if err != nil {
			return err
		}
		list = append(list, out)
	}
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
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
	note := ""
	if h.Cut {
		note = " · cut off the underlay"
	}
	if len(h.Daemon) == 0 {
		_, err := fmt.Fprintf(out, "%s · no daemon%s · %s\n", h.Name, note, h.Addresses)
		return err
	}
	if h.DaemonState != "running" {
		_, err := fmt.Fprintf(out, "%s · daemon %s%s\n", h.Name, h.DaemonState, note)
		return err
	}
	text, err := client.Output(cmd.Context(), h.Name, "poplin", "status")
	if err != nil {
		_, err = fmt.Fprintf(out, "%s · %v%s\n", h.Name, err, note)
		return err
	}
	if note != "" {
		fmt.Fprintf(out, "%s%s\n", h.Name, note)
	}
	_, err = io.WriteString(out, string(text))
	return err
}
