package udp

import (
	"fmt"
	"strings"
)

// Rungs are a set of the means by which the tunnel is fast. Each can be
// missing (an old kernel, a network card) or turned off, and the tunnel works
// without it, down to a packet by system call.
type Rungs uint16

// The rungs.
const (
	// VNet: the device says what is left to do with a packet, and lets us say
	// so (IFF_VNET_HDR, TUN_F_CSUM). TSO, USO and Merge need it.
	VNet Rungs = 1 << iota
	// TSO: the device hands out up to 64 KiB of a TCP connection at once.
	TSO
	// USO: the same for UDP; since Linux 6.2.
	USO
	// Merge: packets that follow each other in a flow are written as one.
	// (Broken for TCP in Linux 6.6.44.)
	Merge
	// GSO: datagrams of one size are sent as one (UDP_SEGMENT, since Linux
	// 4.18; broken in 7.0 to 7.1.4). Some network cards cannot (EIO).
	GSO
	// GRO: datagrams of one sender and size are received as one (UDP_GRO,
	// since Linux 5.0).
	GRO
	// Batch: several datagrams are sent and received by a system call
	// (sendmmsg, recvmmsg).
	Batch
	// Lanes: several queues and sockets, each with a thread; on hosts with
	// eight processors and more.
	Lanes
	// Ports: flows have one of a few source ports, so that network cards and
	// routers spread them. Without it all is sent from the local port.
	Ports
	// Spin: look again for a moment before going to sleep.
	Spin

	endOfRungs
)

// AllRungs are all that there are.
const AllRungs = endOfRungs - 1

var rungNames = []string{"vnet", "tso", "uso", "merge", "gso", "gro", "batch", "lanes", "ports", "spin"}

// Has reports whether all of some rungs are in the set.
func (r Rungs) Has(some Rungs) bool { return r&some == some }

// String lists the rungs: "vnet tso gso"; "none" if there are none.
func (r Rungs) String() string {
	var words []string
	for i, name := range rungNames {
		if r.Has(1 << i) {
			words = append(words, name)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

// ParseRungs reads a change of the full set: "-gso,-gro" turns two off; "none"
// turns all off, and "none,+tso" all but one. "" and "all" change nothing.
func ParseRungs(text string) (Rungs, error) {
	set := AllRungs
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		switch word {
		case "all":
			set = AllRungs
			continue
		case "none":
			set = 0
			continue
		}
		rung, found := Rungs(0), false
		for i, name := range rungNames {
			if word[1:] == name {
				rung, found = 1<<i, true
			}
		}
		switch {
		case found && word[0] == '-':
			set &^= rung
		case found && word[0] == '+':
			set |= rung
		default:
			return 0, fmt.Errorf("%q: want -NAME or +NAME of %s; all or none", word, strings.Join(rungNames, ", "))
		}
	}
	if !set.Has(VNet) {
		set &^= TSO | USO | Merge
	}
	return set, nil
}
