package daemon

import (
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/compile"
	"github.com/poplin-net/poplin/reconciler/health"
	"github.com/poplin-net/poplin/reconciler/services"
	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// readyTree has a pod with a namespace, a pod of the host, and one elsewhere.
func readyTree(t *testing.T) *schema.Config {
	t.Helper()
	return configOf(t, map[string]string{"a.yaml": `
apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: test}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: node-1, containers: [{ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}, {containerPort: 79}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {nodeName: node-1, hostNetwork: true, containers: [{ports: [{containerPort: 9090}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: away}
spec: {nodeName: node-2, containers: [{ports: [{containerPort: 80}]}]}
`})
}

var (
	web  = schema.Name{Namespace: "default", Name: "web"}
	host = schema.Name{Namespace: "default", Name: "host"}
)

// round is what desire does with readiness.
func (r *readiness) round(c *schema.Config, namespaces map[string]uint64) map[schema.Name]bool {
	f := facts{
		node: "node-1", revision: &revision{Config: c}, standing: map[string]bool{"default_web": true},
		underlay: compile.Underlay{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		health:   r.results(c, "node-1", namespaces),
	}
	g := goal{
		addresses: map[schema.Name][]netip.Addr{web: {netip.MustParseAddr("10.244.1.2")}},
		standing:  map[string]bool{"default_web": namespaces["default_web"] != 0},
	}
	g.view.Self.Pods = ownPods(f, g)
	r.remember(g, namespaces)
	r.follow(f, g, namespaces)
	out := map[schema.Name]bool{}
	for _, p := range g.view.Self.Pods {
		out[schema.Name{Namespace: p.Namespace, Name: p.Name}] = p.Ready
	}
	return out
}

func start(t *testing.T, stateDir string, upgraded bool) *readiness {
	t.Helper()
	return openReadiness(stateDir, upgraded, health.New(health.Options{}), slog.New(slog.DiscardHandler))
}

// TestReadinessOverRestarts: nothing is looked at here, so what is ready was
// so before.
func TestReadinessOverRestarts(t *testing.T) {
	c := readyTree(t)
	there := map[string]uint64{"default_web": 7}
	none, all := map[schema.Name]bool{web: false, host: false}, map[schema.Name]bool{web: true, host: true}
	expect := func(t *testing.T, r *readiness, namespaces map[string]uint64, want map[schema.Name]bool) {
		t.Helper()
		for range 2 {
			if got := r.round(c, namespaces); !maps.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	}
	t.Run("new", func(t *testing.T) {
		expect(t, start(t, t.TempDir(), false), there, none)
	})
	t.Run("after an earlier release", func(t *testing.T) {
		dir := t.TempDir()
		expect(t, start(t, dir, true), there, all)
		expect(t, start(t, dir, true), there, all)
	})
	t.Run("after one that had them not ready", func(t *testing.T) {
		dir := t.TempDir()
		expect(t, start(t, dir, false), there, none)
		expect(t, start(t, dir, true), there, none)
	})
	t.Run("another namespace", func(t *testing.T) {
		dir := t.TempDir()
		expect(t, start(t, dir, true), there, all)
		expect(t, start(t, dir, true), map[string]uint64{"default_web": 8}, map[schema.Name]bool{web: false, host: true})
	})
	t.Run("after a boot", func(t *testing.T) {
		dir := t.TempDir()
		expect(t, start(t, dir, true), there, all)
		text, err := os.ReadFile(readinessPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.Replace(string(text), bootID(), "another", 1))
		if err := os.WriteFile(readinessPath(dir), text, 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, start(t, dir, true), there, none)
	})
	t.Run("a file that cannot be read", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(readinessPath(dir), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, start(t, dir, true), there, none)
	})
	t.Run("without the daemon", func(t *testing.T) {
		dir := t.TempDir()
		o := Options{Node: "node-1", StateDir: dir}
		if got := lastHealth(o, there, &revision{Config: c}); got != nil {
			t.Errorf("from nothing: %v", got)
		}
		expect(t, start(t, dir, true), there, all)
		got := lastHealth(o, map[string]uint64{"default_web": 8}, nil, &revision{Config: c})
		if want := (map[schema.Name]health.Result{web: {}, host: {Ready: true}}); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestHealthIsFollowed: what the prober is told of pods.
func TestHealthIsFollowed(t *testing.T) {
	c := readyTree(t)
	r := start(t, t.TempDir(), false)
	r.round(c, map[string]uint64{})
	if got := r.prober.Results(); len(got) != 1 {
		t.Errorf("without namespaces: %v", got)
	}
	r.round(c, map[string]uint64{"default_web": 7, "default_other": 8})
	if got := r.prober.Results(); len(got) != 2 || got[web].Ready || got[host].Ready {
		t.Errorf("with one: %v", got)
	}
	if got := tcpPorts(c.Pods[2]); len(got) != 2 || got[0] != 79 || got[1] != 80 {
		t.Errorf("TCP ports of %s: %v", c.Pods[2].Meta.Name, got)
	}
}

// TestReadinessIsHealth: of what differs between two rounds.
func TestReadinessIsHealth(t *testing.T) {
	peers := func(address string, ready bool) []view.Peer {
		return []view.Peer{{Name: "node-2", Pods: []view.Pod{{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr(address)}, Ready: ready}}}}
	}
	before := peers("10.244.2.2", true)
	same := func(p []view.Peer) bool { return samePresence(p[0], before[0]) }
	if !same(peers("10.244.2.2", false)) {
		t.Error("readiness is presence")
	}
	if same(peers("10.244.2.3", true)) {
		t.Error("another address is not")
	}
}

// TestEmptyPools: a service without any ready endpoint is a problem, one that
// has none at all is what the documents say.
func TestEmptyPools(t *testing.T) {
	service := func(name string, frontends ...services.Frontend) *services.Service {
		s := &services.Service{Document: &schema.Service{}, Frontends: frontends}
		s.Document.Meta.Name = schema.Name{Namespace: "default", Name: name}
		return s
	}
	got := emptyPools([]*services.Service{
		service("good", services.Frontend{Ready: 0, Total: 2}, services.Frontend{Ready: 1, Total: 2}),
		service("bad", services.Frontend{Ready: 0, Total: 2}, services.Frontend{Ready: 0, Total: 1}),
		service("empty", services.Frontend{}),
		service("headless"),
	})
	if len(got) != 1 || !strings.Contains(got[0].What, "default/bad: none of its endpoints (2)") {
		t.Errorf("%+v", got)
	}
}

// TestCrowdedServices: more endpoints than slots are a problem, with figures.
func TestCrowdedServices(t *testing.T) {
	service := func(name string, endpoints int) *services.Service {
		s := &services.Service{Document: &schema.Service{}, Frontends: []services.Frontend{{Endpoints: make([]services.Endpoint, endpoints)}}}
		s.Document.Meta.Name = schema.Name{Namespace: "default", Name: name}
		return s
	}
	got := crowded([]*services.Service{service("large", services.MaxSlots), service("huge", services.MaxSlots+1)})
	if len(got) != 1 || got[0].What != "service default/huge has 65536 endpoints, of which only 65535 get connections" {
		t.Errorf("%+v", got)
	}
}

// TestForeseeHealth: a plan takes new pods to be served; those that are known
// not to be ready stay so.
func TestForeseeHealth(t *testing.T) {
	f := facts{
		node: "node-1", revision: selected(t), gossip: true,
		underlay: compile.Underlay{Link: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, MTU: 1500},
		health:   map[schema.Name]health.Result{},
	}
	if got := endpointElements(foresee(f, compile.New(), nil).State); got != 1 {
		t.Errorf("%d endpoints of a new pod", got)
	}
	f.health[web] = health.Result{Reason: "nothing listens"}
	if got := endpointElements(foresee(f, compile.New(), nil).State); got != 0 {
		t.Errorf("%d endpoints of a pod that is not ready", got)
	}
	if got := f.health[web].Ready; got {
		t.Error("foresee changed the facts")
	}
}
