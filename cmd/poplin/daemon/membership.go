package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/schema"
)

// membership owns the gossip agent, which starts with the first documents and
// then runs as long as the daemon.
type membership struct {
	o    Options
	kick func()

	mu    sync.Mutex
	agent *overlay.Agent
	stop  func()
}

// follow has the agent run for the documents and the underlay address.
func (m *membership) follow(ctx context.Context, c *schema.Config, address netip.Addr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	bind := bindingOf(c, m.o.Node, address)
	if m.agent == nil {
		if err := m.open(ctx, c, bind); err != nil {
			return err
		}
	}
	m.agent.Rebind(bind)
	m.agent.Configure(settingsOf(c, m.o.Node))
	return nil
}

func (m *membership) open(ctx context.Context, c *schema.Config, bind overlay.Binding) error {
	join := make([]netip.AddrPort, len(m.o.Join))
	for i, a := range m.o.Join {
		join[i] = a
		if a.Port() == 0 {
			join[i] = netip.AddrPortFrom(a.Addr(), bind.Address.Port())
		}
	}
	agent, err := overlay.Open(overlay.Options{
		Cluster: c.Cluster.Meta.Name.Name, Node: m.o.Node, StateDir: m.o.StateDir, Binding: bind, KeyFile: m.o.KeyFile,
		Bootstrap: m.o.Bootstrap, Join: join, BuildTime: m.o.Built, Log: m.o.Log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := agent.Run(ctx); err != nil {
			m.o.Log.Error("gossip ended", "error", err)
		}
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-agent.Changes():
				m.kick()
			}
		}
	})
	m.agent = agent
	m.stop = func() { cancel(); running.Wait() }
	return nil
}

// Close stops the agent, if one runs.
func (m *membership) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent != nil {
		m.stop()
	}
}

// snapshot is what the agent knows; nothing without one.
func (m *membership) snapshot() overlay.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent == nil {
		return overlay.Snapshot{}
	}
	return m.agent.Snapshot()
}

func (m *membership) announce(a overlay.Announcement) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent != nil {
		m.agent.Announce(a)
	}
}

func (m *membership) release(what string) error {
	m.mu.Lock()
	agent := m.agent
	m.mu.Unlock()
	if agent == nil {
		return errNoGossip
	}
	return agent.Release(what)
}

// bindingOf says where and how this node's gossip listens.
func bindingOf(c *schema.Config, self string, address netip.Addr) overlay.Binding {
	b := overlay.Binding{
		Address:   netip.AddrPortFrom(address, c.Cluster.Gossip.Port),
		Encrypted: c.Cluster.Gossip.Encrypted, Profile: c.Cluster.Gossip.Profile,
	}
	if n := nodeOf(c, self); n != nil {
		b.Advertise = n.Advertise
	}
	return b
}

// nodeOf finds a node in the roster, or nil.
func nodeOf(c *schema.Config, name string) *schema.Node {
	for _, n := range c.Nodes {
		if n.Meta.Name.Name == name {
			return n
		}
	}
	return nil
}

// underlayAddresses are the addresses under which other nodes reach a node of
// the roster: behind 1:1 NAT those that it advertises.
func underlayAddresses(n *schema.Node) []netip.Addr {
	if !n.Advertise.IsValid() {
		return n.Addresses
	}
	out := []netip.Addr{n.Advertise.Addr()}
	for _, a := range n.Addresses {
		if a.Is4() != n.Advertise.Addr().Is4() {
			out = append(out, a)
		}
	}
	return out
}

// settingsOf gives gossip what the documents say that it must know.
func settingsOf(c *schema.Config, self string) overlay.Settings {
	s := overlay.Settings{
		PodCIDRs:         c.Cluster.PodCIDRs,
		SubnetLengthIPv4: c.Cluster.SubnetLength.IPv4,
		SubnetLengthIPv6: c.Cluster.SubnetLength.IPv6,
		Retention:        c.Cluster.SubnetRetention,
		AllowedCIDRs:     c.Cluster.Gossip.AllowedCIDRs,
		NeedsClaim:       true,
	}
	for _, n := range c.Nodes {
		s.Roster = append(s.Roster, overlay.RosterNode{
			Name: n.Meta.Name.Name, Addresses: underlayAddresses(n), Gossip: n.Advertise, External: n.External,
		})
	}
	for _, sub := range c.Subnets {
		if sub.Node == "" {
			s.Free = append(s.Free, slices.Clone(sub.CIDRs))
			continue
		}
		if sub.Node == self {
			s.NeedsClaim = false
		}
		for _, p := range sub.CIDRs {
			s.Pinned = append(s.Pinned, overlay.PinnedSubnet{Prefix: p, Node: sub.Node})
		}
	}
	return s
}
