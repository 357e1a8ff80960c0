package daemon

import (
	"context"
	"fmt"

	"github.com/poplin-net/poplin/reconciler"
)

// Once reads the documents, makes one round without gossip and returns: for
// pinned subnets and a roster.
func (d *Daemon) Once(ctx context.Context) error {
	next, err := readRevision(d.o.ConfigDir)
	if err != nil {
		return err
	}
	d.documents.current = next
	if err := d.open(); err != nil {
		return err
	}
	defer d.close()
	// The tunnel lives only as long as the process, so it is no part of this.
	engine := reconciler.NewEngine(d.targets.linux, d.targets.nft)
	for range 2 { // pods are ready for services once their interfaces are there
		round := engine.Converge(ctx, func(o reconciler.Observation) (reconciler.Desired, error) {
			desired, err := d.desire(ctx, o)
			desired.State = withoutTunnel(desired.State)
			return desired, err
		})
		d.report(round)
		if round.Err != nil {
			return round.Err
		}
		for _, c := range round.Conflicts {
			return fmt.Errorf("conflict: %s: %s", c.What, c.Remedy)
		}
	}
	if waiting := d.account.read().waiting; waiting != "" {
		return fmt.Errorf("nothing to do but wait for %s", waiting)
	}
	return nil
}
