//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/lab/bench"
)

func newLabBenchCommand(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure in a lab of its own",
		Long: `Measures with the real daemon in a lab that is made for it and removed afterwards, also on Ctrl-C. Figures are medians;
what is compared is measured in turns, in random order.`,
		Example: "  poplin lab bench services\n  poplin lab bench overlay\n  poplin lab bench dns",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLabBenchServicesCommand(name), newLabBenchOverlayCommand(name), newLabBenchDNSCommand(name), newLabBenchAgentCommand())
	return cmd
}

// writeReport prints what a bench found out.
func writeReport(cmd *cobra.Command, r *bench.Report, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	return writeFigures(cmd.OutOrStdout(), r)
}

func writeFigures(out io.Writer, r *bench.Report) error {
	fmt.Fprintf(out, "%s · Linux %s · %d CPUs\n", r.Bench, r.Kernel, r.CPUs)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SIZE\tWHAT\tMEDIAN\tP99\tUNIT\tSAMPLES\tFLOOR")
	for _, f := range r.Figures {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.Size, f.What, numberText(f.P50), numberText(f.P99), f.Unit, f.N, floorText(f))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, n)
	}
	return nil
}

// numberText shows three digits, and nothing for what was not measured.
func numberText(x float64) string {
	if x == 0 {
		return "-"
	}
	digits := 0
	for y := x; y < 100 && digits < 3; y *= 10 {
		digits++
	}
	return strconv.FormatFloat(x, 'f', digits, 64)
}

func floorText(f bench.Figure) string {
	switch {
	case f.Met == nil:
		return ""
	case *f.Met:
		return numberText(f.Floor) + " met"
	}
	return numberText(f.Floor) + " MISSED"
}

// errFloors is for --check.
var errFloors = errors.New("floors are missed")
