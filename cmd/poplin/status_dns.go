package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// writeDNS prints what the node's DNS has done.
func writeDNS(t *tabwriter.Writer, s api.Status) {
	d := s.DNS
	switch {
	case d == nil:
		fmt.Fprintln(t, "there is no DNS yet")
		return
	case !d.Enabled:
		fmt.Fprintln(t, "there is no DNS: spec.dns.enabled of the Cluster is false")
		return
	}
	state := fmt.Sprintf("%d names with records", d.Names)
	if !d.Ready {
		state = "no zone yet: every answer is SERVFAIL"
	}
	row := func(title, format string, args ...any) { fmt.Fprintf(t, title+"\t"+format+"\n", args...) }
	row("zone", "%s  %s", d.Domain, state)
	var at []string
	for _, l := range d.Listeners {
		if l.Error == "" {
			at = append(at, l.Address.String())
		}
	}
	row("listens", "%s", orDash(strings.Join(at, " ")))
	row("queries", "%s  %d of them over TCP", countsText(d.Queries), d.TCP)
	row("answers", "%s", countsText(d.Rcodes))
	row("from", "zone %d, cache %d, cache past its time %d, upstreams %d", d.Zone, d.Cached, d.Stale, d.Forwarded)
	row("refused", "strangers %d, above their rate %d, for want of room %d; no query %d", d.Refused, d.Limited, d.Busy, d.Dropped)
	row("cache", "%d answers, %s of %s", d.Cache.Entries, amountOfBytes(uint64(d.Cache.Bytes)), amountOfBytes(uint64(d.Cache.Limit)))
	rate := "any number of queries a second"
	if d.Limits.Rate > 0 {
		rate = fmt.Sprintf("%d queries a second", d.Limits.Rate)
	}
	row("limits", "%d of %d queries wait for upstreams, %d of %d connections; a client has %s, %d connections",
		d.InFlight, d.Limits.InFlight, d.Connections, d.Limits.Connections, rate, d.Limits.ConnectionsPerClient)
	// A table of its own.
	fmt.Fprintln(t, "\nUPSTREAM\tSTATE\tQUERIES\tFAILURES\tLATENCY")
	for _, u := range d.Upstreams {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", u.Address, u.State, u.Queries, u.Failures, u.Latency.Round(10*time.Microsecond))
	}
	for _, p := range d.Problems {
		fmt.Fprintf(t, "problem: %s\n", p)
	}
}

// countsText lists counts, the greatest first, and those that are 0 not at
// all.
func countsText(counts map[string]uint64) string {
	var names []string
	total := uint64(0)
	for name, n := range counts {
		if n > 0 {
			names = append(names, name)
			total += n
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case counts[a] > counts[b]:
			return -1
		case counts[a] < counts[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, counts[name])
	}
	if total == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(names, ", "))
}
