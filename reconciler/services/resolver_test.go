package services

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// world is a small cluster in which everything can change.
type world struct {
	config schema.Config
	view   view.View
	host   Host
}

var worldNodes = []string{self, "node-2", "node-3"}

// A resolver that went through any changes comes to what a new one does, and
// a service that did not change has the same frontends.
func TestResolverEqualsANewOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{host: selfHost()}
		for i := range 80 {
			w.setPod(t, fmt.Sprintf("pod-%02d", i))
		}
		for i := range 4 {
			w.setService(t, fmt.Sprintf("service-%d", i))
		}
		w.view = randomView(t, w.config.Pods)
		first := w.config
		r := NewResolver(&first)
		r.Resolve(w.view, w.host)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			w.step(t)
			config := w.config
			r.Update(&config)
			got, want := r.Resolve(w.view, w.host), NewResolver(&config).Resolve(w.view, w.host)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got\n%s\nwant\n%s", format(got), format(want))
			}
			if again := r.Resolve(w.view, w.host); !sameSlice(again, got) {
				t.Fatal("nothing changed, but the result did")
			}
		}
	})
}

func (w *world) step(t *rapid.T) {
	pod := fmt.Sprintf("pod-%02d", rapid.IntRange(0, 85).Draw(t, "which pod"))
	service := fmt.Sprintf("service-%d", rapid.IntRange(0, 5).Draw(t, "which service"))
	switch rapid.IntRange(0, 7).Draw(t, "step") {
	case 0:
		w.setPod(t, pod)
	case 1:
		w.config.Pods = slices.DeleteFunc(slices.Clone(w.config.Pods), func(p *schema.Pod) bool { return p.Meta.Name.Name == pod })
	case 2:
		w.setService(t, service)
	case 3:
		w.config.Services = slices.DeleteFunc(slices.Clone(w.config.Services), func(s *schema.Service) bool { return s.Meta.Name.Name == service })
	case 4:
		w.setSlice(t, service)
	case 5:
		w.config.Slices = slices.DeleteFunc(slices.Clone(w.config.Slices), func(s *schema.EndpointSlice) bool { return s.Service == service })
	case 6:
		w.setNode(t, rapid.SampledFrom(worldNodes).Draw(t, "which node"))
	case 7:
		w.view = randomView(t, w.config.Pods)
	}
}

// put replaces the document of one name in a sorted list, or adds it.
func put[T any](list []T, document T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(list, document, compare)
	list = slices.Clone(list)
	if found {
		list[i] = document
		return list
	}
	return slices.Insert(list, i, document)
}

var letters = rapid.SampledFrom([]string{"a", "b"})

func randomLabels(t *rapid.T) map[string]string {
	return rapid.MapOfN(letters, letters, 1, 2).Draw(t, "labels")
}

func (w *world) setPod(t *rapid.T, name string) {
	p := &schema.Pod{NodeName: rapid.SampledFrom(worldNodes).Draw(t, "node"), Weight: 1, HostNetwork: rapid.IntRange(0, 4).Draw(t, "host network") == 0}
	p.Meta.Name = schema.Name{Namespace: "default", Name: name}
	p.Labels = randomLabels(t)
	p.Hostname, p.Subdomain = rapid.SampledFrom([]string{"", name}).Draw(t, "hostname"), "service-1"
	w.config.Pods = put(w.config.Pods, p, comparePods)
}

func (w *world) setService(t *rapid.T, name string) {
	s := &schema.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Ports: []schema.ServicePort{{Port: 80, Protocol: schema.TCP, Target: schema.PortRef{Number: 8080}}}}
	s.Meta.Name = schema.Name{Namespace: "default", Name: name}
	if s.Headless = rapid.IntRange(0, 3).Draw(t, "headless") == 0; s.Headless {
		s.ClusterIPs, s.Families = nil, []schema.Family{schema.IPv4}
		s.PublishNotReadyAddresses = rapid.Bool().Draw(t, "publish")
	}
	if rapid.Bool().Draw(t, "selects") {
		s.Selector = randomLabels(t)
	}
	s.ExternalLocal = rapid.Bool().Draw(t, "local")
	s.TrafficDistribution = rapid.SampledFrom([]schema.TrafficDistribution{"", schema.PreferSameZone}).Draw(t, "distribution")
	w.config.Services = put(w.config.Services, s, compareServices)
}

func (w *world) setSlice(t *rapid.T, service string) {
	s := &schema.EndpointSlice{Service: service, Family: schema.IPv4, Weight: 1, Ports: []schema.SlicePort{{Port: 8080, Protocol: schema.TCP}}}
	s.Meta.Name = schema.Name{Namespace: "default", Name: service + rapid.SampledFrom([]string{"-1", "-2"}).Draw(t, "slice")}
	for i := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
		s.Endpoints = append(s.Endpoints, schema.SliceEndpoint{
			Address: netip.AddrFrom4([4]byte{172, 16, 0, byte(i)}), Ready: rapid.Bool().Draw(t, "ready"), Serving: true,
			NodeName: rapid.SampledFrom(append(worldNodes, "")).Draw(t, "node"),
		})
	}
	w.config.Slices = put(w.config.Slices, s, compareSlices)
}

func (w *world) setNode(t *rapid.T, name string) {
	n := &schema.Node{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Drain: rapid.Bool().Draw(t, "drain")}
	n.Meta.Name.Name = name
	n.Labels = map[string]string{schema.ZoneLabel: letters.Draw(t, "zone")}
	w.config.Nodes = put(w.config.Nodes, n, compareNodes)
}

// randomView has some of the pods on some of the nodes.
func randomView(t *rapid.T, documents []*schema.Pod) view.View {
	v := view.View{Self: view.Self{Name: self, Pods: randomPods(t, documents)}}
	for _, name := range worldNodes[1:] {
		if rapid.IntRange(0, 5).Draw(t, "gone") == 0 {
			continue
		}
		v.Peers = append(v.Peers, view.Peer{
			Name: name, State: rapid.SampledFrom([]view.Liveness{view.Alive, view.Alive, view.Failed}).Draw(t, "state"),
			Underlay: []netip.Addr{netip.MustParseAddr("192.0.2.8")}, Health: rapid.Bool().Draw(t, "health"), Pods: randomPods(t, documents),
		})
	}
	return v
}

func randomPods(t *rapid.T, documents []*schema.Pod) []view.Pod {
	var out []view.Pod
	for i, d := range documents {
		if n := rapid.IntRange(0, 3).Draw(t, "pod"); n > 0 {
			p := view.Pod{Namespace: d.Namespace, Name: d.Meta.Name.Name, Ready: n > 1}
			if !d.HostNetwork {
				p.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(n), byte(i)})}
			}
			out = append(out, p)
		}
	}
	return out
}
