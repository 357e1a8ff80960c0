package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// vxlanAttributes fills in the data of a VXLAN link that is made. It is bound
// to no other link: the outer packet goes where its address is routed. The
// source is always given, for the kernel would choose one that peers do not
// know.
func vxlanAttributes(data *nl.RtAttr, want reconciler.Link) {
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(want.VNI))
	data.AddRtAttr(nl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, want.Port))
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, nl.Uint8Attr(0))
	// Zero for IPv4, as RFC 7348 section 5 recommends. For IPv6 there is a
	// checksum, or receivers drop the packet.
	data.AddRtAttr(nl.IFLA_VXLAN_UDP_CSUM, nl.Uint8Attr(0))
	vxlanLocal(data, want)
}

func vxlanLocal(data *nl.RtAttr, want reconciler.Link) {
	kind := nl.IFLA_VXLAN_LOCAL
	if want.Local.Is6() {
		kind = nl.IFLA_VXLAN_LOCAL6
	}
	data.AddRtAttr(kind, want.Local.AsSlice())
}

// vxlanRequests sets what of a VXLAN link can be changed and differs.
func vxlanRequests(want reconciler.Link, there kernelLink) []*nl.NetlinkRequest {
	have, ok := there.Link.(*netlink.Vxlan)
	if !ok || toAddr(have.SrcAddr) == want.Local && !have.Learning {
		return nil
	}
	req := request(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(there.index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_LEARNING, nl.Uint8Attr(0))
	vxlanLocal(data, want)
	req.AddData(info)
	return []*nl.NetlinkRequest{req}
}

// ethtoolValue is struct ethtool_value of linux/ethtool.h, and ifreqData a
// struct ifreq that points to one.
type ethtoolValue struct{ command, data uint32 }

type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool sends a command with a value and returns the answer.
func ethtool(link string, command, value uint32) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	v := &ethtoolValue{command, value}
	req := &ifreqData{data: unsafe.Pointer(v)}
	copy(req.name[:unix.IFNAMSIZ-1], link)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req))); errno != 0 {
		return 0, fmt.Errorf("ethtool %s: %w", link, errno)
	}
	return v.data, nil
}

// checksumOffload reports whether a link leaves checksums of what it sends to
// what is below it.
func checksumOffload(link string) bool {
	on, err := ethtool(link, unix.ETHTOOL_GTXCSUM, 0)
	return err == nil && on != 0
}

func setChecksumOffload(link string, on bool) error {
	value := uint32(0)
	if on {
		value = 1
	}
	_, err := ethtool(link, unix.ETHTOOL_STXCSUM, value)
	return err
}

// vtepEntries reads the permanent neighbours and the forwarding entries of
// our VXLAN links.
func (t *Target) vtepEntries(links []kernelLink) ([]reconciler.Object, error) {
	var out []reconciler.Object
	names := map[int]string{}
	for _, l := range links {
		if l.Type() != string(reconciler.LinkVXLAN) || !t.ours(l) {
			continue
		}
		names[l.index] = l.name
		fdb, err := t.host.neighbourDump(unix.AF_BRIDGE, l.index)
		if err != nil {
			return nil, fmt.Errorf("dump of forwarding entries: %w", err)
		}
		for _, e := range fdb {
			if e.index == l.index && e.address.IsValid() {
				out = append(out, reconciler.FDBEntry{MAC: e.mac, Link: l.name, Destination: e.address})
			}
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	all, err := t.host.neighbourDump(unix.AF_UNSPEC, 0)
	if err != nil {
		return nil, fmt.Errorf("dump of neighbours: %w", err)
	}
	for _, e := range all {
		if name := names[e.index]; name != "" && e.state&unix.NUD_PERMANENT != 0 && e.address.IsValid() {
			out = append(out, reconciler.Neighbour{Address: e.address, Link: name, MAC: e.mac})
		}
	}
	return out, nil
}

func (t *Target) doNeighbour(n reconciler.Neighbour, remove bool) error {
	family := unix.AF_INET
	if n.Address.Is6() {
		family = unix.AF_INET6
	}
	return t.doEntry(n.Link, remove, neighbourEntry{family: family, address: n.Address, mac: n.MAC})
}

func (t *Target) doFDBEntry(e reconciler.FDBEntry, remove bool) error {
	return t.doEntry(e.Link, remove, neighbourEntry{family: unix.AF_BRIDGE, flags: netlink.NTF_SELF, address: e.Destination, mac: e.MAC})
}

// doEntry sets or deletes an entry of a VXLAN link; deleting a missing one is
// success.
func (t *Target) doEntry(link string, remove bool, e neighbourEntry) error {
	c, there, err := t.find("", link)
	switch {
	case remove && errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !t.ours(there):
		return &reconciler.ConflictError{Conflict: linkConflict("", there)}
	}
	e.index, e.state = there.index, unix.NUD_PERMANENT
	if !remove {
		return c.batch(e.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE))
	}
	err = c.batch(e.request(unix.RTM_DELNEIGH, 0))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// before57 reports whether the kernel is older than 5.7, whose UDP tunnels
// compute checksums of encapsulated packets wrongly when they are masqueraded
// (kubernetes/kubernetes#88986).
func before57() bool {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major < 5 || major == 5 && minor < 7
}
