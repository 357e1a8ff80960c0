package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// writeServices prints a line for each frontend of each service.
func writeServices(w io.Writer, s api.Status) {
	fmt.Fprintln(w, "SERVICE\tTYPE\tFRONTEND\tENDPOINTS\tCONNECTIONS\tPACKETS\tBYTES")
	for _, svc := range s.ServiceList {
		line := func(frontend string, ready, all int, c *api.Counters) {
			connections, packets, bytes := "-", "-", "-"
			if c != nil {
				connections, packets, bytes = amount(c.Connections), amount(c.Packets), amountOfBytes(c.Bytes)
			}
			endpoints := fmt.Sprintf("%d of %d", ready, all)
			if svc.Type == "ExternalName" {
				endpoints = "-" // it stands for a name
			}
			fmt.Fprintf(w, "%s/%s\t%s\t%s\t%s\t%s\t%s\t%s\n", svc.Namespace, svc.Name, svc.Type, frontend, endpoints, connections, packets, bytes)
		}
		for _, f := range svc.Frontends {
			line(frontendText(f)+announcerText(svc, f), f.EndpointsReady, f.Endpoints, f.Counters)
		}
		if len(svc.Frontends) == 0 { // headless, or a name only
			line(cmp.Or(joinText(svc.ClusterIPs), "None"), svc.EndpointsReady, svc.Endpoints, nil)
		}
		if svc.Type == "LoadBalancer" && len(svc.ExternalIPs) == 0 {
			line("pending", svc.EndpointsReady, svc.Endpoints, nil)
		}
	}
}

// frontendText gives a frontend as clients write it, with the name of its
// port: 10.96.0.10:80/TCP http, node port 30080/TCP.
func frontendText(f api.Frontend) string {
	port := fmt.Sprint(f.Port)
	if f.LastPort != 0 {
		port = fmt.Sprintf("%d-%d", f.Port, f.LastPort)
	}
	text := fmt.Sprintf("node port %s/%s", port, f.Protocol)
	if f.Address.IsValid() {
		text = net.JoinHostPort(f.Address.String(), port) + "/" + f.Protocol
	} else if f.Family == "IPv6" {
		text += " IPv6"
	}
	return strings.TrimSpace(text + " " + f.PortName)
}

// announcerText says which node announces a frontend's address, if that is
// poplin's.
func announcerText(svc api.Service, f api.Frontend) string {
	for _, a := range svc.Announced {
		switch {
		case a.Address != f.Address:
		case a.Node == "":
			return " at no node"
		default:
			return " at " + a.Node
		}
	}
	return ""
}

// amount shortens a number to three digits or so: 999, 1.2k, 34M.
func amount(n uint64) string {
	value, prefix := thousands(n)
	return value + prefix
}

// amountOfBytes does so for bytes: 999 B, 1.2 kB, 34 MB.
func amountOfBytes(n uint64) string {
	value, prefix := thousands(n)
	return value + " " + prefix + "B"
}

func thousands(n uint64) (value, prefix string) {
	if n < 1000 {
		return fmt.Sprint(n), ""
	}
	v := float64(n)
	for _, prefix = range []string{"k", "M", "G", "T", "P", "E"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f", v), prefix
	}
	return fmt.Sprintf("%.0f", v), prefix
}
