//go:build linux

package main

import (
	"fmt"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// labDisagreement says how the nodes' pictures of the cluster still differ,
// in a few words; "" if they are one. A node can be in sync with all that it
// has heard while news of a peer's pods is still under way.
func labDisagreement(nodes []api.Status) string {
	for _, a := range nodes {
		for _, b := range nodes {
			if a.Node == b.Node {
				continue
			}
			if text := disagreement(a, b); text != "" {
				return text
			}
		}
	}
	return ""
}

func disagreement(a, b api.Status) string {
	switch {
	case a.LedgerDigest != b.LedgerDigest:
		return fmt.Sprintf("%s and %s know different claims", a.Node, b.Node)
	case a.Digest != b.Digest:
		return "" // with directories of their own they may differ for good
	case a.Endpoints != b.Endpoints || a.EndpointsReady != b.EndpointsReady:
		return fmt.Sprintf("%s has %d of %d endpoints ready, %s %d of %d", a.Node, a.EndpointsReady, a.Endpoints,
			b.Node, b.EndpointsReady, b.Endpoints)
	}
	for _, p := range a.Peers {
		if ready, pods := podCounts(b); p.Name == b.Node && (p.Pods != pods || p.PodsReady != ready) {
			return fmt.Sprintf("%s knows %d of %d pods of %s", a.Node, p.PodsReady, ready, b.Node)
		}
	}
	return ""
}

// unanswered names a pod that the lab is to answer for and that nothing
// listens in yet; "" if there is none. One with probes may have reasons of its
// own not to be ready.
func unanswered(nodes []api.Status) string {
	for _, s := range nodes {
		for _, p := range s.Pods {
			if !p.Ready && !p.Probed {
				return fmt.Sprintf("pod %s/%s of %s: %s", p.Namespace, p.Name, s.Node, p.Reason)
			}
		}
	}
	return ""
}

// podCounts counts the pods of a node.
func podCounts(s api.Status) (ready, pods int) {
	for _, p := range s.Pods {
		pods++
		if p.Ready {
			ready++
		}
	}
	return ready, pods
}
