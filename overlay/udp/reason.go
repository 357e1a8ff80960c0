package udp

// Reason says why a packet was dropped.
type Reason uint8

// The reasons. Those of packets from the underlay come first.
const (
	accepted Reason = iota

	// UnknownPeer: the outer source address is no peer's.
	UnknownPeer
	// NotIP: the first nibble is neither 4 nor 6. Not warned about: a newer
	// peer may send messages that this one does not know.
	NotIP
	// Truncated: shorter than its header, or than the length in it.
	Truncated
	// ForeignSource: the inner source is in no subnet of the peer that sent it.
	ForeignSource
	// Forwarded: the inner destination is in a peer's subnet, so that the
	// packet would go back into the tunnel.
	Forwarded
	// DeviceError: the device refused it (it is down, or out of memory).
	DeviceError

	// NoRoute: a packet of the kernel for which no peer is responsible.
	NoRoute
	// NotUnicast: a packet of the kernel to a multicast or link-local
	// address. Not warned about: every link sends some when it comes up.
	NotUnicast
	// NotIPOut and TruncatedOut: something from the device that is no packet.
	NotIPOut
	TruncatedOut
	// Oversize: too large for a datagram (EMSGSIZE).
	Oversize
	// SendError: the socket refused it (no route to the peer, a firewall, …).
	SendError

	reasons // number of reasons
)

var reasonNames = [reasons]string{
	accepted:      "accepted",
	UnknownPeer:   "unknown-peer",
	NotIP:         "not-ip",
	Truncated:     "truncated",
	ForeignSource: "foreign-source",
	Forwarded:     "forwarded",
	DeviceError:   "device-error",
	NoRoute:       "no-route",
	NotUnicast:    "not-unicast",
	NotIPOut:      "not-ip-out",
	TruncatedOut:  "truncated-out",
	Oversize:      "oversize",
	SendError:     "send-error",
}

// String gives the reason's word in status and log.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// MarshalText makes the word a key of JSON objects.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// loud reports whether the reason is worth a warning.
func (r Reason) loud() bool { return r != NotIP && r != NotUnicast }
