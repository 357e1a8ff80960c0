package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeBus is a systemd-resolved that writes down what it is told.
type fakeBus struct {
	said   chan string
	starts chan *dbus.Signal
	err    error
}

func (f *fakeBus) SetLinkDNS(_ context.Context, index int, servers []netip.Addr, domain string) error {
	f.said <- fmt.Sprint("set ", index, " ", servers, " ", domain)
	return f.err
}

func (f *fakeBus) RevertLink(_ context.Context, index int) error {
	f.said <- fmt.Sprint("revert ", index)
	return f.err
}
func (f *fakeBus) Starts() <-chan *dbus.Signal { return f.starts }
func (f *fakeBus) Close() error                { return nil }

// loopback is a link that every network namespace has.
func loopback(t *testing.T) int {
	link, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	return link.Index
}

func TestResolvedIsToldOnce(t *testing.T) {
	index := loopback(t)
	synctest.Test(t, func(t *testing.T) {
		f := &fakeBus{said: make(chan string, 10), starts: make(chan *dbus.Signal)}
		r := newResolved(func() (bus, error) { return f, nil }, slog.New(slog.DiscardHandler))
		go func() { _ = r.run(t.Context()) }()
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			got := ""
			if len(f.said) > 0 {
				got = <-f.said
			}
			if got != want {
				t.Errorf("said %q, want %q", got, want)
			}
		}
		cluster := linkDNS{"lo", []netip.Addr{netip.MustParseAddr("10.96.0.10")}, "cluster.local"}
		set := fmt.Sprintf("set %d [10.96.0.10] cluster.local", index)
		expect("")
		r.want(cluster)
		expect(set)
		r.want(cluster)
		expect("")
		f.starts <- &dbus.Signal{}
		expect(set)
		r.want(linkDNS{link: "none", domain: "cluster.local"})
		expect("") // until the next round has made it
		r.want(cluster)
		expect("")
		r.want(linkDNS{})
		expect(fmt.Sprintf("revert %d", index))
	})
}

// What is not there, or refuses, is tried again from time to time.
func TestResolvedIsLookedForAgain(t *testing.T) {
	loopback(t)
	synctest.Test(t, func(t *testing.T) {
		f := &fakeBus{said: make(chan string, 10), err: errors.New("not allowed")}
		var connects atomic.Int32
		r := newResolved(func() (bus, error) {
			if connects.Add(1) < 3 {
				return nil, errors.New("no bus")
			}
			return f, nil
		}, slog.New(slog.DiscardHandler))
		go func() { _ = r.run(t.Context()) }()
		cluster := linkDNS{link: "lo", domain: "cluster.local"}
		for range 5 {
			r.want(cluster)
			synctest.Wait()
		}
		if n := connects.Load(); n != 1 {
			t.Errorf("%d attempts at once", n)
		}
		for range 3 {
			<-time.After(resolvedRetry)
			synctest.Wait()
		}
		if n := connects.Load(); n != 3 || len(f.said) != 2 {
			t.Errorf("%d attempts, told %d times", n, len(f.said))
		}
	})
}

// The arrays have the types that the manager's methods take.
func TestResolvedSignatures(t *testing.T) {
	if s := dbus.SignatureOf([]busServer{}).String(); s != "a(iay)" {
		t.Error(s)
	}
	if s := dbus.SignatureOf([]busDomain{}).String(); s != "a(sb)" {
		t.Error(s)
	}
}
