//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab/bench"
)

// benchServicesOptions are the flags of lab bench services.
type benchServicesOptions struct {
	sizes     []string
	changes   int
	rounds    int
	while     time.Duration
	kubeProxy int
	quick     bool
	check     bool
	output    string
}

func newLabBenchServicesCommand(name *string) *cobra.Command {
	var o benchServicesOptions
	cmd := &cobra.Command{
		Use:   "services",
		Short: "Measure services at scale, beside kube-proxy's layout",
		Long: `Writes trees of services, a node of the lab for each size, and measures the way from documents to the kernel: a cold
load; an endpoint replaced, one added, a service added, as the daemon's log has them (reaction: from the snapshot of
the directory to the commit); memory; then connections from the node through the first, the middle and the last
service to a server on client, and without a service. kube-proxy's layout of the same services is loaded with nft -f
into a namespace of its own. Kernel time is what the daemon, or nft, spent in system calls.`,
		Example: "  poplin lab bench services\n  poplin lab bench services --services 10,1000x10 --changes 20 -o json\n  poplin lab bench services --quick",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.quick {
				o.makeQuick(cmd)
			}
			return benchServices(cmd, *name+"-bench", o)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.sizes, "services", []string{"10x1", "1000x10", "10000x10", "10000x1", "45000x1"}, "sizes, SERVICESxENDPOINTS; the smallest is what connections of the others are compared with")
	flags.IntVar(&o.changes, "changes", 100, "how many changes of each kind")
	flags.IntVar(&o.rounds, "rounds", 63, "how many rounds of connections")
	flags.DurationVar(&o.while, "while", 60*time.Millisecond, "how long each makes connections")
	flags.IntVar(&o.kubeProxy, "kube-proxy", 10000, "load kube-proxy's layout up to so many services: it takes the square of them")
	flags.BoolVar(&o.quick, "quick", false, "small sizes and few samples: to see that it works")
	flags.BoolVar(&o.check, "check", false, "exit with 1 if a floor is missed")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// makeQuick changes what was not said.
func (o *benchServicesOptions) makeQuick(cmd *cobra.Command) {
	for name, value := range map[string]string{"services": "4x1,50x3", "changes": "2", "rounds": "1", "while": "20ms", "kube-proxy": "50"} {
		if f := cmd.Flags().Lookup(name); !f.Changed {
			_ = f.Value.Set(value) // they are all valid
		}
	}
}

func benchServices(cmd *cobra.Command, name string, o benchServicesOptions) error {
	if o.output != "text" && o.output != "json" {
		return withCode(exitUsage, fmt.Errorf("--output %s: want text or json", o.output))
	}
	options := bench.Options{Name: name, Changes: o.changes, Rounds: o.rounds, While: o.while, KubeProxy: o.kubeProxy,
		Progress: func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) }}
	for _, text := range o.sizes {
		size, err := bench.ParseSize(strings.TrimSpace(text))
		if err != nil {
			return withCode(exitUsage, err)
		}
		options.Sizes = append(options.Sizes, size)
	}
	report, err := bench.Services(cmd.Context(), options)
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C: everything is removed
	}
	if err != nil {
		return withCode(exitRuntime, err)
	}
	if err := writeReport(cmd, report, o.output); err != nil {
		return err
	}
	if o.check && report.Missed() > 0 {
		return withCode(exitDifferences, errFloors)
	}
	return nil
}

// newLabBenchAgentCommand is what the bench runs inside the hosts of its lab.
func newLabBenchAgentCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "agent", Hidden: true, Args: cobra.NoArgs}
	add := func(use string, args int, run func(ctx context.Context, args []string) (any, error)) {
		check := cobra.ExactArgs(args)
		if args < 0 {
			check = cobra.MinimumNArgs(1)
		}
		cmd.AddCommand(&cobra.Command{Use: use, Args: check, RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := run(cmd.Context(), args)
			if err != nil {
				return withCode(exitRuntime, err)
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
		}})
	}
	add("usage", 0, func(context.Context, []string) (any, error) { return bench.ReadUsage() })
	add("far", 0, func(ctx context.Context, _ []string) (any, error) { return nil, bench.Far(ctx) })
	add("near", -1, func(ctx context.Context, args []string) (any, error) { return bench.Near(ctx, args) })
	add("serve", 1, func(ctx context.Context, args []string) (any, error) { return nil, bench.Serve(ctx, args[0]) })
	add("connect", 2, func(ctx context.Context, args []string) (any, error) {
		while, err := time.ParseDuration(args[1])
		if err != nil {
			return nil, err
		}
		return bench.Connect(ctx, args[0], while)
	})
	add("names", 1, func(ctx context.Context, args []string) (any, error) { return nil, bench.Names(ctx, args[0]) })
	add("resident", 1, func(_ context.Context, args []string) (any, error) { return bench.Resident(args[0]) })
	add("ask", -1, askAgent)
	add("kube-proxy", 1, func(ctx context.Context, args []string) (any, error) {
		size, err := bench.ParseSize(args[0])
		if err != nil {
			return nil, err
		}
		var l bench.Loads
		l.Load, l.Replace, err = bench.LoadKubeProxy(ctx, size)
		return l, err
	})
	return cmd
}

// askAgent is ask SERVER FILE RATE WHILE.
func askAgent(ctx context.Context, args []string) (any, error) {
	if len(args) != 4 {
		return nil, errors.New("want SERVER FILE RATE WHILE")
	}
	rate, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return nil, err
	}
	while, err := time.ParseDuration(args[3])
	if err != nil {
		return nil, err
	}
	return bench.Ask(ctx, args[0], args[1], rate, while)
}
