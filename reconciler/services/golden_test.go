package services

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/goldentest"
	"github.com/poplin-net/poplin/schema"
)

// self is the node that resolves.
const self = goldentest.Self

func selfHost() Host {
	return Host{Node: self, Underlay: []netip.Addr{goldentest.SelfAddress()}}
}

// TestGolden resolves the documents of each file of testdata as its section
// "view" says things stand, and compares with its section "services": a line
// for each frontend with how many of its endpoints take connections, and
// which; and one for each load balancer address and health check.
func TestGolden(t *testing.T) {
	goldentest.Run(t, "testdata/*.txtar", func(_ *testing.T, c goldentest.Case) map[string]string {
		resolver := NewResolver(c.Config)
		text := format(resolver.Resolve(c.View, selfHost())) + formatOutside(resolver.Outside(c.View, selfHost()))
		return map[string]string{"services": text}
	})
}

func format(list []*Service) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s (%s)\n", s.Document.Meta.Name, s.Document.Place)
		if ready, total := s.Counts(); s.Document.Headless && s.Document.Type != schema.ExternalName {
			fmt.Fprintf(&b, "  headless: %d of %d\n", ready, total)
		}
		for _, e := range s.Headless {
			fmt.Fprintf(&b, "  endpoint %s %q %v\n", e.Address, e.Hostname, e.Ports)
		}
		for _, f := range s.Frontends {
			address := f.Address.String()
			switch f.Kind {
			case NodePort:
				address = "node port " + f.Family.String()
			case LoadBalancer:
				address = "load balancer " + address
			case ExternalIP:
				address = "external " + address
			}
			port := fmt.Sprint(f.Port)
			if f.LastPort != 0 {
				port += fmt.Sprint("-", f.LastPort)
			}
			fmt.Fprintf(&b, "  %s %s/%s %s: %d of %d %v", address, port, f.Protocol, f.PortName, f.Ready, f.Total, f.Endpoints)
			if f.HashSlots > 0 {
				fmt.Fprintf(&b, " hash %d", f.HashSlots)
			}
			if f.Elsewhere {
				b.WriteString(" elsewhere")
			}
			if f.OutsideLocal {
				fmt.Fprintf(&b, " outside %v", f.Local)
			}
			if f.Affinity > 0 {
				fmt.Fprintf(&b, " sticky %s", f.Affinity)
			}
			if f.Restricted {
				fmt.Fprintf(&b, " from %v", f.Sources)
			}
			b.WriteString("\n")
		}
	}
	return strings.ReplaceAll(b.String(), " : ", ": ")
}
