package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	one = netip.MustParseAddr("192.0.2.240")
	two = netip.MustParseAddr("2001:db8::f0")
)

// script runs an Announcer in a bubble of its own time, and returns what is
// sent, as address@second.
func script(t *testing.T, do func(a *Announcer, fail func(error))) string {
	var sent []string
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var failure error
		a := New(Options{Send: func(link string, address netip.Addr) error {
			sent = append(sent, fmt.Sprintf("%s@%d", address, time.Since(start)/time.Second))
			return failure
		}})
		done := make(chan error, 1)
		go func() { done <- a.Run(t.Context()) }()
		do(a, func(err error) { failure = err })
		synctest.Wait()
	})
	return strings.Join(sent, " ")
}

func after(seconds int) {
	time.Sleep(time.Duration(seconds) * time.Second)
	synctest.Wait()
}

func TestTellings(t *testing.T) {
	held := Held{Link: "eth0", Addresses: []netip.Addr{one}, Occasion: "start"}
	for name, test := range map[string]struct {
		do   func(a *Announcer, fail func(error))
		want string
	}{
		"a few times": {func(a *Announcer, _ func(error)) {
			a.Hold(held)
			after(1000)
		}, "192.0.2.240@0 192.0.2.240@1 192.0.2.240@3 192.0.2.240@7"},
		"saying the same says nothing": {func(a *Announcer, _ func(error)) {
			a.Hold(held)
			after(10)
			a.Hold(held)
			after(100)
		}, "192.0.2.240@0 192.0.2.240@1 192.0.2.240@3 192.0.2.240@7"},
		"one that comes is told alone": {func(a *Announcer, _ func(error)) {
			a.Hold(held)
			after(10)
			more := held
			more.Addresses = []netip.Addr{one, two}
			a.Hold(more)
			after(2)
		}, "192.0.2.240@0 192.0.2.240@1 192.0.2.240@3 192.0.2.240@7 2001:db8::f0@10 2001:db8::f0@11"},
		"one that goes is not told of": {func(a *Announcer, _ func(error)) {
			a.Hold(held)
			after(2)
			a.Hold(Held{Link: "eth0", Occasion: "start"})
			after(100)
		}, "192.0.2.240@0 192.0.2.240@1"},
		"another occasion": {func(a *Announcer, _ func(error)) {
			a.Hold(held)
			after(10)
			again := held
			again.Occasion = "node-2 is back"
			a.Hold(again)
			after(2)
		}, "192.0.2.240@0 192.0.2.240@1 192.0.2.240@3 192.0.2.240@7 192.0.2.240@10 192.0.2.240@11"},
		"rivals": {func(a *Announcer, _ func(error)) {
			rivals := held
			rivals.Rivals = true
			a.Hold(rivals)
			after(200)
			a.Hold(held)
			after(500)
		}, "192.0.2.240@0 192.0.2.240@1 192.0.2.240@3 192.0.2.240@7 192.0.2.240@15 192.0.2.240@31 192.0.2.240@63 192.0.2.240@123 192.0.2.240@183 192.0.2.240@243"},
		"failures": {func(a *Announcer, fail func(error)) {
			fail(errors.New("network is down"))
			a.Hold(held)
			after(2)
		}, "192.0.2.240@0 192.0.2.240@1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := script(t, test.do); got != test.want {
				t.Errorf("sent %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPackets(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	for name, test := range map[string]struct {
		got  []byte
		want string
	}{
		"request": {arpFrame(arpRequest, mac, one),
			"ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 c00002f0 000000000000 c00002f0"},
		"reply": {arpFrame(arpReply, mac, one),
			"ffffffffffff 020000000007 0806 0001 0800 06 04 0002 020000000007 c00002f0 020000000007 c00002f0"},
		"advertisement": {advertisement(mac, two),
			"88 00 0000 20000000 20010db80000000000000000000000f0 02 01 020000000007"},
	} {
		want := strings.ReplaceAll(test.want, " ", "")
		if got := fmt.Sprintf("%x", test.got); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}
