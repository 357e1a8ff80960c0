//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab/bench"
)

func newLabBenchDNSCommand(name *string) *cobra.Command {
	var o bench.DNSOptions
	var check bool
	var output string
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Measure DNS, beside unbound and dnsmasq",
		Long: `Makes a node of the lab for each number of services, and asks its DNS from the node: names of the cluster, names that
are not there, names outside that are cached. unbound and dnsmasq, where they are installed, have the same names and
are asked in turns. Queries a second are under full load, with dnsperf if there is one; latencies at half of that,
with a generator of poplin's own. The floor is half the rate of unbound.`,
		Example: "  poplin lab bench dns\n  poplin lab bench dns --services 100 --rounds 3 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name = *name + "-bench"
			o.Progress = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) }
			return benchDNS(cmd, o, check, output)
		},
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&o.Services, "services", []int{100, 10000}, "numbers of services")
	flags.IntVar(&o.Rounds, "rounds", 5, "how many rounds")
	flags.DurationVar(&o.While, "while", 2*time.Second, "how long each measurement takes")
	flags.BoolVar(&check, "check", false, "exit with 1 if a floor is missed")
	outputFlag(cmd, &output)
	return cmd
}

func benchDNS(cmd *cobra.Command, o bench.DNSOptions, check bool, output string) error {
	report, err := bench.DNS(cmd.Context(), o)
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C: everything is removed
	}
	if err != nil {
		return withCode(exitRuntime, err)
	}
	if err := writeReport(cmd, report, output); err != nil {
		return withCode(exitRuntime, err)
	}
	if check && report.Missed() > 0 {
		return withCode(exitDifferences, errFloors)
	}
	return nil
}
