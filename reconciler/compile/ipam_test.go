package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/poplin-net/poplin/schema"
)

// subnetOf makes a Subnet from words: a name, ranges, gateway=A, reserved=A-B.
func subnetOf(words ...string) Subnet {
	s := Subnet{Name: words[0], Bridge: DefaultBridge}
	for _, word := range words[1:] {
		if r, ok := strings.CutPrefix(word, "reserved="); ok {
			first, last, _ := strings.Cut(r, "-")
			s.Reserved = append(s.Reserved, schema.AddrRange{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)})
		} else if g, ok := strings.CutPrefix(word, "gateway="); ok {
			s.Gateways[len(s.Gateways)-1] = netip.MustParseAddr(g)
		} else {
			p := netip.MustParsePrefix(word)
			s.Prefixes = append(s.Prefixes, p)
			s.Gateways = append(s.Gateways, p.Addr().Next())
		}
	}
	return s
}

// podsOf makes pods of node-1 from words: NAME, or NAME=STATIC-ADDRESS, or
// NAME@SUBNET.
func podsOf(words string) *schema.Config {
	c := &schema.Config{}
	for _, word := range strings.Fields(words) {
		p := &schema.Pod{NodeName: "node-1"}
		name, static, found := strings.Cut(word, "=")
		if found {
			p.StaticIPs = []netip.Addr{netip.MustParseAddr(static)}
		}
		name, p.Subnet, _ = strings.Cut(name, "@")
		p.Meta.Name = schema.Name{Namespace: "default", Name: name}
		c.Pods = append(c.Pods, p)
	}
	return c
}

// assignment is what Assign gave, as lines "NAME ADDRESS…".
func assignment(given map[schema.Name][]netip.Addr) []string {
	var out []string
	for _, name := range slices.SortedFunc(maps.Keys(given), schema.Name.Compare) {
		line := name.Name
		for _, a := range given[name] {
			line += " " + a.String()
		}
		out = append(out, line)
	}
	return out
}

func assigned(lines ...string) map[schema.Name][]netip.Addr {
	out := map[schema.Name][]netip.Addr{}
	for _, line := range lines {
		words := strings.Fields(line)
		for _, w := range words[1:] {
			name := schema.Name{Namespace: "default", Name: words[0]}
			out[name] = append(out[name], netip.MustParseAddr(w))
		}
	}
	return out
}

func TestAssign(t *testing.T) {
	const v6 = "fd00:244:0:1::/64"
	plain := subnetOf("one", "10.244.1.0/24")
	for _, c := range []struct {
		name     string
		subnets  []Subnet
		pods     string
		before   []string
		want     []string
		problems int
	}{
		{"the lowest free ones, in the order of names", []Subnet{plain}, "a b", nil,
			[]string{"a 10.244.1.2", "b 10.244.1.3"}, 0},
		{"each keeps what it had", []Subnet{plain}, "a b c", []string{"b 10.244.1.2", "c 10.244.1.200"},
			[]string{"a 10.244.1.3", "b 10.244.1.2", "c 10.244.1.200"}, 0},
		{"what is no longer in a subnet is replaced", []Subnet{plain}, "a", []string{"a 10.244.9.2"},
			[]string{"a 10.244.1.2"}, 0},
		{"two that had the same", []Subnet{plain}, "a b", []string{"a 10.244.1.2", "b 10.244.1.2"},
			[]string{"a 10.244.1.2", "b 10.244.1.3"}, 0},
		{"gateway, network and broadcast are nobody's", []Subnet{subnetOf("one", "10.244.1.0/29", "gateway=10.244.1.3")}, "a b c d e f",
			[]string{"a 10.244.1.0", "b 10.244.1.7", "c 10.244.1.3"},
			[]string{"a 10.244.1.1", "b 10.244.1.2", "c 10.244.1.4", "d 10.244.1.5", "e 10.244.1.6"}, 1},
		{"reserved ones are not given, and not kept", []Subnet{subnetOf("one", "10.244.1.0/24", "reserved=10.244.1.2-10.244.1.9")}, "a b",
			[]string{"b 10.244.1.5"}, []string{"a 10.244.1.10", "b 10.244.1.11"}, 0},
		{"a reserved half of a /64", []Subnet{subnetOf("one", v6, "reserved=fd00:244:0:1::-fd00:244:0:1:7fff:ffff:ffff:ffff")}, "a b", nil,
			[]string{"a fd00:244:0:1:8000::", "b fd00:244:0:1:8000::1"}, 0},
		{"the whole subnet reserved", []Subnet{subnetOf("one", v6, "reserved=fd00:244:0:1::-fd00:244:0:1:ffff:ffff:ffff:ffff")}, "a", nil, nil, 1},
		{"static addresses are taken from the start", []Subnet{plain}, "a z=10.244.1.2", []string{"a 10.244.1.2"},
			[]string{"a 10.244.1.3", "z 10.244.1.2"}, 0},
		{"both families", []Subnet{subnetOf("one", "10.244.1.0/24", v6)}, "a", nil,
			[]string{"a 10.244.1.2 fd00:244:0:1::2"}, 0},
		{"a family comes: the other address stays", []Subnet{subnetOf("one", "10.244.1.0/24", v6)}, "a b", []string{"b 10.244.1.2", "a 10.244.1.9"},
			[]string{"a 10.244.1.9 fd00:244:0:1::2", "b 10.244.1.2 fd00:244:0:1::3"}, 0},
		{"a family goes: the other address stays", []Subnet{plain}, "a", []string{"a 10.244.1.9 fd00:244:0:1::2"},
			[]string{"a 10.244.1.9"}, 0},
		{"a family comes and is full: what there is stays", []Subnet{subnetOf("one", v6, "10.244.1.0/30")}, "a b", []string{"a fd00:244:0:1::7", "b fd00:244:0:1::8"},
			[]string{"a fd00:244:0:1::7 10.244.1.2", "b fd00:244:0:1::8"}, 1},
		{"the next subnet where one is full", []Subnet{subnetOf("one", "10.244.1.0/30"), subnetOf("two", "10.244.2.0/24")}, "a b", nil,
			[]string{"a 10.244.1.2", "b 10.244.2.2"}, 0},
		{"the subnet that a pod names, and no other", []Subnet{subnetOf("one", "10.244.1.0/30"), subnetOf("two", "10.244.2.0/30")}, "a@two b@two c", nil,
			[]string{"a 10.244.2.2", "c 10.244.1.2"}, 1},
		{"a pod that names another subnet than it was in", []Subnet{plain, subnetOf("two", "10.244.2.0/24")}, "a@two", []string{"a 10.244.1.2"},
			[]string{"a 10.244.2.2"}, 0},
		{"no subnet yet is no problem", nil, "a", nil, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			given, problems := Assign(podsOf(c.pods), "node-1", c.subnets, assigned(c.before...))
			if diff := cmp.Diff(c.want, assignment(given), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(problems) != c.problems {
				t.Errorf("problems: %v", problems)
			}
		})
	}
}

