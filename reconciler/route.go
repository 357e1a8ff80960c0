package reconciler

import (
	"fmt"
	"net/netip"
)

// RouteProtocol is the routing protocol number that marks poplin's routes
// (rtm_protocol, rt_protos.d).
const RouteProtocol = 112

// Route is a unicast route in the main table, with protocol RouteProtocol.
type Route struct {
	Netns       string // "" for the host
	Destination netip.Prefix
	Gateway     netip.Addr // zero: on the link itself
	Link        string
	Source      netip.Addr // preferred source, zero: the kernel's choice
	MTU         int        // bytes; 0: the link's
	Onlink      bool       // the gateway is on the link whatever the addresses say
}

// RouteKey identifies a Route.
type RouteKey struct {
	Netns       string
	Destination netip.Prefix
}

func (r Route) Kind() Kind { return KindRoute }
func (r Route) Key() Key   { return RouteKey{r.Netns, r.Destination} }

// Needs names the link only: a preferred source is on some link of ours or
// not, and the kernel says so.
func (r Route) Needs() []Key { return []Key{LinkKey{r.Netns, r.Link}} }

func (r Route) String() string {
	text := "route " + inNetns(r.Netns) + r.Destination.String()
	if r.Gateway.IsValid() {
		text += " via " + r.Gateway.String()
	}
	text += " dev " + r.Link
	if r.Source.IsValid() {
		text += " src " + r.Source.String()
	}
	if r.MTU != 0 {
		text += fmt.Sprintf(" mtu %d", r.MTU)
	}
	if r.Onlink {
		text += " onlink"
	}
	return text
}
