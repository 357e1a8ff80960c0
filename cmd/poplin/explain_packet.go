package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func newExplainPacketCommand() *cobra.Command {
	var output, runDir, from, to string
	c := &cobra.Command{
		Use:   "packet --to ADDRESS:PORT[/udp|/sctp] [--from POD|NODE|ADDRESS]",
		Short: "Follow a packet through this node's rules and routes to the endpoints",
		Long: `Follow the first packet of a connection through the rules and routes that
this node's kernel has now: which elements it meets, which endpoints it can
reach with which chances, whether it keeps its source address; or why it is
refused, dropped or lost.

The sender is a pod (NAMESPACE/NAME), a node, or any address; without --from it
is this host. An ADDRESS without a port stands for a ping. The packet is one
that sees this node's rules first: those of another node are explained there.
Rules of others (a firewall, say) are not looked at.`,
		Example: `  poplin explain packet --from default/client --to 10.96.0.10:80
  poplin explain packet --to 10.96.0.10:53/udp             # from this host
  poplin explain packet --from 198.51.100.7 --to 192.0.2.1:30080 -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			target, err := api.ParsePacketTarget(to)
			if err != nil {
				return withCode(exitUsage, fmt.Errorf("--to: %w", err))
			}
			trace, err := api.NewClient(runDir).ExplainPacket(c.Context(), api.PacketQuery{From: from, To: target})
			var unknown *api.UnknownError
			if errors.As(err, &unknown) {
				return withCode(exitUsage, err)
			}
			if err != nil {
				return daemonError(err)
			}
			if output == "json" {
				return withCode(exitRuntime, writeJSON(c.OutOrStdout(), trace))
			}
			return withCode(exitRuntime, writePacket(c.OutOrStdout(), trace))
		},
	}
	outputFlag(c, &output)
	c.Flags().StringVar(&from, "from", "", "who sends: a pod, a node, an address; nobody named is this host")
	c.Flags().StringVar(&to, "to", "", "where to: ADDRESS:PORT, with /udp or /sctp; ADDRESS alone is a ping")
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	if err := c.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return c
}

// writePacket prints the elements that a packet meets, then where it
// gets to.
func writePacket(w io.Writer, trace api.PacketExplanation) error {
	sender := cmp.Or(trace.From.Pod, trace.From.Node)
	if sender != "" {
		sender += " "
	}
	fmt.Fprintf(w, "packet %s%s → %s  on %s\n", sender, trace.From.Address, trace.To, trace.Node)
	steps := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range trace.Steps {
		next, found := strings.CutPrefix(s.Verdict, "goto ")
		if !found && next != "redirect" || len(s.Elements) == 0 {
			continue
		}
		e := s.Elements[len(s.Elements)-1] // the others only let it through
		fmt.Fprintf(steps, "  %s\t%s\t%s → %s\t%s\n", s.Hook, e.Set, e.Key, next, groupText(e.Group, e.Origin))
	}
	if err := steps.Flush(); err != nil {
		return err
	}
	ways := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, way := range trace.Ways {
		writePacketWay(ways, trace, way)
	}
	if err := ways.Flush(); err != nil {
		return err
	}
	for _, note := range trace.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	return nil
}

func writePacketWay(w io.Writer, trace api.PacketExplanation, way api.PacketWay) {
	fmt.Fprintf(w, "  %s", percent(way.Share))
	switch way.Outcome {
	case "forwarded", "delivered":
	default:
		fmt.Fprintf(w, "  %s: %s\n", way.Outcome, way.Reason)
		return
	}
	to := way.Destination.String()
	if way.Destination.Port() == 0 {
		to = way.Destination.Addr().String()
	}
	source := "source kept"
	if way.Masqueraded {
		source = "source becomes " + way.Source.String()
	}
	fmt.Fprintf(w, "\t%s\t%s\t%s\t%s", to, orDash(cmp.Or(way.Endpoint.Pod, way.Endpoint.Node)), wayOut(trace, way), source)
	if way.Reason != "" {
		fmt.Fprintf(w, "\t%s", way.Reason)
	}
	fmt.Fprintln(w)
}

// wayOut says how a packet leaves the node.
func wayOut(trace api.PacketExplanation, way api.PacketWay) string {
	switch {
	case way.Outcome == "delivered":
		return "this host"
	case way.Endpoint.Node != "" && way.Endpoint.Node != trace.Node:
		return way.Link + " → " + way.Endpoint.Node
	case way.Gateway != nil:
		return way.Link + " → " + way.Gateway.String()
	}
	return way.Link
}

// percent writes a share with two digits that count.
func percent(share float64) string {
	switch p := 100 * share; {
	case p >= 9.95:
		return fmt.Sprintf("%3.0f %%", p)
	default:
		return fmt.Sprintf("%3.1f %%", p)
	}
}

// groupText names what asks for something, and where that stands.
func groupText(group string, o api.Origin) string {
	if o.File == "" {
		return group
	}
	return fmt.Sprintf("%s (%s:%d)", group, o.File, o.Line)
}
