package goldentest

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/reconciler/view"
)

// Self is the node whose view it is; its underlay address is SelfAddress.
const Self = "node-1"

// SelfAddress is the underlay address of Self.
func SelfAddress() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// readView adds to a view what a text says, one fact a line:
//
//	pod node-2 default/web-2 10.244.2.2     # not-ready may follow
//	node node-2 192.0.2.2                   # its underlay; failed and health may follow
func readView(v *view.View, text string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if words[0] == "node" {
			node := peer(v, words[1])
			for _, word := range words[2:] {
				switch word {
				case "failed":
					node.State = view.Failed
				case "health":
					node.Health = true
				default:
					node.Underlay = append(node.Underlay, netip.MustParseAddr(word))
				}
			}
			continue
		}
		p := readPod(words[2], words[3:])
		if words[1] == Self {
			v.Self.Pods = append(v.Self.Pods, p)
		} else {
			node := peer(v, words[1])
			node.Pods = append(node.Pods, p)
		}
	}
}

func readPod(name string, words []string) view.Pod {
	namespace, pod, _ := strings.Cut(name, "/")
	p := view.Pod{Namespace: namespace, Name: pod, Ready: true}
	for _, word := range words {
		if word == "not-ready" {
			p.Ready = false
		} else {
			p.Addresses = append(p.Addresses, netip.MustParseAddr(word))
		}
	}
	return p
}

func peer(v *view.View, name string) *view.Peer {
	i := slices.IndexFunc(v.Peers, func(p view.Peer) bool { return p.Name == name })
	if i < 0 {
		i = len(v.Peers)
		v.Peers = append(v.Peers, view.Peer{Name: name, State: view.Alive})
	}
	return &v.Peers[i]
}
