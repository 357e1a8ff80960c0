package daemon

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// The names of systemd-resolved on the system bus (org.freedesktop.resolve1(5)).
const (
	resolvedName    = "org.freedesktop.resolve1"
	resolvedPath    = "/org/freedesktop/resolve1"
	resolvedManager = resolvedName + ".Manager."
)

// resolvedBus is systemd-resolved on the system bus.
type resolvedBus struct {
	conn    *dbus.Conn
	manager dbus.BusObject
	starts  chan *dbus.Signal
}

// systemBus connects to systemd-resolved if it runs; it is not started for
// us.
func systemBus() (bus, error) {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, fmt.Errorf("system bus: %w", err)
	}
	b := &resolvedBus{conn: conn, manager: conn.Object(resolvedName, resolvedPath), starts: make(chan *dbus.Signal, 16)}
	conn.Signal(b.starts) // which the connection closes when it ends
	err = conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, resolvedName))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("system bus: %w", err)
	}
	return b, nil
}

func (b *resolvedBus) Starts() <-chan *dbus.Signal { return b.starts }
func (b *resolvedBus) Close() error                { return b.conn.Close() }

func (b *resolvedBus) call(ctx context.Context, method string, args ...any) error {
	return b.manager.CallWithContext(ctx, resolvedManager+method, dbus.FlagNoAutoStart, args...).Err
}

// busServer and busDomain are what the arrays of SetLinkDNS and
// SetLinkDomains hold: a(iay) and a(sb).
type busServer struct {
	Family  int32
	Address []byte
}

type busDomain struct {
	Name    string
	Routing bool
}

func (b *resolvedBus) SetLinkDNS(ctx context.Context, index int, servers []netip.Addr, domain string) error {
	list := make([]busServer, len(servers))
	for i, a := range servers {
		list[i] = busServer{unix.AF_INET6, a.AsSlice()}
		if a.Is4() {
			list[i].Family = unix.AF_INET
		}
	}
	if err := b.call(ctx, "SetLinkDNS", int32(index), list); err != nil {
		return err
	}
	if err := b.call(ctx, "SetLinkDomains", int32(index), []busDomain{{domain, true}}); err != nil {
		return err
	}
	return b.call(ctx, "SetLinkDefaultRoute", int32(index), false)
}

func (b *resolvedBus) RevertLink(ctx context.Context, index int) error {
	return b.call(ctx, "RevertLink", int32(index))
}
