package reconciler

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// LinkType is the kind of a network interface.
type LinkType string

// The link types that poplin makes.
const (
	LinkBridge    LinkType = "bridge"
	LinkVeth      LinkType = "veth"
	LinkTUN       LinkType = "tun"
	LinkVXLAN     LinkType = "vxlan"
	LinkWireGuard LinkType = "wireguard"
)

// MAC is a link-layer address of six bytes; the zero value leaves the choice
// to the kernel.
type MAC [6]byte

// String formats the address as colon-separated hexadecimal digits.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Link is a network interface on the host or in a pod's namespace. Its
// administrative state is up; an observed link that is not says so in Down.
//
// A veth pair is two links: the host's end, whose Peer and PeerNetns name
// the other end, and the pod's end, whose Netns is set and which comes into
// being with the host's end. Deleting either end deletes both.
type Link struct {
	Netns string // "" for the host, else the name of a Namespace
	Name  string
	Type  LinkType
	// Alias is the mark of ownership: poplin CLUSTER/NAME.
	Alias     string
	MAC       MAC
	MTU       int    // bytes
	Master    string // bridge that the link is a port of
	Peer      string // veth, host's end: name of the pod's end
	PeerNetns string // veth, host's end: namespace of the pod's end
	// Hairpin and Isolated are flags of a bridge port.
	Hairpin  bool
	Isolated bool
	// CallIPTables and CallIP6Tables are a bridge's own nf_call_iptables and
	// nf_call_ip6tables, which hand its bridged packets to netfilter.
	CallIPTables  bool
	CallIP6Tables bool
	QueueLength   int // packets; 0 leaves the kernel's default
	MultiQueue    bool
	// VNI, Port and Local are a VXLAN link's network identifier, UDP port and
	// outer source address.
	VNI   uint32
	Port  uint16
	Local netip.Addr
	// ChecksumOffload lets a VXLAN link leave checksums to what is below it.
	ChecksumOffload bool
	// Learning says that a VXLAN link learns where addresses are from what it
	// receives. It is false in every desired state.
	Learning bool
	// Down says that the link is administratively down. It is false in every
	// desired state.
	Down bool
}

// LinkKey identifies a Link.
type LinkKey struct{ Netns, Name string }

func (l Link) Kind() Kind { return KindLink }
func (l Link) Key() Key   { return LinkKey{l.Netns, l.Name} }

func (l Link) Needs() []Key {
	var needs []Key
	if l.Netns != "" {
		needs = append(needs, NamespaceKey{l.Netns})
	}
	if l.PeerNetns != "" {
		needs = append(needs, NamespaceKey{l.PeerNetns})
	}
	if l.Master != "" {
		needs = append(needs, LinkKey{"", l.Master})
	}
	return needs
}

// Makes names the pod's end, which the host's end of a veth pair makes.
func (l Link) Makes() []Key {
	if l.PeerNetns == "" {
		return nil
	}
	return []Key{LinkKey{l.PeerNetns, l.Peer}}
}

// Replaces reports whether the link must be made anew: its type, its
// multi-queue flag, the far end of a veth, or the identity of a VXLAN link
// cannot be changed.
func (l Link) Replaces(before Object) bool {
	b, ok := before.(Link)
	return ok && (l.Type != b.Type || l.Peer != b.Peer || l.PeerNetns != b.PeerNetns ||
		l.MultiQueue != b.MultiQueue || l.VNI != b.VNI || l.Port != b.Port || l.Local.Is4() != b.Local.Is4())
}

func (l Link) String() string {
	var b strings.Builder
	b.WriteString("link " + inNetns(l.Netns) + l.Name + " type " + string(l.Type))
	word := func(show bool, format string, args ...any) {
		if show {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	word(l.Peer != "", "peer %s", l.Peer)
	word(l.PeerNetns != "", "peer-netns %s", l.PeerNetns)
	word(l.Master != "", "master %s", l.Master)
	word(l.MAC != MAC{}, "address %s", l.MAC)
	word(l.MTU != 0, "mtu %d", l.MTU)
	word(l.QueueLength != 0, "txqueuelen %d", l.QueueLength)
	word(l.MultiQueue, "multi_queue")
	word(l.VNI != 0, "id %d", l.VNI)
	word(l.Port != 0, "dstport %d", l.Port)
	word(l.Local.IsValid(), "local %s", l.Local)
	word(l.ChecksumOffload, "tx-checksum on")
	word(l.Hairpin, "hairpin on")
	word(l.Isolated, "isolated on")
	word(l.CallIPTables, "nf_call_iptables 1")
	word(l.CallIP6Tables, "nf_call_ip6tables 1")
	word(l.Alias != "", "alias %q", l.Alias)
	word(l.Learning, "learning")
	word(l.Down, "down")
	return b.String()
}

// inNetns is the prefix with which an object's text names its namespace.
func inNetns(name string) string {
	if name == "" {
		return ""
	}
	return "netns " + name + " "
}

// Rank orders links: bridges and tunnels, then the host's ends of veth pairs,
// then the pods' ends.
func (l Link) Rank() int {
	switch {
	case l.Netns != "":
		return 2
	case l.Type == LinkVeth:
		return 1
	}
	return 0
}
