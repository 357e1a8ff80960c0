// Package wg is the data path of the wireguard backend: the node's key, the
// embedded device for kernels without WireGuard, and the control of either
// kind, which is the same (wgctrl: generic netlink for the kernel's, a Unix
// socket for the embedded one, so that wg(8) shows both).
//
//	kernel ──route──▶ poplin-wg (TUN) ──▶ wireguard-go ──▶ UDP ──▶ underlay
//	kernel ──route──▶ poplin-wg (kernel's own)         ──▶ UDP ──▶ underlay
//
// An embedded device attaches to a TUN device that exists, and leaves it
// there when it ends: addresses and routes outlive the process.
package wg
