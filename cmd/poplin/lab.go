//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

func newLabCommand() *cobra.Command {
	name := lab.DefaultName
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A cluster of network namespaces on this machine, with real daemons",
		Long: `A cluster on this machine: each node is a set of namespaces with a private /run and /var/lib, all nodes are
on one underlay with an outside host called client, and each runs the real daemon on the same directory.
Nothing of this machine's network is touched. Needs root, or user namespaces.`,
		Example: "  poplin lab up examples/quickstart\n  poplin lab exec node-1 -- poplin status\n  poplin lab down",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&name, "name", name, "name of the lab")
	cmd.AddCommand(
		newLabUpCommand(&name),
		newLabExecCommand(&name),
		newLabStatusCommand(&name),
		newLabLogsCommand(&name),
		newLabStopCommand(&name),
		newLabHostCommand(&name, "kill", "End the daemon of a node with SIGKILL", (*lab.Client).Kill),
		newLabHostCommand(&name, "start", "Start the daemon of a node again", (*lab.Client).Start),
		newLabHostCommand(&name, "cut", "Take a node off the underlay; it keeps its addresses and routes", (*lab.Client).Cut),
		newLabHostCommand(&name, "mend", "Put a node back on the underlay", (*lab.Client).Mend),
		newLabDownCommand(&name),
		newLabBenchCommand(&name),
		newLabKeeperCommand(),
		newLabFirstCommand(),
	)
	return cmd
}

func newLabDownCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:     "down",
		Short:   "Remove a lab, also after a crash; removing what is not there is fine",
		Example: "  poplin lab down --name lab",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed, err := lab.Down(*name)
			if err != nil {
				return withCode(exitRuntime, err)
			}
			if !removed {
				fmt.Fprintf(cmd.ErrOrStderr(), "lab %s: nothing to remove\n", *name)
			}
			return nil
		},
	}
}

// newLabKeeperCommand is what the lab starts itself with; see lab.RunKeeper.
func newLabKeeperCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keeper", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			return withCode(exitRuntime, lab.RunKeeper(cmd.Context(), log))
		},
	}
}

// newLabFirstCommand is process 1 of a host; see lab.RunFirst.
func newLabFirstCommand() *cobra.Command {
	return &cobra.Command{
		Use: "first", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return withCode(exitRuntime, lab.RunFirst())
		},
	}
}

func newLabExecCommand(name *string) *cobra.Command {
	var pod string
	cmd := &cobra.Command{
		Use:   "exec NODE [--pod [NAMESPACE/]NAME] -- COMMAND [ARG]...",
		Short: "Run a command in a host of the lab, or in a pod",
		Long: `Runs a command in a host of the lab (a node, or client), or in a pod on it. Standard streams and the exit code
pass through; 125 is a failure of this command itself, 126 a command that cannot be run, 127 one that is not there.`,
		Example: "  poplin lab exec node-1 -- ip route\n  poplin lab exec node-1 --pod default/web-1 -- curl -s http://10.96.0.10",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return withCode(lab.CodeFailed, errors.New("usage: poplin lab "+cmd.Use))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			signals := make(chan os.Signal, 8)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
				syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
			client, err := lab.Open(*name)
			if err != nil {
				return withCode(lab.CodeFailed, err)
			}
			dir, err := os.Getwd()
			if err != nil {
				dir = "/"
			}
			// Not the command's context: an interrupt is the command's to
			// handle, and its exit code is awaited.
			code, err := client.Exec(contextWithoutSignals(cmd), lab.Command{
				Host: args[0], Pod: pod, Args: args[1:], Env: os.Environ(), Dir: dir,
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
			})
			if err == nil && code == 0 {
				return nil
			}
			return &exitError{code, err}
		},
	}
	cmd.Flags().StringVar(&pod, "pod", "", "run it in this pod on the node")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(lab.CodeFailed, err) })
	return cmd
}
