// Package probe finds paths that lie about their MTU: where small packets
// arrive and those of the size that the path promises do not, without anybody
// saying so. TCP connections then hang as soon as they have much to say.
//
// Every minute each peer is asked twice by ICMP echo, through the overlay
// itself, whichever it is: with a small packet and with one as large as its
// route allows, which must not be fragmented. Both are asked three times
// before they count as lost.
package probe
