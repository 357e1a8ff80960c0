package daemon

import (
	"context"
	"errors"
	"fmt"
)

// Reload implements api.Backend.
func (d *Daemon) Reload(context.Context) error {
	d.watcher.Reload()
	d.kick()
	return nil
}

// Ack implements api.Backend.
func (d *Daemon) Ack(revision string) error {
	if err := d.documents.ack(revision); err != nil {
		return err
	}
	d.kick()
	return nil
}

// Release implements api.Backend.
func (d *Daemon) Release(what string) error { return d.membership.release(what) }

// Rekey implements api.Backend.
func (d *Daemon) Rekey() error {
	revision := d.documents.now()
	switch {
	case revision == nil:
		return errors.New("there is no accepted revision yet")
	case d.keys.Public() == "":
		return errors.New("this node has no WireGuard key: neither it nor a peer uses the backend wireguard")
	}
	if n := nodeOf(revision.Config, d.o.Node); n != nil && n.PublicKey != "" {
		return fmt.Errorf("%s pins the public key of this node: peers would refuse another one", n.Place)
	}
	if err := d.keys.Renew(); err != nil {
		return err
	}
	d.log.Info("another WireGuard key", "public", d.keys.Public())
	d.kick()
	return nil
}