func TestAssignLeavesOthersOut(t *testing.T) {
	c := podsOf("here elsewhere host")
	c.Pods[1].NodeName = "node-2"
	c.Pods[2].HostNetwork = true
	given, _ := Assign(c, "node-1", []Subnet{subnetOf("one", "10.244.1.0/24")}, assigned("elsewhere 10.244.1.2"))
	if diff := cmp.Diff([]string{"here 10.244.1.2"}, assignment(given)); diff != "" {
		t.Error(diff)
	}
}

// TestAssignProperties lets pods come, go and come back.
func TestAssignProperties(t *testing.T) {
	subnets := []Subnet{
		subnetOf("one", "10.244.1.0/29", "gateway=10.244.1.6", "reserved=10.244.1.3-10.244.1.4"),
		subnetOf("two", "10.244.2.0/30"),
		subnetOf("three", "10.244.3.0/29", "fd00:244:0:3::/64"),
	}
	rapid.Check(t, func(t *rapid.T) {
		before := map[schema.Name][]netip.Addr{}
		for range 5 {
			var words []string
			for i := range 10 {
				if rapid.Bool().Draw(t, "there") {
					words = append(words, fmt.Sprintf("p%d", i))
				}
			}
			if rapid.Bool().Draw(t, "static") {
				words = append(words, "static=10.244.3.5")
			}
			config := podsOf(strings.Join(words, " "))
			given, problems := Assign(config, "node-1", subnets, before)
			// A pod that keeps one family's address while the other's range is
			// full has both, an address and a problem.
			if len(words)-len(given) > len(problems) {
				t.Fatalf("%d pods, %d with addresses, problems: %v", len(words), len(given), problems)
			}
			owner := map[netip.Addr]schema.Name{}
			for name, list := range given {
				static := name.Name == "static"
				for _, ip := range list {
					if other, taken := owner[ip]; taken {
						t.Fatalf("%s and %s both have %s", other, name, ip)
					}
					owner[ip] = name
					if !static && !slices.ContainsFunc(subnets, func(s Subnet) bool { return s.assignable(ip) }) {
						t.Fatalf("%s has %s, which is nobody's", name, ip)
					}
				}
				for _, had := range before[name] {
					if !slices.Contains(list, had) && had != netip.MustParseAddr("10.244.3.5") {
						t.Fatalf("%s had %v and now has %v", name, before[name], list)
					}
				}
			}
			if again, _ := Assign(config, "node-1", subnets, given); !cmp.Equal(assignment(again), assignment(given)) {
				t.Fatalf("given %v, then %v", assignment(given), assignment(again))
			}
			before = given
		}
	})
}
