package linux

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// The kernel's transmit queue lengths where none is asked for: ether_setup's
// and, for TUN devices, TUN_READQ_SIZE (drivers/net/tun.c).
const (
	defaultQueue    = 1000
	defaultQueueTUN = 500
)

// attrTypeMask takes the flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER) off an
// attribute's type.
const attrTypeMask = 0x3fff

// kernelLink is a link with the attributes that the library does not read.
type kernelLink struct {
	netlink.Link
	hairpin, isolated            bool
	callIPTables, callIP6Tables  bool
	name, alias                  string
	index, masterIndex, peerLink int
	peerNSID                     int // -1: the same namespace as the link's
}

// links dumps the links of the connection's namespace.
func (c *conn) links() ([]kernelLink, error) {
	msgs, err := dump(func() ([][]byte, error) { return c.dumpLinks("") })
	if err != nil {
		return nil, fmt.Errorf("dump of links: %w", err)
	}
	out := make([]kernelLink, 0, len(msgs))
	for _, m := range msgs {
		l, err := parseLink(m)
		if err != nil {
			return nil, fmt.Errorf("dump of links: %w", err)
		}
		out = append(out, l)
	}
	return out, nil
}

// link looks a link up by name; ok is false if there is none.
func (c *conn) link(name string) (l kernelLink, ok bool, err error) {
	msgs, err := c.dumpLinks(name)
	if err != nil || len(msgs) == 0 {
		return kernelLink{}, false, err
	}
	l, err = parseLink(msgs[0])
	return l, err == nil, err
}

func parseLink(m []byte) (kernelLink, error) {
	parsed, err := netlink.LinkDeserialize(nil, m)
	if err != nil {
		return kernelLink{}, err
	}
	a := parsed.Attrs()
	l := kernelLink{
		Link: parsed, name: a.Name, alias: a.Alias, index: a.Index, masterIndex: a.MasterIndex,
		peerLink: a.ParentIndex, peerNSID: a.NetNsID,
	}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return l, err
	}
	for _, attr := range attrs {
		if attr.Attr.Type&attrTypeMask == unix.IFLA_LINKINFO {
			return l, l.parseInfo(attr.Value)
		}
	}
	return l, nil
}

