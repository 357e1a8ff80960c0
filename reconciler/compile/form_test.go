package compile

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/view"
	"github.com/poplin-net/poplin/schema"
)

// host is the form of a case's section "host", one fact a line:
//
//	node node-1
//	underlay eth0 mtu 1500 address 192.0.2.1 on-link 192.0.2.0/24
//	br_netfilter
//	run-dir /run/poplin
//	resolver 192.0.2.53 search example.com
//	public-key BASE64
//	wireguard                                    # of the kernel's own
const defaultHost = `node node-1
underlay eth0 mtu 1500 address 192.0.2.1 on-link 192.0.2.0/24
br_netfilter
`

func parseHost(t testing.TB, text string) Host {
	var h Host
	for _, words := range lines(text) {
		switch words[0] {
		case "node":
			h.Node = words[1]
		case "underlay":
			h.Underlay.Link = words[1]
			for key, value := range pairs(t, words[2:]) {
				switch key {
				case "mtu":
					h.Underlay.MTU = number(t, value)
				case "address":
					h.Underlay.Addresses = append(h.Underlay.Addresses, netip.MustParseAddr(value))
				case "on-link":
					h.Underlay.OnLink = append(h.Underlay.OnLink, netip.MustParsePrefix(value))
				}
			}
		case "public-key":
			h.PublicKey = words[1]
		case "wireguard":
			h.KernelWireGuard = true
		case "run-dir":
			h.RunDir = words[1]
		case "resolver":
			h.Resolver = schema.DNSConfig{Nameservers: []netip.Addr{netip.MustParseAddr(words[1])}, Searches: words[3:]}
		case "br_netfilter":
			h.BridgeNetfilter = true
		default:
			t.Fatalf("host: %v", words)
		}
	}
	return h
}

// parsedView is the form of a case's section "view": what gossip says.
//
//	claim 10.244.7.0/24                          # of this node
//	pod default/web-1 10.244.1.9                 # of this node: had that address before
//	pod default/web-1 not-ready
//	former udp:8300                              # backend that this node had
//	peer node-2 alive udp:8285 mtu 1472 underlay 192.0.2.2 subnet 10.244.2.0/24
//	  pod default/web-2 10.244.2.2               # of the peer above
type parsedView struct {
	claims   []netip.Prefix
	before   map[schema.Name][]netip.Addr
	notReady map[schema.Name]bool
	peers    []view.Peer
	former   []view.Backend
}

func parseView(t testing.TB, text string) parsedView {
	v := parsedView{before: map[schema.Name][]netip.Addr{}, notReady: map[schema.Name]bool{}}
	for _, words := range lines(text) {
		switch words[0] {
		case "claim":
			v.claims = append(v.claims, netip.MustParsePrefix(words[1]))
		case "former":
			v.former = append(v.former, parseBackend(t, words[1]))
		case "peer":
			v.peers = append(v.peers, parsePeer(t, words[1:]))
		case "pod":
			v.pod(words[1:])
		default:
			t.Fatalf("view: %v", words)
		}
	}
	slices.SortFunc(v.peers, func(a, b view.Peer) int { return strings.Compare(a.Name, b.Name) })
	return v
}

func (v *parsedView) pod(words []string) {
	namespace, pod, _ := strings.Cut(words[0], "/")
	name := schema.Name{Namespace: namespace, Name: pod}
	p := view.Pod{Namespace: namespace, Name: pod, Ready: true}
	for _, word := range words[1:] {
		if word == "not-ready" {
			p.Ready = false
		} else {
			p.Addresses = append(p.Addresses, netip.MustParseAddr(word))
		}
	}
	if n := len(v.peers); n > 0 {
		v.peers[n-1].Pods = append(v.peers[n-1].Pods, p)
		return
	}
	v.notReady[name] = !p.Ready
	if p.Addresses != nil {
		v.before[name] = p.Addresses
	}
}

func parsePeer(t testing.TB, words []string) view.Peer {
	p := view.Peer{Name: words[0], State: view.Liveness(words[1])}
	p.Backend = parseBackend(t, words[2])
	for key, value := range pairs(t, words[3:]) {
		switch key {
		case "mtu":
			p.MTU = number(t, value)
		case "public-key":
			p.PublicKey = value
		case "vtep":
			mac, err := net.ParseMAC(value)
			if err != nil {
				t.Fatal(err)
			}
			copy(p.Backend.MAC[:], mac)
		case "underlay":
			p.Underlay = append(p.Underlay, netip.MustParseAddr(value))
		case "subnet":
			p.Subnets = append(p.Subnets, netip.MustParsePrefix(value))
		}
	}
	return p
}

// parseBackend reads KIND[:PORT[:VNI[:direct]]].
func parseBackend(t testing.TB, text string) view.Backend {
	parts := append(strings.Split(text, ":"), "0", "0", "")
	return view.Backend{Kind: parts[0], Port: uint16(number(t, parts[1])), VNI: uint32(number(t, parts[2])), Direct: slices.Contains(parts, "direct")}
}

// lines gives the words of each line; what follows a # is a comment.
func lines(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 0 {
			out = append(out, words)
		}
	}
	return out
}

// pairs yields words two by two: a key and its value.
func pairs(t testing.TB, words []string) func(func(string, string) bool) {
	if len(words)%2 != 0 {
		t.Fatalf("a value is missing: %v", words)
	}
	return func(yield func(string, string) bool) {
		for i := 0; i < len(words) && yield(words[i], words[i+1]); i += 2 {
		}
	}
}

func number(t testing.TB, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(fmt.Errorf("%q: %w", text, err))
	}
	return n
}
