package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
)

// writeStatus prints a status, or one part of it.
func writeStatus(w io.Writer, s api.Status, part string, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	switch part {
	case "peers":
		writePeers(t, s, now)
	case "pods":
		writePods(t, s)
	case "services":
		writeServices(t, s)
	case "overlay":
		writeOverlay(t, s)
	case "dns":
		writeDNS(t, s)
	default:
		writeNode(w, s, now)
		writePeers(t, s, now)
		if err := t.Flush(); err != nil {
			return err
		}
		writeFoot(w, s, now)
	}
	return t.Flush()
}

func writeNode(w io.Writer, s api.Status, now time.Time) {
	state := "not in sync"
	switch {
	case s.Waiting != "":
		state = "waiting for " + s.Waiting
	case s.InSync:
		state = "ready, in sync"
	}
	fmt.Fprintf(w, "%s · %s · %s · up %s, %s\n", s.Node, orDash(s.Cluster), state, ago(now, s.Started), s.Version)
	if s.Revision != "" {
		fmt.Fprintf(w, "revision  %s", s.Revision)
		if s.Accepted != nil {
			fmt.Fprintf(w, "  accepted %s ago", ago(now, *s.Accepted))
		}
		if s.Applied != nil {
			fmt.Fprintf(w, ", applied %s ago", ago(now, *s.Applied))
		}
		fmt.Fprintf(w, ", %s\n", sourceText(s.Source))
	}
	if s.Rejected != nil {
		fmt.Fprintf(w, "rejected  %s: %s\n", s.Rejected.Revision, rejectionText(s.Rejected.Diagnostics))
	}
	if s.HeldBack != nil {
		fmt.Fprintf(w, "held back %s: %s\n", s.HeldBack.Revision, s.HeldBack.Reason)
	}
	for _, sub := range s.Subnets {
		class := sub.Class
		if sub.Origin != "" {
			class += " (" + sub.Origin + ")"
		}
		fmt.Fprintf(w, "subnet    %s  %s  on %s, %s\n", joinText(sub.CIDRs), class, sub.Bridge, plural(sub.Pods, "pod"))
	}
	for _, c := range s.Claims {
		if c.Class != "confirmed" {
			fmt.Fprintf(w, "claim     %s  %s\n", c.Subnet, c.Class)
		}
	}
	if s.Overlay.Backend != "" {
		fmt.Fprintf(w, "overlay   %s", s.Overlay.Backend)
		if s.Overlay.Port != 0 {
			fmt.Fprintf(w, " :%d", s.Overlay.Port)
		}
		fmt.Fprintf(w, "  mtu %d  over %s %s\n", s.Overlay.MTU, s.Underlay.Link, joinText(s.Underlay.Addresses))
		for _, former := range s.Overlay.Former {
			fmt.Fprintf(w, "          %s is still accepted\n", former)
		}
	}
}

// rejectionText is the first error of a refused revision with its place, and
// how many there are.
func rejectionText(list schema.Diagnostics) string {
	for _, d := range list {
		if d.Severity != schema.Error {
			continue
		}
		text := fmt.Sprintf("%s:%d: %s", d.File, d.Line, d.Message)
		if n := list.Errors(); n > 1 {
			text += fmt.Sprintf(" (first of %d errors)", n)
		}
		return text
	}
	return "invalid documents"
}

func sourceText(s api.Source) string {
	text := s.Path
	if s.Target != "" {
		text += " → " + s.Target
	}
	if s.State != "ok" {
		text += " (" + s.State + ")"
	}
	if s.Polling {
		text += " (polled)"
	}
	return text
}

func writePeers(w io.Writer, s api.Status, now time.Time) {
	if len(s.Peers) == 0 {
		return
	}
	fmt.Fprintln(w, "PEER\tSTATE\tADDRESS\tSUBNET\tMTU\tREVISION\tPODS\tSEEN\t")
	for _, p := range s.Peers {
		seen, note := "-", ""
		if p.Seen != nil {
			seen = ago(now, *p.Seen)
		}
		revision := orDash(p.Revision)
		if p.Revision != "" && p.Digest != s.Digest {
			revision += " other"
		}
		switch {
		case p.Rejected != nil:
			note = fmt.Sprintf("rejected %s: %s", p.Rejected.Revision, p.Rejected.Error)
		case p.State == "failed":
			note = "routes kept, endpoints out"
		case p.External:
			note = "external"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%d/%d\t%s\t%s\n", p.Name, p.State, orDash(p.Address), orDash(joinText(p.Subnets)), p.MTU, revision, p.PodsReady, p.Pods, seen, note)
	}
}

func writePods(w io.Writer, s api.Status) {
	fmt.Fprintln(w, "POD\tADDRESSES\tREADY\tNETNS\t")
	for _, p := range s.Pods {
		netns := p.Netns
		if p.HostNetwork {
			netns = "(the node's)"
		}
		fmt.Fprintf(w, "%s/%s\t%s\t%t\t%s\t%s\n", p.Namespace, p.Name, joinText(p.Addresses), p.Ready, netns, p.Reason)
	}
}

func writeOverlay(w io.Writer, s api.Status) {
	fmt.Fprintf(w, "%s\tmtu %d\tover %s\n", s.Overlay.Backend, s.Overlay.MTU, s.Underlay.Link)
	if s.Overlay.Offloads != "" {
		fmt.Fprintf(w, "offloads: %s", s.Overlay.Offloads)
		if s.Overlay.OffloadsMissing != "" {
			fmt.Fprintf(w, "; off: %s", s.Overlay.OffloadsMissing)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "PEER\tSENT\tBYTES\tRECEIVED\tBYTES")
	for _, p := range s.Overlay.Peers {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", p.Node, p.SentPackets, p.SentBytes, p.ReceivedPackets, p.ReceivedBytes)
	}
}

func writeFoot(w io.Writer, s api.Status, now time.Time) {
	fmt.Fprintf(w, "services %d (%d of %d endpoints ready)   drift repaired %d", s.Services, s.EndpointsReady, s.Endpoints, s.Drift)
	if s.LastDrift != nil {
		fmt.Fprintf(w, " (last: %s, %s ago)", s.LastDrift.What, ago(now, s.LastDrift.At))
	}
	fmt.Fprintln(w)
	for reason, n := range sortedCounts(s.Dropped) {
		fmt.Fprintf(w, "dropped  %d %s\n", n, reason)
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "problems")
	}
	for i, p := range s.Problems {
		fmt.Fprintf(w, "  %d  %s:  %s\n", i+1, p.What, p.Remedy)
	}
}
