package main

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/daemon"
)

// newControlCommand makes a command that asks one thing of the daemon.
func newControlCommand(use, short, example string, args cobra.PositionalArgs, ask func(context.Context, *api.Client, []string) error) *cobra.Command {
	var runDir string
	c := &cobra.Command{
		Use: use, Short: short, Example: "  " + example, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			return daemonError(ask(c.Context(), api.NewClient(runDir), args))
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	return c
}

func newReloadCommand() *cobra.Command {
	return newControlCommand("reload", "Have the daemon read everything again now", "poplin reload", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error { return c.Reload(ctx) })
}

func newAckCommand() *cobra.Command {
	return newControlCommand("ack REVISION", "Let a revision through, on this node, that a guard holds back", "poplin ack main@4f2c9e1", cobra.ExactArgs(1),
		func(ctx context.Context, c *api.Client, args []string) error { return c.Ack(ctx, args[0]) })
}

func newReleaseCommand() *cobra.Command {
	var yes bool
	var c *cobra.Command
	c = newControlCommand("release NODE|SUBNET", "Free the claims of a node, or the claim of a subnet", "poplin release node-9", cobra.ExactArgs(1),
		func(ctx context.Context, client *api.Client, args []string) error {
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			if node := aliveOwner(status, args[0]); node != "" && !yes {
				if !confirmed(c, node+" is alive, and its pods would not be reached any more. Release all the same?") {
					return fmt.Errorf("nothing was released: %s is alive (--yes does not ask)", node)
				}
			}
			return client.Release(ctx, args[0])
		})
	c.Long = `Free the claims of a node, or the claim of a subnet: of a node that is gone for
good, or to give a node another subnet.

A node that is alive loses its subnet too, so for one the command asks first.
Its pods keep their addresses, but the other nodes do not reach them any more,
until their documents are taken out and put back: the node then claims a subnet
anew.`
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// aliveOwner names the node that is meant, or has the subnet, if it is alive.
func aliveOwner(s api.Status, what string) (node string) {
	subnet, _ := netip.ParsePrefix(what)
	is := func(p netip.Prefix) bool { return p == subnet.Masked() }
	if s.Node == what || slices.ContainsFunc(s.Claims, func(c api.Claim) bool { return is(c.Subnet) }) {
		return s.Node
	}
	for _, p := range s.Peers {
		if p.State == "alive" && (p.Name == what || slices.ContainsFunc(p.Subnets, is)) {
			return p.Name
		}
	}
	return ""
}

func newRekeyCommand() *cobra.Command {
	c := newControlCommand("rekey", "Make another WireGuard key for this node", "poplin rekey", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error { return c.Rekey(ctx) })
	c.Long = `Make another WireGuard key for this node. The other nodes hear the public part
within a second; until then packets wait, or are sent again. A node whose key
stands in its Node document is refused: take it out first.`
	return c
}

func newCleanupCommand() *cobra.Command {
	var host hostFlags
	var yes, sysctls bool
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove from this host all that poplin made",
		Long: `Remove from this host all that poplin made: links, pods' namespaces, routes,
nftables tables, and the state directory's records of them. Kernel settings
that nobody changed since are put back; ip_forward only with
--restore-sysctls, since other software of the host may have come to need it.
The daemon must not run.`,
		Example: "  systemctl stop poplin && poplin cleanup --yes",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := host.options()
			if err != nil {
				return err
			}
			if _, err := api.NewClient(o.RunDir).Status(c.Context()); err == nil {
				return withCode(exitRuntime, fmt.Errorf("the daemon runs and would put everything back: stop it first"))
			}
			if !yes && !confirmed(c, "Remove poplin's links, namespaces, routes and tables from this host?") {
				return withCode(exitRuntime, fmt.Errorf("nothing was removed"))
			}
			return withCode(exitRuntime, daemon.Cleanup(c.Context(), o, sysctls))
		},
	}
	host.register(c.Flags())
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&sysctls, "restore-sysctls", false, "put ip_forward back, too")
	return c
}

func confirmed(c *cobra.Command, question string) bool {
	fmt.Fprint(c.ErrOrStderr(), question, " [y/N] ")
	line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
