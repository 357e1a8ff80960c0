package main

import (
	"testing"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

func TestWaitConditions(t *testing.T) {
	inSync := api.Status{
		InSync: true, Revision: "main@4f2c9e1", Digest: "sha256:1",
		Pods: []api.Pod{{Namespace: "default", Name: "web-1", Ready: true}, {Namespace: "default", Name: "web-2"}, {Namespace: "default", Name: "starting", Up: true}},
		Peers: []api.Peer{
			{Name: "node-2", State: "alive", Digest: "sha256:1"},
			{Name: "node-3", State: "failed", Digest: "sha256:0"},
			{Name: "router", State: "alive", External: true},
		},
	}
	waiting := inSync
	waiting.Waiting, waiting.InSync = "a subnet", false
	behind := inSync
	behind.Peers = []api.Peer{{Name: "node-2", State: "alive", Digest: "sha256:0", Revision: "main@old"}}
	for _, c := range []struct {
		args    []string
		all     bool
		status  api.Status
		ok      bool
		missing string
	}{
		{[]string{"ready"}, false, inSync, true, ""},
		{[]string{"ready"}, false, waiting, false, "the node waits for a subnet"},
		{[]string{"ready"}, false, api.Status{}, false, "the node is not in sync"},
		{[]string{"revision", "main@4f2c9e1"}, false, inSync, true, ""},
		{[]string{"revision", "4f2c9e1"}, false, inSync, true, ""},
		{[]string{"revision", "4f2c9e1d00dfeed"}, false, inSync, true, ""},
		{[]string{"revision", "sha256:1"}, false, inSync, true, ""},
		{[]string{"revision", "other"}, false, inSync, false, "the node follows main@4f2c9e1"},
		{[]string{"revision", "4f2c9e1"}, false, waiting, false, "the node waits for a subnet"},
		{[]string{"revision", "4f2c9e1"}, true, inSync, true, ""}, // failed and external nodes do not count
		{[]string{"revision", "4f2c9e1"}, true, behind, false, "node-2 follows main@old"},
		{[]string{"revision", "4f2c9e1"}, false, behind, true, ""},
		{[]string{"pod", "default/web-1"}, false, inSync, true, ""},
		{[]string{"pod/default_web-1"}, false, inSync, true, ""},
		{[]string{"pod/default/web-1"}, false, inSync, true, ""},
		{[]string{"pod", "default/web-2"}, false, inSync, false, "pod default/web-2 has no interface yet"},
		{[]string{"pod", "starting"}, false, inSync, true, ""},
		{[]string{"pod", "default/web-3"}, false, inSync, false, "pod default/web-3 is not on this node"},
	} {
		condition, err := waitCondition(c.args, c.all)
		must(t, err)
		ok, missing := condition(c.status)
		if ok != c.ok || !ok && missing != c.missing {
			t.Errorf("%v: %v %q, want %v %q", c.args, ok, missing, c.ok, c.missing)
		}
	}
	for _, args := range [][]string{{"steady"}, {"ready", "now"}, {"revision"}, {"pod"}, {"pod", "a/b/c"}} {
		if _, err := waitCondition(args, false); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
