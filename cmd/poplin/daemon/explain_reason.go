package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/nft"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
)

// reason says why a packet does not get further, or may not; "" where nothing
// is known to be wrong.
func (p packetCase) reason(w nft.Way) string {
	switch w.Outcome {
	case nft.Unrouted:
		return fmt.Sprintf("this host's routing has no way to %s: %s", w.Destination.Addr(), w.Hop.Refused)
	case nft.Refused:
		return p.whyRefused(w)
	case nft.Dropped:
		return p.whyDropped(w)
	case nft.Delivered:
		return p.whyDelivered(w)
	}
	return p.whyLost(w.Destination.Addr())
}

// found gives the last element that sent the packet to a chain.
func found(w nft.Way, chain string) (nft.Found, bool) {
	for _, s := range slices.Backward(w.Steps) {
		if s.Verdict == "goto "+chain && len(s.Found) > 0 {
			return s.Found[len(s.Found)-1], true
		}
	}
	return nft.Found{}, false
}

func (p packetCase) whyRefused(w nft.Way) string {
	f, ok := found(w, reconciler.ChainRefuse)
	if !ok {
		return "a rule refuses it"
	}
	switch f.Element.Set {
	case reconciler.SetServiceRanges, reconciler.SetLoadBalancerAddresses:
		return p.noFrontend(w.Destination)
	}
	return f.Group.Name + " has no ready endpoints"
}

// noFrontend says which ports an address has, as the one that was asked for
// is not among them.
func (p packetCase) noFrontend(to netip.AddrPort) string {
	var has []string
	for _, s := range p.goal.Services {
		var ports []string
		for _, f := range s.Frontends {
			if f.Address != to.Addr() {
				continue
			}
			port := fmt.Sprintf("%d/%s", f.Port, strings.ToLower(f.Protocol.String()))
			if f.LastPort != 0 {
				port = fmt.Sprintf("%d-%d/%s", f.Port, f.LastPort, strings.ToLower(f.Protocol.String()))
			}
			ports = append(ports, port)
		}
		if len(ports) > 0 {
			has = append(has, fmt.Sprintf("%s has %s", s.Document.Meta.Name, strings.Join(ports, ", ")))
		}
	}
	if len(has) == 0 {
		return fmt.Sprintf("not a frontend: no service has the address %s", to.Addr())
	}
	return fmt.Sprintf("not a frontend: port %d/%s; %s", to.Port(), p.query.To.Protocol, strings.Join(has, "; "))
}

func (p packetCase) whyDropped(w nft.Way) string {
	if f, ok := found(w, reconciler.ChainDiscard); ok {
		policy := "internalTrafficPolicy"
		switch f.Element.Set {
		case reconciler.SetOutsideServices, reconciler.SetOutsideNodePorts:
			policy = "externalTrafficPolicy"
		}
		return fmt.Sprintf("%s of %s is Local, and no endpoint is on this node", policy, f.Group.Name)
	}
	last, _ := w.Last()
	switch last.Chain {
	case reconciler.ChainRestricted, reconciler.ChainNodePortRestricted:
		f, _ := found(w, last.Chain)
		return fmt.Sprintf("source %s is not in loadBalancerSourceRanges of %s", w.Source, f.Group.Name)
	case reconciler.ChainGuardPort:
		return fmt.Sprintf("port %d is a tunnel's, and no peer has the address %s", p.query.To.Address.Port(), w.Source)
	case reconciler.ChainGuardTunnel, reconciler.ChainGuardPods:
		link := last.Found[len(last.Found)-1].Element.Link
		return fmt.Sprintf("source %s is forged: no peer's pods with that address are behind %s", w.Source, link)
	}
	return fmt.Sprintf("the elements change at this moment (chain %s): a client tries again", last.Chain)
}

// whyDelivered is for what the host itself gets although it is no endpoint.
func (p packetCase) whyDelivered(w nft.Way) string {
	if w.Translated || p.query.To.Protocol == "icmp" {
		return ""
	}
	to := w.Destination
	if p.query.To.Protocol == "tcp" {
		for _, l := range p.goal.Outside.LocalPorts {
			if l.At == to {
				return fmt.Sprintf("the daemon answers, and connects on to %s of service %s (localhostNodePorts)", l.Target, l.Service.Meta.Name)
			}
		}
		for _, h := range p.goal.Outside.HealthChecks {
			if h.Port == to.Port() {
				return fmt.Sprintf("the daemon answers: it is the health check of service %s", h.Service.Meta.Name)
			}
		}
	}
	for _, s := range p.goal.Services {
		for _, f := range s.Frontends {
			if f.Kind == services.NodePort && f.Port == to.Port() && strings.EqualFold(f.Protocol.String(), p.query.To.Protocol) {
				return fmt.Sprintf("node port %d of service %s does not answer on %s (nodePortAddresses of the Cluster): the host itself gets it", f.Port, s.Document.Meta.Name, to.Addr())
			}
		}
	}
	return "not a frontend: the host itself gets it"
}

// whyLost is for packets that leave this node and may not arrive.
func (p packetCase) whyLost(to netip.Addr) string {
	end := p.end(to)
	peer := p.goal.view.Peer(end.Node)
	if peer != nil && peer.State == view.Failed {
		return fmt.Sprintf("node %s has failed", end.Node)
	}
	if end.Node == p.facts.node && end.Pod != "" && !p.up(end.Pod) {
		return fmt.Sprintf("pod %s has no interface yet", end.Pod)
	}
	inPods := slices.ContainsFunc(p.facts.revision.Config.Cluster.PodCIDRs, func(s netip.Prefix) bool { return s.Contains(to) })
	switch {
	case inPods && end.Node == "":
		return fmt.Sprintf("no node has a subnet with %s", to)
	case inPods && end.Pod == "" && (peer == nil || peer.Health): // a node that tells of its pods
		return fmt.Sprintf("no pod has the address %s", to)
	}
	return ""
}
