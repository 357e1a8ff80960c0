package daemon

import (
	"testing"

	"github.com/poplin-net/poplin/reconciler"
	"github.com/poplin-net/poplin/reconciler/linux"
	"github.com/poplin-net/poplin/reconciler/nft"
)

func TestFullTablesAreProblems(t *testing.T) {
	crowd := nft.Crowd{Family: reconciler.IPv6, Set: reconciler.SetAffinity, Count: 7, Size: 8}
	if got := fullProblems(linux.Tracked{Count: 94, Max: 100}, []nft.Crowd{crowd}); len(got) > 0 {
		t.Errorf("there is room: %v", got)
	}
	if got := fullProblems(linux.Tracked{}, nil); len(got) > 0 {
		t.Errorf("nothing is known: %v", got)
	}
	crowd.Count = 8
	got := fullProblems(linux.Tracked{Count: 96, Max: 100}, []nft.Crowd{crowd})
	if len(got) != 2 {
		t.Fatalf("%v", got)
	}
	for i, want := range []string{
		"96 connections are tracked, of 100 that there is room for; without room new ones are dropped",
		"set affinity of table ip6 poplin has all the 8 clients that it has room for: further ones do not stick to an endpoint",
	} {
		if got[i].What != want || got[i].Remedy == "" {
			t.Errorf("%+v", got[i])
		}
	}
}
