package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/poplin-net/poplin/overlay"
	"github.com/poplin-net/poplin/schema"
)

// membership owns the gossip agent. The agent is bound to an address, a port
// and a cluster; when one of these changes it is made anew, with the same
// state directory.
type membership struct {
	o    Options
	kick func()

	mu    sync.Mutex
	bound agentKey
	agent *overlay.Agent
	stop  func()
	err   error
}

// agentKey is what an agent cannot change while it runs.
type agentKey struct {
	cluster   string
	bind      netip.AddrPort
	encrypted bool
	profile   string
}

// follow has an agent run for the documents and the underlay address, and
// gives it its settings.
func (m *membership) follow(ctx context.Context, c *schema.Config, address netip.Addr) {
	key := agentKey{c.Cluster.Meta.Name.Name, netip.AddrPortFrom(address, c.Cluster.Gossip.Port), c.Cluster.Gossip.Encrypted, c.Cluster.Gossip.Profile}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent == nil || m.bound != key {
		m.close()
		m.open(ctx, key)
	}
	if m.agent != nil {
		m.agent.Configure(settingsOf(c, m.o.Node))
	}
}

func (m *membership) open(ctx context.Context, key agentKey) {
	join := make([]netip.AddrPort, len(m.o.Join))
	for i, a := range m.o.Join {
		join[i] = a
		if a.Port() == 0 {
			join[i] = netip.AddrPortFrom(a.Addr(), key.bind.Port())
		}
	}
	agent, err := overlay.Open(overlay.Options{
		Cluster: key.cluster, Node: m.o.Node, StateDir: m.o.StateDir, Bind: key.bind,
		Encrypted: key.encrypted, KeyFile: m.o.KeyFile, Profile: key.profile,
		Bootstrap: m.o.Bootstrap, Join: join, BuildTime: m.o.Built, Log: m.o.Log,
	})
	m.err = err
	if err != nil {
		m.o.Log.Error("gossip", "error", err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := agent.Run(ctx); err != nil {
			m.failed(agent, err)
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
	m.agent, m.bound = agent, key
	m.stop = func() { cancel(); running.Wait() }
}

// failed forgets an agent that ended by itself, so that the next round opens
// another.
func (m *membership) failed(agent *overlay.Agent, err error) {
	m.o.Log.Error("gossip ended", "error", err)
	go func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.agent == agent {
			m.close()
			m.err = err
		}
	}()
}

// close stops the agent and waits for it.
func (m *membership) close() {
	if m.agent == nil {
		return
	}
	m.stop()
	m.agent, m.stop = nil, nil
}

// Close stops the agent, if one runs.
func (m *membership) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close()
}

// snapshot is what the agent knows; without one, what the state directory
// holds.
func (m *membership) snapshot() (overlay.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent != nil {
		return m.agent.Snapshot(), nil
	}
	s, err := overlay.ReadState(m.o.StateDir)
	if m.err != nil {
		err = m.err
	}
	return s, err
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
		s.Roster = append(s.Roster, overlay.RosterNode{Name: n.Meta.Name.Name, Addresses: n.Addresses, External: n.External})
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
