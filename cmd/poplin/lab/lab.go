//go:build linux

// Package lab makes a cluster of network namespaces on this machine: each
// node is a set of namespaces (network, mounts, processes, host name) with a
// /run and a /var/lib of its own, all nodes are on one underlay bridge, and
// each runs the real daemon on the same tree of documents.
//
// One keeper process per lab owns everything. It is process 1 of its own
// process namespace and lives in its own network and mount namespace (and in
// a user namespace where it is not started by root), so nothing of the
// machine's network is touched, and killing the keeper removes the whole lab:
// that is how Down works, also after a crash. The keeper is needed because a
// Go process has many threads and cannot enter a user namespace that exists
// already; it therefore stays inside from the start and takes commands, with
// standard streams as descriptors, over its socket.
//
// A node has a process namespace of its own, with a first process that lives
// in the node's mount namespace, because the daemon looks at process 1 to find
// the host's mount namespace.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// DefaultName is the name of a lab that was given none.
const DefaultName = "lab"

// ClientName is the name of the outside host on the underlay.
const ClientName = "client"

// ErrNotRunning says that there is no lab of that name, or not any more.
var ErrNotRunning = errors.New("not running")

// Lab is what a keeper builds: plain values, sent to it as JSON.
type Lab struct {
	Name  string
	Dir   string // the lab's own directory: socket, logs, state
	Hosts []Host // nodes in order, then the client
	// Env is the environment of the daemons.
	Env []string
	// Key is the content of the gossip key file of every node.
	Key string
	// Backend, if not empty, replaces that of the trees, of which the hosts
	// then get copies.
	Backend string
	// Servers tells the keeper to answer on the ports that pods declare.
	Servers bool
	// Detached keepers outlive the process that started them.
	Detached bool
}

// Host is one node, or the client.
type Host struct {
	Name      string
	Addresses []netip.Addr // underlay, at most one per family, the preferred one first
	// Gateways are the next hops of the default routes, at most one per family.
	Gateways []netip.Addr
	// Forwards makes the host a router between underlay networks.
	Forwards bool
	// Tree is the directory of documents, an absolute path.
	Tree string
	// Daemon is the command line of the daemon after the name of the
	// program and without --config, which is Tree; empty: the host runs none.
	Daemon []string
}

// prefixLength gives the length of the underlay network that an address is in.
func prefixLength(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 64
}

// Host finds a host by name.
func (l *Lab) Host(name string) (*Host, error) {
	for i := range l.Hosts {
		if l.Hosts[i].Name == name {
			return &l.Hosts[i], nil
		}
	}
	return nil, fmt.Errorf("no host %q in lab %s", name, l.Name)
}

// Nodes gives the hosts without the client.
func (l *Lab) Nodes() []Host {
	var nodes []Host
	for _, h := range l.Hosts {
		if h.Name != ClientName {
			nodes = append(nodes, h)
		}
	}
	return nodes
}

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$`)

// CheckName refuses names of labs that don't fit into a path of a socket.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("lab name %q: want lower-case letters, digits and dashes, at most 32", name)
	}
	return nil
}
