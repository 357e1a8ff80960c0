package daemon

import (
	"fmt"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/reconciler/nft"
)

// fullTables are tables of the kernel that packets fill, and that have no
// room for more. What cannot be found out is no problem of its own.
func (d *Daemon) fullTables() []api.Problem {
	if d.loop.Load() == nil {
		return nil
	}
	tracked, err := linux.ReadTracked()
	if err != nil {
		d.log.Debug("connections cannot be counted", "error", err)
	}
	crowds, err := d.targets.nft.Crowds()
	if err != nil {
		d.log.Debug("clients that stick cannot be counted", "error", err)
	}
	return fullProblems(tracked, crowds)
}

func fullProblems(tracked linux.Tracked, crowds []nft.Crowd) []api.Problem {
	var out []api.Problem
	if tracked.Full() {
		out = append(out, api.Problem{
			What:   fmt.Sprintf("%d connections are tracked, of %d that there is room for; without room new ones are dropped", tracked.Count, tracked.Max),
			Remedy: fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d; `conntrack -L` says whose they are", 2*tracked.Max),
		})
	}
	for _, c := range crowds {
		if c.Full() {
			out = append(out, api.Problem{
				What:   fmt.Sprintf("set %s of table %s poplin has all the %d clients that it has room for: further ones do not stick to an endpoint", c.Set, c.Family, c.Size),
				Remedy: "a shorter sessionAffinityConfig.clientIP.timeoutSeconds, or poplin/load-balancing: consistent-hash, which remembers nobody",
			})
		}
	}
	return out
}
