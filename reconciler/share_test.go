package reconciler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// pickGroups picks groups of a pool; some hold objects of two kinds, and
// each has two versions.
func pickGroups(pool []*Group) (State, []*Group) {
	var kept []*Group
	for i := 0; i < len(pool); i += 2 {
		if n := rand.IntN(3); n < 2 {
			kept = append(kept, pool[i+n])
		}
	}
	return NewState(kept...), kept
}

func statePool() []*Group {
	var pool []*Group
	for i := range 60 {
		link := Link{Name: fmt.Sprintf("l%d", i), Type: LinkBridge}
		pool = append(pool,
			&Group{Name: fmt.Sprintf("group-%d", i), Objects: []Object{link}},
			&Group{Name: fmt.Sprintf("group-%d", i), Objects: []Object{link, Sysctl{Name: fmt.Sprint(i), Value: "1"}}})
	}
	return pool
}

// Replacing what differs gives the same as making the state anew, in any
// order of states.
func TestReplace(t *testing.T) {
	pool := statePool()
	state, groups := State{}, []*Group(nil)
	for range 200 {
		want, next := pickGroups(pool)
		var gone, added []*Group
		for _, g := range groups {
			if !slices.Contains(next, g) {
				gone = append(gone, g)
			}
		}
		for _, g := range next {
			if !slices.Contains(groups, g) {
				added = append(added, g)
			}
		}
		rand.Shuffle(len(added), func(i, j int) { added[i], added[j] = added[j], added[i] })
		before := slices.Clone(state.groups)
		got := state.Replace(gone, added)
		if !slices.Equal(got.groups, want.groups) || got.Len() != want.Len() {
			t.Fatalf("%d groups with %d objects, want %d with %d", len(got.groups), got.Len(), len(want.groups), want.Len())
		}
		if !slices.Equal(state.groups, before) {
			t.Fatal("the state it was made of is another now")
		}
		state, groups = got, next
	}
}

// A target's share is the same as its part of the state, and what it shares
// with the last one are the same pointers.
func TestShare(t *testing.T) {
	pool := statePool()
	h := NewShare(KindLink)
	before := map[*Group]*Group{}
	for range 200 {
		state, _ := pickGroups(pool)
		got, want := h.Of(state), state.Only(h.holds)
		if len(Diff(got, want)) != 0 || got.Len() != want.Len() || len(got.groups) != len(want.groups) {
			t.Fatalf("%d objects, want %d", got.Len(), want.Len())
		}
		now := map[*Group]*Group{}
		for i, g := range state.groups {
			now[g] = h.parts[i]
			if last, shared := before[g]; shared && last != h.parts[i] {
				t.Fatalf("the part of %s is another pointer", g.Name)
			}
		}
		before = now
	}
}

func TestJoin(t *testing.T) {
	a, b := NewState(&Group{Name: "b", Objects: []Object{Link{Name: "x"}}}), NewState(
		&Group{Name: "a", Objects: []Object{Link{Name: "y"}}}, &Group{Name: "c", Objects: []Object{Link{Name: "z"}}})
	got := Join(a, State{}, b)
	if got.Len() != 3 || got.groups[0].Name != "a" || got.groups[1].Name != "b" || got.groups[2].Name != "c" {
		t.Errorf("joined: %v", got.groups)
	}
	if Join().Len() != 0 {
		t.Error("nothing joined is something")
	}
}
