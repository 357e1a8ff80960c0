//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

// upOptions are the flags of lab up.
type upOptions struct {
	name      string
	dir       string
	nodes     int
	backend   string
	detach    bool
	trees     []string // NODE=DIR
	noServers bool
	noDaemon  bool
	timeout   time.Duration
}

func newLabUpCommand(name *string) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up DIR",
		Short: "Start a lab on a directory of documents",
		Long: `Starts the nodes and client, an outside host, and waits until all are in sync. The nodes are those of the tree's Node
documents, else node-1, node-2, … . The directory is used in place: editing it is what a sync would do. Without
--detach it stays, shows state as it changes, and removes everything on Ctrl-C. The nodes run the exec probes of the
documents (run --exec-probes), as the user who starts the lab.`,
		Example: "  poplin lab up examples/quickstart\n  poplin lab up --detach --nodes 5 --backend host-gw DIR",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = *name
			if len(args) == 1 {
				o.dir = args[0]
			} else if !o.noDaemon {
				return errors.New("which directory? usage: poplin lab up DIR")
			}
			return labError(cmd, up(cmd, o))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.nodes, "nodes", 3, "how many nodes, where the tree names none")
	flags.StringVar(&o.backend, "backend", "", "overlay backend in place of the tree's: udp, vxlan, host-gw, wireguard or none; the lab then works on a copy of the tree")
	flags.BoolVar(&o.detach, "detach", false, "leave the lab running and return")
	flags.StringArrayVar(&o.trees, "tree", nil, "NODE=DIR gives one node a directory of its own")
	flags.BoolVar(&o.noServers, "no-servers", false, "don't answer on the ports that pods declare")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait until all nodes are in sync")
	flags.BoolVar(&o.noDaemon, "no-daemon", false, "hosts and underlay only")
	_ = flags.MarkHidden("no-daemon") // fails for unknown names only
	return cmd
}

// up starts a lab, waits for it, and stays with it if it is not to be
// detached.
func up(cmd *cobra.Command, o upOptions) error {
	started := time.Now()
	spec, err := o.plan()
	if err != nil {
		return err
	}
	launched, err := lab.Launch(cmd.Context(), &spec)
	if err != nil {
		return err
	}
	defer launched.Close()
	client, err := lab.Open(o.name)
	if err != nil {
		return err
	}
	w := &labWatcher{client: client, lab: spec, started: started, seen: map[string]nodeRow{}}
	err = w.waitInSync(cmd.Context(), launched.Gone(), o.timeout)
	if !errors.Is(err, context.Canceled) {
		err = errors.Join(err, showLab(cmd.OutOrStdout(), o, w))
		if o.detach {
			return err
		}
		if err != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "poplin:", err)
		}
		err = w.follow(cmd.Context(), launched.Gone(), cmd.OutOrStdout())
	}
	if errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is how this ends
	}
	_, downErr := lab.Down(o.name)
	return errors.Join(err, downErr)
}

// showLab prints what there is and what to try.
func showLab(out io.Writer, o upOptions, w *labWatcher) error {
	if err := writeLab(out, w.lab, w.seen); err != nil {
		return err
	}
	config, err := lab.ReadTree(o.dir)
	if err != nil {
		config = nil // it was edited meanwhile; the nodes' state says so
	}
	writeLabHints(out, o, w.lab, labServices{config})
	return nil
}

// plan turns the flags into a lab.
func (o upOptions) plan() (lab.Lab, error) {
	options := lab.Options{
		Name: o.name, Tree: o.dir, Trees: map[string]string{}, Count: o.nodes, NoDaemon: o.noDaemon,
		Servers: !o.noServers, Detached: o.detach, Backend: o.backend, Env: os.Environ(),
	}
	if backends := []string{"udp", "vxlan", "host-gw", "wireguard", "none"}; o.backend != "" && !slices.Contains(backends, o.backend) {
		return lab.Lab{}, withCode(exitUsage, fmt.Errorf("--backend %s: want %s", o.backend, strings.Join(backends, ", ")))
	}
	for _, t := range o.trees {
		node, dir, found := strings.Cut(t, "=")
		if !found {
			return lab.Lab{}, withCode(exitUsage, fmt.Errorf("--tree %s: want NODE=DIR", t))
		}
		options.Trees[node] = dir
	}
	return lab.Plan(options)
}
