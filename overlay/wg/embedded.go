package wg

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
)

// socketDir is where embedded devices have their sockets, so that wg(8) finds
// them (ipc/uapi_unix.go in golang.zx2c4.com/wireguard).
const socketDir = "/var/run/wireguard"

// Embedded is a WireGuard device in this process.
type Embedded struct {
	device  *device.Device
	control net.Listener
}

// Embed starts a device on a TUN device that exists and that nobody else has
// attached to. It has no key, port and peers yet. Close ends it.
func Embed(name string, log *slog.Logger) (*Embedded, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	end, err := tun.CreateTUN(name, link.MTU)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	log = log.With("device", name)
	logger := &device.Logger{
		Verbosef: device.DiscardLogf, // a line for each handshake
		Errorf:   func(format string, args ...any) { log.Debug("wireguard", "text", fmt.Sprintf(format, args...)) },
	}
	e := &Embedded{device: device.NewDevice(end, conn.NewDefaultBind(), logger)}
	file, err := ipc.UAPIOpen(name)
	if err != nil {
		e.device.Close()
		return nil, fmt.Errorf("device %s: control socket: %w", name, err)
	}
	e.control, err = ipc.UAPIListen(name, file)
	if err != nil {
		e.device.Close()
		return nil, errors.Join(fmt.Errorf("device %s: control socket: %w", name, err), file.Close())
	}
	go e.serve() // until Close
	if err := e.device.Up(); err != nil {
		e.Close()
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return e, nil
}

// serve answers those who connect to the control socket.
func (e *Embedded) serve() {
	for {
		c, err := e.control.Accept()
		if err != nil {
			return
		}
		go e.device.IpcHandle(c) // until the client hangs up
	}
}

// Ended is closed when the device has ended: because of Close, or because its
// TUN device is gone.
func (e *Embedded) Ended() <-chan struct{} { return e.device.Wait() }

// Close ends the device. The TUN device stays if it is persistent.
func (e *Embedded) Close() {
	_ = e.control.Close() // it removes the socket; who is connected may finish
	e.device.Close()
	_ = os.Remove(socketDir) // unless others have something in it
}
