//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

const (
	syncPoll   = 100 * time.Millisecond // while nodes are awaited
	followPoll = time.Second            // afterwards
)

// errLabGone says that the keeper ended by itself or was removed elsewhere.
var errLabGone = errors.New("the lab has ended")

// stateInSync is what labState says about a node that has all it should have.
const stateInSync = "in sync"

// nodeRow is what the lab knows of a node's daemon.
type nodeRow struct {
	status api.Status
	state  string
	inSync time.Duration // from the start until the node was first in sync; 0: not yet
}

// labWatcher follows the daemons of a lab.
type labWatcher struct {
	client  *lab.Client
	lab     lab.Lab
	started time.Time
	seen    map[string]nodeRow
}

// waitInSync waits until every daemon is in sync and all of them have one
// picture of the cluster, and fails after the time-out with the state of those that aren't.
func (w *labWatcher) waitInSync(ctx context.Context, gone <-chan struct{}, timeout time.Duration) error {
	deadline := time.After(timeout)
	for {
		waiting := w.look(ctx, nil)
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errLabGone
		case <-deadline:
			return fmt.Errorf("after %s still: %s; see `poplin lab logs NODE`", timeout, strings.Join(waiting, "; "))
		case <-time.After(syncPoll):
		}
	}
}

// follow prints a line whenever the state of a node changes, until the
// context or the lab ends.
func (w *labWatcher) follow(ctx context.Context, gone <-chan struct{}, out io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errLabGone
		case <-time.After(followPoll):
		}
		w.look(ctx, func(node string, row nodeRow) {
			fmt.Fprintf(out, "%s  %s  %s\n", time.Now().Format(time.TimeOnly), node, rowText(row))
		})
	}
}

// look asks all daemons and says what is still missing. changed,
// if not nil, is called for every node whose line is another than last time.
func (w *labWatcher) look(ctx context.Context, changed func(string, nodeRow)) []string {
	var waiting []string
	var statuses []api.Status
	daemons := w.daemons()
	for _, node := range daemons {
		before := w.seen[node]
		row := nodeRow{inSync: before.inSync}
		var err error
		row.status, err = w.client.Status(ctx, node)
		row.state = labState(row.status, err, len(daemons)-1)
		if row.state == stateInSync && row.inSync == 0 {
			row.inSync = time.Since(w.started)
		}
		w.seen[node] = row
		statuses = append(statuses, row.status)
		if row.state != stateInSync {
			waiting = append(waiting, node+" "+row.state)
		}
		if changed != nil && ctx.Err() == nil && rowText(before) != rowText(row) {
			changed(node, row)
		}
	}
	if len(waiting) == 0 {
		if text := labDisagreement(statuses); text != "" {
			waiting = append(waiting, text)
		}
		if text := unanswered(statuses); text != "" && w.lab.Servers {
			waiting = append(waiting, text)
		}
	}
	return waiting
}

// daemons names the nodes that run one.
func (w *labWatcher) daemons() []string {
	var names []string
	for _, n := range w.lab.Nodes() {
		if len(n.Daemon) > 0 {
			names = append(names, n.Name)
		}
	}
	return names
}

// labState says in a few words how a node is; peers is how many others there
// should be.
func labState(s api.Status, err error, peers int) string {
	alive := 0
	for _, p := range s.Peers {
		if p.State == "alive" && !p.External {
			alive++
		}
	}
	switch {
	case err != nil:
		return "no answer"
	case s.Rejected != nil && len(s.Rejected.Diagnostics) > 0:
		d := s.Rejected.Diagnostics[0]
		return fmt.Sprintf("rejected %s: %s:%d: %s", s.Rejected.Revision, d.File, d.Line, d.Message)
	case s.HeldBack != nil:
		return fmt.Sprintf("holds back %s: %s", s.HeldBack.Revision, s.HeldBack.Reason)
	case s.Waiting != "":
		return "waits for " + s.Waiting
	case !s.Ready:
		return "starting"
	case !s.InSync && s.LastApply != nil && s.LastApply.Error != "":
		return "not in sync: " + shorten(s.LastApply.Error)
	case !s.InSync:
		return "not in sync"
	case alive < peers:
		return fmt.Sprintf("sees %d of %d peers", alive, peers)
	}
	return stateInSync
}

// shorten cuts an error to what a line can bear.
func shorten(text string) string {
	const most = 160
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// rowText is what follow shows of a node, and compares.
func rowText(row nodeRow) string {
	text := row.state
	if s := row.status; row.state == stateInSync {
		text = fmt.Sprintf("in sync with %s  %s  %s, %s, %d of %s", s.Revision,
			subnetsText(s), plural(len(s.Pods), "pod"), plural(s.Services, "service"), s.EndpointsReady, plural(s.Endpoints, "endpoint"))
	}
	return text
}

func subnetsText(s api.Status) string {
	var all []netip.Prefix
	for _, sub := range s.Subnets {
		all = append(all, sub.CIDRs...)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return orDash(joinText(all))
}
