package overlay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
)

// Transport is how a node wants the packets for its pods.
type Transport struct {
	Backend string `json:"d,omitempty"`
	Port    uint16 `json:"q,omitempty"`
	// VNI and VTEP, the link-layer address of its device, are those of a node
	// with the vxlan backend.
	VNI  uint32 `json:"w,omitempty"`
	VTEP string `json:"f,omitempty"`
	// Direct says that packets from the same link may come without the tunnel.
	Direct bool `json:"dr,omitempty"`
	// PublicKey is that of a node with the wireguard backend, in base64.
	PublicKey string `json:"k,omitempty"`
}

const maxVNI = 1<<24 - 1

// publicKeyLength is the length of a public key in bytes.
const publicKeyLength = 32

func (t Transport) check() error {
	if len(t.Backend) > maxText || t.VNI > maxVNI {
		return fmt.Errorf("backend %q, network identifier %d", clip(t.Backend), t.VNI)
	}
	if t.VTEP != "" {
		// Longer addresses are other links'.
		if mac, err := net.ParseMAC(t.VTEP); err != nil || len(mac) != 6 {
			return fmt.Errorf("link-layer address %q", clip(t.VTEP))
		}
	}
	if t.PublicKey != "" {
		if key, err := base64.StdEncoding.DecodeString(t.PublicKey); err != nil || len(key) != publicKeyLength {
			return errors.New("a public key that is none")
		}
	}
	return nil
}
