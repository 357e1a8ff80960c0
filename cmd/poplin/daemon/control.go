package daemon

import "context"

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
