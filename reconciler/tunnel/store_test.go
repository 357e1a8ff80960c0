package tunnel

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// memoryStore is a store that notes what it is asked.
type memoryStore struct {
	left  map[string][]int
	calls []string
}

func (s *memoryStore) Take(name string) []int {
	list := s.left[name]
	delete(s.left, name)
	return list
}

func (s *memoryStore) Put(name string, descriptors []int) error {
	s.calls = append(s.calls, "put "+name)
	return nil
}

func (s *memoryStore) Remove(name string) error {
	s.calls = append(s.calls, "remove "+name)
	return nil
}

func TestTargetRefusesWhatDoesNotFit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var pipes [2][2]int
		for i := range pipes {
			if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		}
		store := &memoryStore{left: map[string][]int{"poplin0.queues": {pipes[0][0]}, "poplin0.sockets": {pipes[1][0]}}}
		w.target.options.Store = store
		if err := w.apply(tunnelAt(local), peer("10.244.2.0/24", remote2, "node-2")); err != nil {
			t.Fatal(err)
		}
		if !w.hears(local) {
			t.Error("a packet did not arrive")
		}
		for _, p := range pipes {
			list := []unix.PollFd{{Fd: int32(p[1])}}
			if _, err := unix.Poll(list, 0); err != nil || list[0].Revents&unix.POLLERR == 0 {
				t.Errorf("a descriptor is still open: %v", err)
			}
			unix.Close(p[1])
		}
		if err := errors.Join(w.apply(tunnelAt(moved)), w.apply()); err != nil {
			t.Fatal(err)
		}
		want := []string{"remove poplin0.queues", "remove poplin0.sockets", // they did not fit
			"remove poplin0.sockets", // moved
			"remove poplin0.queues", "remove poplin0.sockets"}
		if !slices.Equal(store.calls, want) {
			t.Errorf("the store was asked to %q", store.calls)
		}
	})
}

// A tunnel whose queues hold packets waits for peers, and can be stopped
// before.
func TestHeirWaitsForPeers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		heir := func(peers ...reconciler.Object) {
			t.Helper()
			w.makeDevice(device)
			r, err := newRunning(tunnelAt(local), w.target.options)
			if err != nil {
				t.Fatal(err)
			}
			r.heir = true
			w.target.tunnels[device] = r
			if err := w.apply(append(peers, tunnelAt(local))...); err != nil {
				t.Fatal(err)
			}
			w.expect()
		}
		heir()
		if w.hears(local) || len(w.target.Counters()[device].Drops) > 0 {
			t.Error("the tunnel runs without peers")
		}
		p := peer("10.244.2.0/24", remote2, "node-2")
		if err := w.apply(tunnelAt(local), p); err != nil {
			t.Fatal(err)
		}
		if got := <-w.devices[device].Received(); len(got) != 20 {
			t.Errorf("%d bytes", len(got))
		}
		if err := w.apply(); err != nil {
			t.Fatal(err)
		}
		heir() // and is closed with the target
	})
}
