//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/lab"
)

const (
	syncPoll   = 250 * time.Millisecond // while nodes are awaited
	followPoll = time.Second            // afterwards
)

// errLabGone says that the keeper ended by itself or was removed elsewhere.
var errLabGone = errors.New("the lab has ended")

// nodeStatus is what the lab reads of a node's Status.
type nodeStatus struct {
	Ready    bool   `json:"ready"`
	InSync   bool   `json:"inSync"`
	Revision string `json:"revision"`
	Claims   []struct {
		Subnet netip.Prefix `json:"subnet"`
	} `json:"claims"`
	Problems []struct {
		What string `json:"what"`
	} `json:"problems"`
}

// nodeRow is one line of the lab's table.
type nodeRow struct {
	underlay string
	subnets  string
	state    string
	inSync   time.Duration // since the start; 0: not yet
}

// labWatcher follows the daemons of a lab.
type labWatcher struct {
	client  *lab.Client
	lab     lab.Lab
	started time.Time
	seen    map[string]nodeRow
}

// waitInSync waits until every daemon says that it is in sync, and fails after
// the time-out with the state of those that aren't.
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
			return fmt.Errorf("after %s not in sync: %s; see `poplin lab logs NODE`", timeout, strings.Join(waiting, ", "))
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
			fmt.Fprintf(out, "%s  %s  %s\n", node, row.subnets, row.state)
		})
	}
}

// look asks all daemons and names those that are not in sync. changed, if not
// nil, is called for every node whose state is another than the last time.
func (w *labWatcher) look(ctx context.Context, changed func(string, nodeRow)) []string {
	var waiting []string
	for _, n := range w.lab.Nodes() {
		if len(n.Daemon) == 0 {
			continue
		}
		row := w.ask(ctx, n.Name)
		before := w.seen[n.Name]
		if row.state == "in sync" && before.inSync == 0 {
			row.inSync = time.Since(w.started)
		} else {
			row.inSync = before.inSync
		}
		w.seen[n.Name] = row
		if row.state != "in sync" {
			waiting = append(waiting, n.Name+" "+row.state)
		}
		if changed != nil && (before.state != row.state || before.subnets != row.subnets) {
			changed(n.Name, row)
		}
	}
	return waiting
}

// ask gets the state of one daemon through the command that people use.
func (w *labWatcher) ask(ctx context.Context, node string) nodeRow {
	out, err := w.client.Output(ctx, node, "poplin", "status", "-o", "json")
	var status nodeStatus
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		return nodeRow{state: "no answer"}
	}
	row := nodeRow{state: "waiting"}
	switch {
	case status.Ready && status.InSync:
		row.state = "in sync"
	case status.Ready:
		row.state = "ready"
	}
	var subnets []string
	for _, c := range status.Claims {
		subnets = append(subnets, c.Subnet.String())
	}
	row.subnets = strings.Join(subnets, " ")
	return row
}

// print shows the lab as a table.
func (w *labWatcher) print(ctx context.Context, out io.Writer, o upOptions) error {
	info, err := w.client.Info(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tUNDERLAY\tSUBNET\tPODS\tSTATE\tIN SYNC")
	for _, h := range info.Hosts {
		if h.Name == lab.ClientName {
			continue
		}
		row := w.seen[h.Name]
		if len(h.Daemon) == 0 {
			row.state = "no daemon"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, first(h.Addresses), row.subnets, podsText(h.Pods), row.state, syncText(row.inSync))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return printServices(out, o)
}

func first(addresses []netip.Addr) string {
	if len(addresses) == 0 {
		return ""
	}
	return addresses[0].String()
}

func syncText(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// podsText names the first pods and their addresses.
func podsText(pods []lab.PodInfo) string {
	const shown = 3
	var text []string
	for i, p := range pods {
		if i == shown {
			text = append(text, fmt.Sprintf("and %d more", len(pods)-shown))
			break
		}
		name := strings.TrimPrefix(p.Name, "default/")
		text = append(text, strings.TrimSpace(name+" "+strings.Join(p.Addresses, " ")))
	}
	if len(text) == 0 {
		return "-"
	}
	return strings.Join(text, ", ")
}

// printServices shows the services of the tree and what to try.
func printServices(out io.Writer, o upOptions) error {
	return nil
}