// parseInfo reads a bridge's netfilter flags and a bridge port's flags.
func (l *kernelLink) parseInfo(info []byte) error {
	attrs, err := nl.ParseRouteAttr(info)
	if err != nil {
		return err
	}
	slave := ""
	for _, attr := range attrs {
		switch attr.Attr.Type & attrTypeMask {
		case nl.IFLA_INFO_SLAVE_KIND:
			slave = unix.ByteSliceToString(attr.Value)
		case nl.IFLA_INFO_DATA:
			if l.Type() == "bridge" {
				err = eachByte(attr.Value, map[uint16]*bool{
					nl.IFLA_BR_NF_CALL_IPTABLES: &l.callIPTables, nl.IFLA_BR_NF_CALL_IP6TABLES: &l.callIP6Tables,
				})
			}
		case nl.IFLA_INFO_SLAVE_DATA:
			if slave == "bridge" {
				err = eachByte(attr.Value, map[uint16]*bool{
					nl.IFLA_BRPORT_MODE: &l.hairpin, nl.IFLA_BRPORT_ISOLATED: &l.isolated,
				})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachByte sets the flags whose attributes, of one byte each, are in data.
func eachByte(data []byte, flags map[uint16]*bool) error {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return err
	}
	for _, attr := range attrs {
		if flag := flags[attr.Attr.Type&attrTypeMask]; flag != nil && len(attr.Value) > 0 {
			*flag = attr.Value[0] != 0
		}
	}
	return nil
}

// object makes the object of a link. names gives the names of the links of
// the same namespace by index. The far end of a veth pair is for the caller
// to add.
func (l kernelLink) object(netns string, names map[int]string) reconciler.Link {
	a := l.Attrs()
	o := reconciler.Link{
		Netns: netns, Name: l.name, Type: reconciler.LinkType(l.Type()), Alias: l.alias, MTU: a.MTU,
		Master: names[l.masterIndex], Hairpin: l.hairpin, Isolated: l.isolated,
		CallIPTables: l.callIPTables, CallIP6Tables: l.callIP6Tables,
		Down: a.RawFlags&unix.IFF_UP == 0,
	}
	queue := defaultQueue
	if tun, ok := l.Link.(*netlink.Tuntap); ok {
		queue = defaultQueueTUN
		o.Type = reconciler.LinkTUN // the library says tuntap
		if tun.Mode != netlink.TUNTAP_MODE_TUN {
			o.Type = "tap"
		}
		o.MultiQueue = tun.Flags&netlink.TUNTAP_MULTI_QUEUE != 0
	}
	if vxlan, ok := l.Link.(*netlink.Vxlan); ok {
		o.VNI, o.Port, o.Local, o.Learning = uint32(vxlan.VxlanId), uint16(vxlan.Port), toAddr(vxlan.SrcAddr), vxlan.Learning
		o.ChecksumOffload = checksumOffload(l.name)
	}
	if a.TxQLen != queue {
		o.QueueLength = a.TxQLen
	}
	if len(a.HardwareAddr) == len(o.MAC) {
		copy(o.MAC[:], a.HardwareAddr)
	}
	if o.MAC == defaultMAC(netns, l.name) {
		o.MAC = reconciler.MAC{}
	}
	return o
}

// defaultMAC is the address of a link for which none is asked for. It is
// derived from the name, so that an observation can tell that the address
// was not asked for, and so that a link made anew has its old address.
// It is locally administered and unicast (IEEE 802).
func defaultMAC(netns, name string) reconciler.MAC {
	sum := sha256.Sum256([]byte("poplin link " + netns + "/" + name))
	mac := reconciler.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// ours reports whether a link carries this cluster's mark.
func (t *Target) ours(l kernelLink) bool { return strings.HasPrefix(l.alias, t.alias) }

// nameOfOurs matches the names that poplin gives to links of the host.
var nameOfOurs = regexp.MustCompile(`^(poplin.*|pop[0-9a-f]{12}|pop\.[0-9a-f]+\.[0-9a-f]+)$`)

// linkConflicts reports links of the host that have a name of ours without
// our mark.
func (t *Target) linkConflicts(links []kernelLink) []reconciler.Conflict {
	var out []reconciler.Conflict
	for _, l := range links {
		if nameOfOurs.MatchString(l.name) && !t.ours(l) {
			out = append(out, linkConflict("", l))
		}
	}
	return out
}

func linkConflict(netns string, l kernelLink) reconciler.Conflict {
	where, command := "", "ip link delete "+l.name
	if netns != "" {
		where, command = " in netns "+netns, "ip -n "+netns+" link delete "+l.name
	}
	return reconciler.Conflict{
		Key:    reconciler.LinkKey{Netns: netns, Name: l.name},
		What:   fmt.Sprintf("link %s%s exists and is not poplin's", l.name, where),
		Remedy: command,
	}
}

// indexNames maps the indexes of links to their names.
func indexNames(links []kernelLink) map[int]string {
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.index] = l.name
	}
	return names
}

// readHost reads our links, addresses and routes of the host's namespace.
// It returns all links, too.
func (t *Target) readHost() ([]reconciler.Object, []kernelLink, error) {
	links, err := t.host.links()
	if err != nil {
		return nil, nil, err
	}
	byNSID := map[int]*pod{}
	for _, p := range t.pods {
		if p.nsid >= 0 {
			byNSID[p.nsid] = p
		}
	}
	names := indexNames(links)
	var objects []reconciler.Object
	for _, l := range links {
		if !t.ours(l) {
			continue
		}
		o := l.object("", names)
		if p := byNSID[l.peerNSID]; p != nil && o.Type == reconciler.LinkVeth {
			o.Peer, o.PeerNetns = p.links[l.peerLink], p.name
		}
		objects = append(objects, o)
	}
	entries, err := t.vtepEntries(links)
	if err != nil {
		return nil, nil, err
	}
	rest, err := t.readLayer3(t.host, "", links)
	return slices.Concat(objects, entries, rest), links, err
}

// readLayer3 reads the addresses of our links among links, and our routes.
func (t *Target) readLayer3(c *conn, netns string, links []kernelLink) ([]reconciler.Object, error) {
	mine := map[int]string{}
	for _, l := range links {
		if t.ours(l) {
			mine[l.index] = l.name
		}
	}
	addresses, err := c.addresses(netns, mine)
	if err != nil {
		return nil, err
	}
	routes, err := c.routes(netns, indexNames(links))
	return append(addresses, routes...), err
}
