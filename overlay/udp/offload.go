package udp

import "unsafe"

// Offload says what is left to do with a packet: complete its checksum, cut
// it into segments. The zero value is a packet that is complete. It has the
// layout of struct virtio_net_hdr (include/uapi/linux/virtio_net.h), in the
// byte order of the host.
type Offload struct {
	Flags          uint8
	Kind           uint8  // of segmentation
	HeaderLength   uint16 // bytes of IP and transport header; a hint on reading
	SegmentSize    uint16 // bytes of payload in each segment but the last
	ChecksumStart  uint16 // offset in bytes of the transport header
	ChecksumOffset uint16 // of the checksum in the transport header
}

// The values of Flags and Kind.
const (
	needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	segmentsNone = 0 // VIRTIO_NET_HDR_GSO_NONE
	segmentsTCP4 = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	segmentsTCP6 = 4 // VIRTIO_NET_HDR_GSO_TCPV6
	segmentsUDP  = 5 // VIRTIO_NET_HDR_GSO_UDP_L4, since Linux 6.2
)

// offloadSize is the size in bytes of the header in front of each packet.
const offloadSize = int(unsafe.Sizeof(Offload{}))
