package wg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/poplin-net/poplin/overlay/durable"
)

// Keys is the node's private key in its state directory, as one base64 line.
// It may be used by any goroutine.
type Keys struct {
	path string

	mu  sync.Mutex
	key *wgtypes.Key // nil: none yet
}

// OpenKeys reads the key, if there is one.
func OpenKeys(stateDir string) (*Keys, error) {
	k := &Keys{path: filepath.Join(stateDir, "wireguard.key")}
	text, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := wgtypes.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.path, err)
	}
	k.key = &key
	return k, nil
}

// Public is the public key in base64; "" if there is no key yet.
func (k *Keys) Public() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key == nil {
		return ""
	}
	return k.key.PublicKey().String()
}

// Ensure makes a key if there is none.
func (k *Keys) Ensure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		return nil
	}
	return k.renew()
}

// Renew makes another key. It is on disk when Renew returns.
func (k *Keys) Renew() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renew()
}

func (k *Keys) renew() error {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return fmt.Errorf("WireGuard key: %w", err)
	}
	if err := durable.Replace(k.path, []byte(key.String()+"\n")); err != nil {
		return fmt.Errorf("WireGuard key: %w", err)
	}
	k.key = &key
	return nil
}

// private is the private key that belongs to a public one.
func (k *Keys) private(public string) (wgtypes.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key == nil || k.key.PublicKey().String() != public {
		return wgtypes.Key{}, fmt.Errorf("the private key of %s is not this node's", public)
	}
	return *k.key, nil
}
