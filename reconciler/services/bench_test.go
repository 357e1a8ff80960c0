package services

import (
	"fmt"
	"net/netip"
	"testing"
)

// odd are so many endpoints of the highest weight, and one of another.
func odd(n, weight int) []Endpoint {
	list := make([]Endpoint, n)
	for i := range list {
		list[i] = Endpoint{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(244 + i>>16), byte(i >> 8), byte(i)}), 80), 100}
	}
	list[n-1].Weight = weight
	return list
}

// BenchmarkSlots has one endpoint leave, and come back.
func BenchmarkSlots(b *testing.B) {
	for _, n := range []int{51, 200, 700} {
		b.Run(fmt.Sprint("endpoints=", n), func(b *testing.B) {
			list := odd(n, 99)
			slots := Slots(nil, Expand(list))
			for b.Loop() {
				slots = Slots(slots, Expand(list[1:]))
				slots = Slots(slots, Expand(list))
			}
		})
	}
}

func BenchmarkHashSlots(b *testing.B) {
	for _, c := range []struct{ endpoints, weight int }{{100, 100}, {101, 1}, {400, 99}} {
		b.Run(fmt.Sprintf("endpoints=%d/weight=%d", c.endpoints, c.weight), func(b *testing.B) {
			list := odd(c.endpoints, c.weight)
			for b.Loop() {
				HashSlots(list, hashSlots(len(list)))
			}
		})
	}
}
