package linux

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// setLink makes a link, or makes the one that is there equal to it.
func (t *Target) setLink(want reconciler.Link) error {
	c, err := t.connOf(want.Netns)
	if err != nil {
		return err
	}
	there, ok, err := c.link(want.Name)
	if err != nil {
		return err
	}
	if ok && !t.ours(there) && !isPodsEnd(want, there) {
		return &reconciler.ConflictError{Conflict: linkConflict(want.Netns, there)}
	}
	if ok && want.Netns == "" {
		have, err := t.linkObject(there)
		if err != nil {
			return err
		}
		if want.Replaces(have) {
			if err := c.deleteLink(there.index); err != nil {
				return fmt.Errorf("deleting what is there: %w", err)
			}
			ok = false
		}
	}
	if !ok {
		if err := t.createLink(c, want); err != nil {
			return err
		}
		if there, ok, err = c.link(want.Name); err != nil || !ok {
			return errors.Join(errors.New("the new link is gone"), err)
		}
	}
	return configure(c, want, there)
}

// isPodsEnd reports whether a link in a pod's namespace is the end of a pair
// that the host's end brought into being and that carries no mark yet.
func isPodsEnd(want reconciler.Link, there kernelLink) bool {
	return want.Netns != "" && want.Type == reconciler.LinkVeth && there.Type() == "veth" &&
		there.alias == "" && there.peerNSID >= 0
}

// linkObject is the object of a link of the host, with its far end.
func (t *Target) linkObject(l kernelLink) (reconciler.Link, error) {
	o := l.object("", nil)
	for _, p := range t.pods {
		if o.Type != reconciler.LinkVeth || p.nsid < 0 || p.nsid != l.peerNSID {
			continue
		}
		links, err := p.conn.links()
		if err != nil {
			return o, err
		}
		o.Peer, o.PeerNetns = indexNames(links)[l.peerLink], p.name
	}
	return o, nil
}

// createLink makes a link with our mark. The kernel does not take the alias
// at creation, so creation and mark go in one datagram: nothing can leave
// the one without the other.
func (t *Target) createLink(c *conn, want reconciler.Link) error {
	switch {
	case want.Netns != "":
		return errors.New("the host's end of the pair is missing")
	case want.Type == reconciler.LinkTUN:
		return createTUN(c, want)
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(string(want.Type)))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	switch want.Type {
	case reconciler.LinkBridge:
		// No spanning tree: a new port forwards at once. No snooping: there
		// is no querier, and neighbour discovery must reach every port.
		data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
		data.AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(0))
	case reconciler.LinkVXLAN:
		vxlanAttributes(data, want)
	case reconciler.LinkVeth:
		p := t.pods[want.PeerNetns]
		if p == nil {
			return fmt.Errorf("netns %s is missing", want.PeerNetns)
		}
		peer := data.AddRtAttr(nl.VETH_INFO_PEER, nil)
		nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
		peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Peer))
		peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(p.file.Fd())))
	case reconciler.LinkWireGuard:
		// Keys and peers are not rtnetlink's.
	default:
		return fmt.Errorf("links of type %q are not known", want.Type)
	}
	create := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	create.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	create.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Name)))
	if mac := wantedMAC(want); hasMAC(want.Type) {
		create.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]))
	}
	create.AddData(info)
	return c.batch(create, markRequest(want))
}

// markRequest sets the alias of a link by its name.
func markRequest(want reconciler.Link) *nl.NetlinkRequest {
	mark := request(unix.RTM_SETLINK, 0)
	mark.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	mark.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(want.Name)))
	mark.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(want.Alias)))
	return mark
}

// hasMAC reports whether links of a type have a link-layer address.
func hasMAC(t reconciler.LinkType) bool {
	return t != reconciler.LinkTUN && t != reconciler.LinkWireGuard
}

// wantedMAC is the address that a link is to have.
func wantedMAC(want reconciler.Link) reconciler.MAC {
	if want.MAC == (reconciler.MAC{}) {
		return defaultMAC(want.Netns, want.Name)
	}
	return want.MAC
}

