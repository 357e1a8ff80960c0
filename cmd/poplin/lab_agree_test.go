//go:build linux

package main

import (
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func TestLabDisagreement(t *testing.T) {
	one := func(node string, change func(*api.Status)) api.Status {
		s := api.Status{Node: node, Digest: "d", LedgerDigest: "l", Endpoints: 2, EndpointsReady: 2,
			Pods: []api.Pod{{Name: "p", Ready: true}, {Name: "h", Ready: true, HostNetwork: true}}}
		for _, peer := range []string{"a", "b"} {
			if peer != node {
				s.Peers = append(s.Peers, api.Peer{Name: peer, State: "alive", Pods: 2, PodsReady: 2})
			}
		}
		change(&s)
		return s
	}
	tests := []struct {
		name   string
		change func(*api.Status)
		want   string
	}{
		{"one picture", func(*api.Status) {}, ""},
		{"claims", func(s *api.Status) { s.LedgerDigest = "m" }, "a and b know different claims"},
		{"endpoints", func(s *api.Status) { s.EndpointsReady = 1 }, "a has 2 of 2 endpoints ready, b 1 of 2"},
		{"pods of a peer", func(s *api.Status) { s.Peers[0].PodsReady = 0 }, "b knows 0 of 2 pods of a"},
		{"other documents", func(s *api.Status) { s.Digest, s.Endpoints = "e", 9 }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := labDisagreement([]api.Status{one("a", func(*api.Status) {}), one("b", test.change)})
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A pod that the lab answers for is awaited, one with probes of its own not.
func TestUnanswered(t *testing.T) {
	s := api.Status{Node: "a", Pods: []api.Pod{{Namespace: "d", Name: "p", Ready: true}, {Namespace: "d", Name: "q", Probed: true}}}
	if got := unanswered([]api.Status{s}); got != "" {
		t.Errorf("got %q", got)
	}
	s.Pods = append(s.Pods, api.Pod{Namespace: "d", Name: "r", Reason: "nothing listens"})
	if got, want := unanswered([]api.Status{s}), "pod d/r of a: nothing listens"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
