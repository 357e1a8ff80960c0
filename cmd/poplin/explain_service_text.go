package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// writeServiceExplanation prints what a service is made of: its ports with
// frontends and endpoints, then its elements.
func writeServiceExplanation(w io.Writer, e api.ServiceExplanation) error {
	from := "slices"
	if len(e.Selector) > 0 {
		from = "pods with " + labelsText(e.Selector)
	}
	fmt.Fprintf(w, "service %s/%s · %s · endpoints from %s · %s · as %s sees %s\n", e.Namespace, e.Name, e.Type, from, originText(e.Origin), e.Node, e.Revision)
	for _, note := range e.Notes {
		fmt.Fprintf(w, "  %s\n", note)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, p := range e.Ports {
		fmt.Fprintln(t, portTitle(p))
		if err := t.Flush(); err != nil {
			return err
		}
		writeExplainedFrontends(t, p)
		if err := t.Flush(); err != nil {
			return err
		}
		writeExplainedEndpoints(t, p)
		if err := t.Flush(); err != nil {
			return err
		}
	}
	for _, n := range e.NotSelected {
		fmt.Fprintf(t, "not selected\tpod %s\t%s\t%s\n", n.Pod, originText(n.Origin), n.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeElements(w, e.Elements)
}

func labelsText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// originText is where something stands, FILE:LINE.
func originText(o api.Origin) string {
	if o.File == "" {
		return "-"
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// portTitle is "port http 80/TCP → 8080, IPv4", or the like.
func portTitle(p api.ExplainedPort) string {
	if p.Port == 0 {
		if len(p.Frontends) == 0 {
			return "without ports, " + p.Family
		}
		return "ranges of ports, " + p.Family
	}
	text := "port"
	if p.Name != "" {
		text += " " + p.Name
	}
	return fmt.Sprintf("%s %d/%s → %s, %s", text, p.Port, p.Protocol, p.TargetPort, p.Family)
}

func writeExplainedFrontends(w io.Writer, p api.ExplainedPort) {
	if len(p.Frontends) == 0 {
		return
	}
	fmt.Fprintln(w, "  FRONTEND\tLEADS TO\tCONNECTIONS")
	for _, f := range p.Frontends {
		connections := "-"
		if f.Counters != nil {
			connections = amount(f.Counters.Connections)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", explainedFrontendText(f), leadsTo(f), connections)
	}
}

func explainedFrontendText(f api.ExplainedFrontend) string {
	f.PortName = ""
	text := frontendText(f.Frontend)
	switch f.Kind {
	case "clusterIP":
		return "cluster IP " + text
	case "loadBalancer":
		return "load balancer " + text
	case "externalIP":
		return "external IP " + text
	}
	return text
}

// leadsTo says in words where a frontend leads, for whom.
func leadsTo(f api.ExplainedFrontend) string {
	words := map[string]string{
		"all": "all endpoints that are in", "local": "endpoints of this node", "refused": "nothing: no endpoint is in, connections are refused",
		"dropped": "nothing: no endpoint is in on this node, packets are dropped",
	}
	text := words[f.To]
	switch f.Outside {
	case "local":
		text += "; for clients from outside, those of this node"
	case "dropped":
		text += "; for clients from outside nothing, none is on this node: dropped"
	}
	switch {
	case len(f.Sources) > 0:
		text += "; only for clients in " + joinText(f.Sources)
	case f.Restricted:
		text += "; for no client, as no source range is " + f.Family
	}
	if f.HashSlots > 0 {
		text += fmt.Sprintf("; by a hash over %d slots", f.HashSlots)
	}
	if f.Affinity > 0 {
		text += fmt.Sprintf("; clients stay for %s", time.Duration(f.Affinity)*time.Second)
	}
	return text
}

func writeExplainedEndpoints(w io.Writer, p api.ExplainedPort) {
	if len(p.Endpoints) == 0 {
		fmt.Fprintln(w, "  no endpoints")
		return
	}
	local := p.LocalSlots > 0
	fmt.Fprint(w, "  ENDPOINT\tSHARE\t")
	if local {
		fmt.Fprint(w, "OF THIS NODE\t")
	}
	fmt.Fprintln(w, "FROM\tNODE\tWHERE\tWHY")
	for _, e := range p.Endpoints {
		from := "pod " + e.Pod
		if e.Pod == "" {
			from = "slice " + e.Slice
		}
		fmt.Fprintf(w, "  %s\t%s\t", orDash(e.Address), shareText(e.Slots, p.Slots))
		if local {
			fmt.Fprintf(w, "%s\t", shareText(e.LocalSlots, p.LocalSlots))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", from, orDash(e.Node), originText(e.Origin), e.Reason)
	}
}

// shareText is "33 % (1 of 3)", or "out".
func shareText(slots, of int) string {
	if slots == 0 {
		return "out"
	}
	return fmt.Sprintf("%.0f %% (%d of %d)", 100*float64(slots)/float64(of), slots, of)
}

// shownElements is how many objects are shown that are as they should be; the
// slots of a hash are thousands.
const shownElements = 64

func writeElements(w io.Writer, list []api.ExplainedElement) error {
	missing := 0
	for _, e := range list {
		if !e.InKernel {
			missing++
		}
	}
	title := fmt.Sprintf("nftables: %d objects, all in the kernel", len(list))
	switch {
	case len(list) == 0:
		title = "nftables: nothing"
	case missing > 0:
		title = fmt.Sprintf("nftables: %d objects, of which the kernel lacks %d (!)", len(list), missing)
	}
	if _, err := fmt.Fprintln(w, title); err != nil {
		return err
	}
	shown := 0
	for _, e := range list {
		mark := " "
		switch {
		case !e.InKernel:
			mark = "!"
		case shown == shownElements:
			continue // what is missing is always shown
		default:
			shown++
		}
		if _, err := fmt.Fprintf(w, "%s %s\n", mark, e.Text); err != nil {
			return err
		}
	}
	if rest := len(list) - missing - shown; rest > 0 {
		_, err := fmt.Fprintf(w, "  and %d more; -o json has them all\n", rest)
		return err
	}
	return nil
}