// configure sends what of a link differs from what is wanted.
func configure(c *conn, want reconciler.Link, there kernelLink) error {
	master := 0
	if want.Master != "" {
		m, ok, err := c.link(want.Master)
		if err != nil || !ok {
			return errors.Join(fmt.Errorf("link %s is missing", want.Master), err)
		}
		master = m.index
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(there.index)
	set := request(unix.RTM_SETLINK, 0)
	set.AddData(msg)
	dirty := false
	put := func(differs bool, attr uint16, value []byte) {
		if differs {
			dirty = true
			set.AddData(nl.NewRtAttr(int(attr), value))
		}
	}
	attrs := there.Attrs()
	mac, queue := wantedMAC(want), want.QueueLength
	if queue == 0 {
		queue = defaultQueue
		if want.Type == reconciler.LinkTUN {
			queue = defaultQueueTUN
		}
	}
	put(want.MTU != 0 && want.MTU != attrs.MTU, unix.IFLA_MTU, nl.Uint32Attr(uint32(want.MTU)))
	put(hasMAC(want.Type) && string(mac[:]) != string(attrs.HardwareAddr), unix.IFLA_ADDRESS, mac[:])
	put(queue != attrs.TxQLen, unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(queue)))
	put(want.Alias != there.alias, unix.IFLA_IFALIAS, []byte(want.Alias))
	put(master != there.masterIndex, unix.IFLA_MASTER, nl.Uint32Attr(uint32(master)))
	if attrs.RawFlags&unix.IFF_UP == 0 {
		dirty, msg.Flags, msg.Change = true, unix.IFF_UP, unix.IFF_UP
	}
	var reqs []*nl.NetlinkRequest
	if dirty {
		reqs = append(reqs, set)
	}
	reqs = append(reqs, flagRequests(want, there, master != there.masterIndex)...)
	reqs = append(reqs, vxlanRequests(want, there)...)
	if len(reqs) > 0 {
		if err := c.batch(reqs...); err != nil {
			return err
		}
	}
	if want.Type == reconciler.LinkVXLAN && want.ChecksumOffload != checksumOffload(want.Name) {
		return setChecksumOffload(want.Name, want.ChecksumOffload)
	}
	return nil
}

// flagRequests sets the flags of a bridge, and those of a bridge port, which
// take effect only once it is one.
func flagRequests(want reconciler.Link, there kernelLink, newPort bool) []*nl.NetlinkRequest {
	var reqs []*nl.NetlinkRequest
	if want.CallIPTables != there.callIPTables || want.CallIP6Tables != there.callIP6Tables {
		reqs = append(reqs, infoRequest(there.index, nl.IFLA_INFO_KIND, nl.IFLA_INFO_DATA, map[uint16]bool{
			nl.IFLA_BR_NF_CALL_IPTABLES: want.CallIPTables, nl.IFLA_BR_NF_CALL_IP6TABLES: want.CallIP6Tables,
		}))
	}
	if want.Master != "" && (newPort || want.Hairpin != there.hairpin || want.Isolated != there.isolated) {
		reqs = append(reqs, infoRequest(there.index, nl.IFLA_INFO_SLAVE_KIND, nl.IFLA_INFO_SLAVE_DATA, map[uint16]bool{
			nl.IFLA_BRPORT_MODE: want.Hairpin, nl.IFLA_BRPORT_ISOLATED: want.Isolated,
		}))
	}
	return reqs
}

// infoRequest sets flags of one byte each in a link's info, whose kind is
// "bridge" for a bridge and for its ports alike.
func infoRequest(index int, kind, data int, flags map[uint16]bool) *nl.NetlinkRequest {
	req := request(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(kind, nl.NonZeroTerminated("bridge"))
	values := info.AddRtAttr(data, nil)
	for attr, on := range flags {
		value := uint8(0)
		if on {
			value = 1
		}
		values.AddRtAttr(int(attr), nl.Uint8Attr(value))
	}
	req.AddData(info)
	return req
}

// dropLink deletes a link of ours; one that is missing is success, and one
// that is not ours (any more) is left alone.
func (t *Target) dropLink(l reconciler.Link) error {
	c, err := t.connOf(l.Netns)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	there, ok, err := c.link(l.Name)
	if err != nil || !ok || !t.ours(there) {
		return err
	}
	return c.deleteLink(there.index)
}

func (c *conn) deleteLink(index int) error {
	err := c.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// connOf is the connection to a pod's namespace, or the host's for "". The
// error is os.ErrNotExist if there is no such namespace.
func (t *Target) connOf(netns string) (*conn, error) {
	if netns == "" {
		return t.host, nil
	}
	p := t.pods[netns]
	if p == nil {
		return nil, fmt.Errorf("netns %s is missing: %w", netns, os.ErrNotExist)
	}
	return p.conn, nil
}
