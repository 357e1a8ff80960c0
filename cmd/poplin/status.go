package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func newStatusCommand() *cobra.Command {
	var output, runDir string
	var watch, check bool
	c := &cobra.Command{
		Use:   "status [peers|pods|services|overlay|dns]",
		Short: "Show this node, its peers, the revision and what stands in the way",
		Long: `Show this node, its peers, the revision and what stands in the way.

status peers has a line for each other node: where it is, the subnets it has,
the revision it follows, how many of its pods are ready, when it was last heard.

status pods has this node's pods: their addresses, network namespaces, and why
one is not ready.

status overlay has the backend, and packets and bytes to and from each peer.

status services has a line for each address and port on which a service
answers: the endpoints that take connections, of how many, and what went
through this node since the frontend was made: connections that got an
endpoint, and their packets and bytes in both directions. -o json has the
counters as numbers, under serviceList[].frontends[].counters.

status dns shows the size of the zone, what was asked and answered since the
daemon was started, the cache, the upstreams and how they are.`,
		Example:   "  poplin status\n  poplin status services\n  poplin status --check   # 0 in sync, 1 not, 3 revision rejected",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"peers", "pods", "services", "overlay", "dns"},
		RunE: func(c *cobra.Command, args []string) error {
			part := ""
			if len(args) == 1 {
				part = args[0]
			}
			show := func(s api.Status) error {
				if output == "json" {
					return writeJSON(c.OutOrStdout(), s)
				}
				return writeStatus(c.OutOrStdout(), s, part, time.Now())
			}
			client := api.NewClient(runDir)
			ask := client.Status
			if part == "services" {
				ask = client.StatusCounted
			}
			if watch {
				return daemonError(watchStatus(c.Context(), client, c.OutOrStdout(), func(api.Status) error {
					s, err := ask(c.Context())
					if err == nil {
						err = show(s)
					}
					return err
				}))
			}
			s, err := ask(c.Context())
			if err == nil {
				err = show(s)
			}
			if err != nil || !check {
				return daemonError(err)
			}
			return checkStatus(s)
		},
	}
	outputFlag(c, &output)
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	c.Flags().BoolVar(&watch, "watch", false, "show it again whenever something changes, until interrupted")
	c.Flags().BoolVar(&check, "check", false, "exit with 1 if the host is not in sync, 3 if the revision is rejected, 7 if it is held back")
	return c
}

func checkStatus(s api.Status) error {
	switch {
	case s.Rejected != nil:
		return silently(exitInvalid)
	case s.HeldBack != nil:
		return silently(exitHeldBack)
	case !s.InSync:
		return silently(exitDifferences)
	}
	return nil
}

// watchInterval is how often --watch and wait look.
const watchInterval = 100 * time.Millisecond

// watchStatus shows the status each time that it says something new.
func watchStatus(ctx context.Context, client *api.Client, w io.Writer, show func(api.Status) error) error {
	last := ""
	for {
		s, err := client.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if now := statusSummary(s); now != last {
			last = now
			fmt.Fprintf(w, "── %s\n", time.Now().Format(time.TimeOnly))
			if err := show(s); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

// statusSummary is what --watch compares: all that is no clock.
func statusSummary(s api.Status) string {
	for i := range s.Peers {
		s.Peers[i].Seen = nil
	}
	s.Rounds = 0
	s.Overlay.Peers, s.DNS = nil, nil
	return fmt.Sprintf("%+v", s)
}
