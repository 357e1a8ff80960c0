package linux_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/poplin-net/poplin/reconciler"
)

// pods makes the objects of n pods on the bridge.
func pods(n int) []reconciler.Object {
	out := []reconciler.Object{bridge}
	for i := range n {
		name := reconciler.NamespaceName("default", fmt.Sprintf("p-%d", i))
		host, end := hostEnd, podEnd
		host.Name, host.PeerNetns = fmt.Sprintf("pop%012x", i), name
		end.Netns = name
		end.MAC[4], end.MAC[5] = byte(i>>8), byte(i)
		end.MAC[1] = 7
		out = append(out, reconciler.Namespace{Name: name}, host, end,
			address(name, "eth0", fmt.Sprintf("10.244.%d.%d/24", 1+i/200, 2+i%200)),
			route(name, "0.0.0.0/0", "", "eth0", 0))
	}
	return out
}

// cpu is the processor time that this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestManyPods(t *testing.T) {
	if !onFreshHost(t) {
		return
	}
	const count = 60
	n := newNode(t)
	n.run(t)
	timed := func(what string, do func()) {
		start, used := time.Now(), cpu(t)
		do()
		t.Logf("%s: %v, processor %v", what, time.Since(start), cpu(t)-used)
	}
	timed("make", func() { n.settle(t, pods(count)...) })
	timed("observe again", func() { n.observe(t) })
	timed("quiet", func() { n.quiet(t, time.Second) })
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	t.Logf("%d descriptors for %d pods", len(files), count)
	ip(t, "-n default_p-42 address flush dev eth0")
	timed("hear", func() { n.awaitChange(t, "a pod's address") })
	timed("mend", func() { n.settle(t, pods(count)...) })
	timed("remove", func() { n.settle(t, bridge) })
}
