//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab/bench"
)

// benchOverlayOptions are the flags of lab bench overlay.
type benchOverlayOptions struct {
	paths  []string
	only   []string
	rounds int
	while  time.Duration
	check  bool
	output string
}

func newLabBenchOverlayCommand(name *string) *cobra.Command {
	var o benchOverlayOptions
	cmd := &cobra.Command{
		Use:   "overlay",
		Short: "Measure the backends from pod to pod, beside plain routes and kernel VXLAN",
		Long: `Makes a lab of two nodes for each path between two pods: plain routes and a VXLAN device, set up by hand and without
a daemon, and poplin's backends. Measures all in turns: TCP (with iperf3 if there is one), UDP datagrams at the highest
rate at which at most 1 % is lost, round trips of a byte over TCP, and the processor time of both ends and the daemons
per gigabyte; after a transfer that compares hashes. Floors of the udp backend are against kernel VXLAN.`,
		Example: "  poplin lab bench overlay\n  poplin lab bench overlay --paths kernel-vxlan,udp,udp:-gso:-gro -o json\n" +
			"  poplin lab bench overlay --paths kernel-vxlan,udp --only trip --while 300ms --rounds 20",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return benchOverlay(cmd, *name+"-bench", o) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.paths, "paths", bench.OverlayPaths(), "what to measure; udp:-NAME turns offloads off, see poplin run --overlay-offloads")
	flags.StringSliceVar(&o.only, "only", nil, "measure only some of "+strings.Join(bench.Measurements(), ", "))
	flags.IntVar(&o.rounds, "rounds", 5, "how many rounds")
	flags.DurationVar(&o.while, "while", 2*time.Second, "how long each measurement takes")
	flags.BoolVar(&o.check, "check", false, "exit with 1 if a floor is missed")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func benchOverlay(cmd *cobra.Command, name string, o benchOverlayOptions) error {
	if o.output != "text" && o.output != "json" {
		return withCode(exitUsage, fmt.Errorf("--output %s: want text or json", o.output))
	}
	if err := bench.CheckPaths(o.paths); err != nil {
		return withCode(exitUsage, err)
	}
	if err := bench.CheckMeasurements(o.only); err != nil {
		return withCode(exitUsage, err)
	}
	report, err := bench.Overlay(cmd.Context(), bench.OverlayOptions{
		Name: name, Paths: o.paths, Only: o.only, Rounds: o.rounds, While: o.while,
		Progress: func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) },
	})
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C: everything is removed
	}
	if err != nil {
		return withCode(exitRuntime, err)
	}
	if o.output == "json" {
		err = writeReport(cmd, report, o.output)
	} else {
		err = writeOverlayReport(cmd.OutOrStdout(), report)
	}
	if err == nil && o.check && report.Missed() > 0 {
		return withCode(exitDifferences, errFloors)
	}
	return err
}

// writeOverlayReport prints a column for each path: the median, and how many
// times that of kernel VXLAN and of plain routes it is.
func writeOverlayReport(out io.Writer, r *bench.Report) error {
	fmt.Fprintf(out, "%s · Linux %s · %d CPUs\n", r.Bench, r.Kernel, r.CPUs)
	var rows, columns []string
	cells, floors := map[[2]string]string{}, map[string]string{}
	for _, f := range r.Figures {
		what, base, ratio := strings.Cut(f.What, ", against ")
		row := what
		if ratio {
			row = "  × " + base
		}
		if !ratio && cells[[2]string{what, ""}] == "" {
			rows = append(rows, what)
			cells[[2]string{what, ""}] = what + " (" + f.Unit + ")"
		}
		if !ratio && len(rows) == 1 {
			columns = append(columns, f.Size)
		}
		key := what
		if ratio {
			key += row
		}
		cells[[2]string{key, f.Size}] = numberText(f.P50)
		if f.Met != nil {
			floors[key] = floorText(f)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "MEDIAN\t%s\tFLOOR OF UDP\n", strings.ToUpper(strings.Join(columns, "\t")))
	for _, what := range rows {
		for _, row := range []string{"", "  × " + bench.KernelVXLAN, "  × " + bench.PlainRoutes} {
			label, found := row, false
			if row == "" {
				label = cells[[2]string{what, ""}]
			}
			line := label
			for _, c := range columns {
				text := cells[[2]string{what + row, c}]
				found = found || text != ""
				line += "\t" + text
			}
			if found {
				fmt.Fprintf(table, "%s\t%s\n", line, floors[what+row])
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, n)
	}
	return nil
}
