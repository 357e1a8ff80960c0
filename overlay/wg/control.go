package wg

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Peer is another node's end.
type Peer struct {
	PublicKey string // base64
	Endpoint  netip.AddrPort
	Subnets   []netip.Prefix // what may come from it, and is sent to it; sorted
	Keepalive time.Duration  // 0: none
}

// State is how a device is set up.
type State struct {
	PublicKey string // base64; "" without a key
	Port      uint16
	Peers     []Peer
}

// Change is what is to be different about a device.
type Change struct {
	// PublicKey names the node's key; Keys has the private part.
	PublicKey string
	Port      uint16
	// Set are peers that are new or changed. An Endpoint that is zero leaves
	// that of the device: a peer may have moved.
	Set []Peer
	// Remove are the public keys of peers that go.
	Remove []string
}

// Control reads and changes devices, the kernel's and embedded ones alike.
type Control struct {
	client *wgctrl.Client
	keys   *Keys
}

// NewControl opens the way to the devices of this network namespace.
func NewControl(keys *Keys) (*Control, error) {
	client, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("WireGuard: %w", err)
	}
	return &Control{client, keys}, nil
}

// Close releases descriptors. Devices stay.
func (c *Control) Close() error { return c.client.Close() }

// Read reads a device; ok is false if there is none.
func (c *Control) Read(name string) (s State, ok bool, err error) {
	d, err := c.client.Device(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) { // or the socket of a process that died
		return State{}, false, nil
	}
	if err != nil {
		return State{}, false, fmt.Errorf("WireGuard device %s: %w", name, err)
	}
	s.Port = uint16(d.ListenPort)
	if d.PrivateKey != (wgtypes.Key{}) {
		s.PublicKey = d.PrivateKey.PublicKey().String()
	}
	for _, p := range d.Peers {
		peer := Peer{PublicKey: p.PublicKey.String(), Keepalive: p.PersistentKeepaliveInterval}
		if p.Endpoint != nil {
			e := p.Endpoint.AddrPort()
			peer.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		}
		for _, n := range p.AllowedIPs {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				bits, _ := n.Mask.Size()
				peer.Subnets = append(peer.Subnets, netip.PrefixFrom(addr.Unmap(), bits))
			}
		}
		slices.SortFunc(peer.Subnets, netip.Prefix.Compare)
		s.Peers = append(s.Peers, peer)
	}
	return s, true, nil
}

// Apply changes a device in one step. Sessions with peers that are not named
// go on, unless the key is another one.
func (c *Control) Apply(name string, change Change) error {
	now, ok, err := c.Read(name)
	if err != nil || !ok {
		return errors.Join(fmt.Errorf("WireGuard device %s is missing", name), err)
	}
	var config wgtypes.Config
	if now.PublicKey != change.PublicKey {
		private, err := c.keys.private(change.PublicKey)
		if err != nil {
			return err
		}
		config.PrivateKey = &private
	}
	if now.Port != change.Port {
		port := int(change.Port)
		config.ListenPort = &port
	}
	for _, public := range change.Remove {
		key, err := wgtypes.ParseKey(public)
		if err != nil {
			return fmt.Errorf("public key %q: %w", public, err)
		}
		config.Peers = append(config.Peers, wgtypes.PeerConfig{PublicKey: key, Remove: true})
	}
	for _, p := range change.Set {
		peer, err := peerConfig(p)
		if err != nil {
			return err
		}
		config.Peers = append(config.Peers, peer)
	}
	if err := c.client.ConfigureDevice(name, config); err != nil {
		return fmt.Errorf("WireGuard device %s: %w", name, err)
	}
	return nil
}

func peerConfig(p Peer) (wgtypes.PeerConfig, error) {
	key, err := wgtypes.ParseKey(p.PublicKey)
	if err != nil {
		return wgtypes.PeerConfig{}, fmt.Errorf("public key %q: %w", p.PublicKey, err)
	}
	out := wgtypes.PeerConfig{PublicKey: key, ReplaceAllowedIPs: true, PersistentKeepaliveInterval: &p.Keepalive}
	if p.Endpoint.IsValid() {
		out.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
	}
	for _, s := range p.Subnets {
		out.AllowedIPs = append(out.AllowedIPs, net.IPNet{IP: s.Addr().AsSlice(), Mask: net.CIDRMask(s.Bits(), s.Addr().BitLen())})
	}
	return out, nil
}
