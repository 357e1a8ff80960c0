package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/reconciler/nft"
)

// ExplainPacket implements api.Backend: it follows a packet through the rules
// and routes that the kernel has now. A round waits only while the tables are
// looked at, which takes long only after somebody else has changed them.
func (d *Daemon) ExplainPacket(ctx context.Context, q api.PacketQuery) (api.PacketExplanation, error) {
	loop := d.loop.Load()
	if loop == nil {
		return api.PacketExplanation{}, errors.New("there is no accepted revision yet")
	}
	var seen reconciler.Observation
	var err error
	p := packetCase{query: q}
	loop.Between(func(*reconciler.Engine) {
		seen, err = d.targets.nft.Observe(ctx)
		p.accountState = d.account.read()
	})
	if err != nil {
		return api.PacketExplanation{}, err
	}
	if p.facts.revision == nil {
		return api.PacketExplanation{}, errors.New("the first round is not done yet")
	}
	p.tables = seen.State
	p.clients = func(a netip.Addr) (nft.Clients, error) { return d.targets.nft.ClientsOf(ctx, a) }
	var failed error
	p.hop = func(to netip.Addr) linux.NextHop {
		hop, err := d.targets.linux.NextHop(ctx, to)
		failed = errors.Join(failed, err)
		return hop
	}
	trace, err := p.explain()
	return trace, errors.Join(err, failed)
}

// packetCase is all that the explanation of a packet depends on.
type packetCase struct {
	accountState
	query  api.PacketQuery
	tables reconciler.State // as observed
	hop    func(netip.Addr) linux.NextHop
	// clients says which endpoints a client sticks to.
	clients func(netip.Addr) (nft.Clients, error)
}

// explain is pure if hop and clients are.
func (p packetCase) explain() (api.PacketExplanation, error) {
	to := p.query.To
	from, packet, err := p.sender()
	if err != nil {
		return api.PacketExplanation{}, err
	}
	family := reconciler.FamilyOf(to.Address.Addr())
	packet.Destination = to.Address
	packet.Protocol = map[string]reconciler.Protocol{"tcp": reconciler.TCP, "udp": reconciler.UDP, "sctp": reconciler.SCTP}[to.Protocol]
	if to.Protocol == "icmp" {
		packet.Protocol = map[reconciler.Family]reconciler.Protocol{reconciler.IPv4: 1, reconciler.IPv6: 58}[family]
	}
	rules := nft.NewRuleset(p.tables, family)
	clients, err := p.clients(packet.Source)
	if err != nil {
		return api.PacketExplanation{}, err
	}
	rules.Add(clients)
	hops := map[netip.Addr]nft.Hop{}
	trace, err := rules.Trace(packet, func(a netip.Addr) nft.Hop {
		if _, known := hops[a]; !known {
			h := p.hop(a)
			hops[a] = nft.Hop{Local: h.Local, Refused: h.Refused, Link: h.Link, Gateway: h.Gateway, Address: h.Masquerade}
		}
		return hops[a]
	})
	if err != nil {
		return api.PacketExplanation{}, err
	}
	out := api.PacketExplanation{
		APIVersion: api.APIVersion, Kind: "PacketExplanation", Node: p.facts.node, From: from, To: to.String(),
		Notes: append(p.notes(from, packet), affinityNotes(trace)...),
	}
	if rules.Missing != "" {
		out.Notes = append(out.Notes, rules.Missing+": no service is answered until the daemon has made it")
	}
	common := commonSteps(trace.Ways)
	out.Steps = stepsOf(trace.Ways[0].Steps[:common])
	for _, w := range trace.Ways {
		out.Ways = append(out.Ways, p.way(w, common))
	}
	return out, nil
}

// way describes one way beyond the steps that all have in common.
func (p packetCase) way(w nft.Way, common int) api.PacketWay {
	out := api.PacketWay{
		Share: w.Share, Outcome: string(w.Outcome), Reason: p.reason(w), Destination: w.Destination, Endpoint: p.end(w.Destination.Addr()),
		Translated: w.Translated, Source: w.Source, Masqueraded: w.Masqueraded, Steps: stepsOf(w.Steps[common:]),
	}
	if w.Outcome == nft.Forwarded {
		out.Link = w.Hop.Link
		if w.Hop.Gateway.IsValid() {
			out.Gateway = &w.Hop.Gateway
		}
	}
	return out
}

// commonSteps counts the steps with which all ways start.
func commonSteps(ways []nft.Way) int {
	same := func(i int) bool {
		return !slices.ContainsFunc(ways, func(w nft.Way) bool {
			return i >= len(w.Steps) || w.Steps[i].Rule != ways[0].Steps[i].Rule || w.Steps[i].Verdict != ways[0].Steps[i].Verdict
		})
	}
	n := 0
	for n < len(ways[0].Steps) && same(n) {
		n++
	}
	return n
}

func stepsOf(list []nft.Step) []api.PacketStep {
	out := make([]api.PacketStep, len(list))
	for i, s := range list {
		out[i] = api.PacketStep{Hook: s.Hook, Chain: s.Chain, Rule: s.Rule, Verdict: s.Verdict}
		for _, f := range s.Found {
			out[i].Elements = append(out[i].Elements, api.PacketElement{
				Set: string(f.Element.Set), Key: keyText(f.Element), Group: f.Group.Name, Origin: api.Origin(f.Group.Origin),
			})
		}
	}
	return out
}

// keyText is the key of an element as its line has it.
func keyText(e reconciler.Element) string {
	_, text, _ := strings.Cut(e.String(), "{ ")
	key, _, _ := strings.Cut(strings.TrimSuffix(text, " }"), " : ")
	return key
}

// notes say what of the packet's way is not this node's.
func (p packetCase) notes(from api.PacketEnd, packet nft.Packet) []string {
	var out []string
	switch {
	case from.Pod != "" && from.Address == packet.Destination.Addr():
		out = append(out, "the packet does not leave the pod, whatever is said here")
	case from.Node != "" && from.Node != p.facts.node:
		out = append(out, fmt.Sprintf("this is what %s does with a packet that %s lets through unchanged: ask there, too", p.facts.node, from.Node))
	case from.Pod != "" && !packet.Sent && !p.up(from.Pod):
		out = append(out, fmt.Sprintf("pod %s has no interface yet", from.Pod))
	}
	return out
}

// affinityNotes say whether the client sticks to an endpoint, or is going to.
func affinityNotes(trace nft.Trace) []string {
	for _, w := range trace.Ways {
		for _, s := range w.Steps {
			for _, f := range s.Found {
				switch f.Element.Set {
				case reconciler.SetAffinity, reconciler.SetNodePortAffinity:
					return []string{"session affinity: the client has been sent to this endpoint before"}
				case reconciler.SetSticky, reconciler.SetNodePortSticky:
					return []string{"session affinity: the client will stay with the endpoint that it gets"}
				}
			}
		}
	}
	return nil
}
