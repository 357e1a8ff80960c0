//go:build linux

package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

// writeLab shows a lab as tables: its nodes, and the services as the first
// node that is in sync has them.
func writeLab(out io.Writer, l lab.Lab, seen map[string]nodeRow) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tUNDERLAY\tSUBNET\tPODS\tSTATE\tIN SYNC")
	var services []api.Service
	for _, n := range l.Nodes() {
		row := seen[n.Name]
		state := row.state
		switch {
		case len(n.Daemon) == 0:
			state = "no daemon"
		case state == stateInSync:
			state = "ready"
			if services == nil {
				services = row.status.ServiceList
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, firstText(n.Addresses),
			subnetsText(row.status), podsText(row.status.Pods), state, secondsText(row.inSync))
	}
	if err := table.Flush(); err != nil || len(services) == 0 {
		return err
	}
	fmt.Fprintln(table, "SERVICE\tCLUSTER IP\tPORTS\tENDPOINTS")
	for _, s := range services {
		ip := joinText(s.ClusterIPs)
		if ip == "" {
			ip = "None"
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%d\n", s.Namespace, s.Name, ip, strings.Join(s.Ports, ", "), s.EndpointsReady)
	}
	return table.Flush()
}

func firstText(addresses []netip.Addr) string {
	if len(addresses) == 0 {
		return "-"
	}
	return addresses[0].String()
}

func secondsText(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// podsText names the first pods and their addresses.
func podsText(pods []api.Pod) string {
	const shown = 3
	var text []string
	for i, p := range pods {
		if i == shown {
			text = append(text, fmt.Sprintf("and %d more", len(pods)-shown))
			break
		}
		name := p.Name
		if p.Namespace != "default" {
			name = p.Namespace + "/" + p.Name
		}
		text = append(text, strings.TrimSpace(name+" "+joinText(p.Addresses)))
	}
	return orDash(strings.Join(text, ", "))
}

// writeLabHints says what to try next.
func writeLabHints(out io.Writer, o upOptions, l lab.Lab, config labServices) {
	prefix := "poplin lab exec "
	if o.name != lab.DefaultName {
		prefix += "--name " + o.name + " "
	}
	lead := "try:  "
	for _, hint := range config.hints(l, prefix) {
		fmt.Fprintln(out, lead+hint)
		lead = "      "
	}
	if o.backend != "" && len(l.Hosts) > 0 && l.Hosts[0].Tree != "" {
		fmt.Fprintf(out, "%sthe nodes follow a copy of %s with backend %s: edit %s\n", lead, o.dir, o.backend, l.Hosts[0].Tree)
		lead = "      "
	} else if o.dir != "" {
		fmt.Fprintf(out, "%sedit %s and watch", lead, o.dir)
		lead = "      "
		if o.detach {
			fmt.Fprint(out, " `poplin lab status`")
		}
		fmt.Fprintln(out)
	}
	if o.detach {
		fmt.Fprintf(out, "%s`poplin lab down%s` removes everything\n", lead, strings.TrimSuffix(strings.TrimPrefix(prefix, "poplin lab exec"), " "))
		return
	}
	fmt.Fprintln(out, lead+"Ctrl-C removes everything")
}
