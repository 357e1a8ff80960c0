// Package udptest has an in-memory device and an in-memory underlay for
// tunnels of package udp. They keep the contracts of udp.Device and udp.Conn,
// so that whatever is built on a tunnel can be tested without a kernel.
package udptest

import (
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/poplin-net/poplin/overlay/udp"
)

// queueLength is how many packets a queue holds before its writer waits.
const queueLength = 1024

// Device is a TUN device whose kernel is the test.
type Device struct {
	name string
	toTunnel,
	toKernel chan []byte
	closed, deleted chan struct{}
	close, delete   sync.Once
	mu              sync.Mutex
	refuse          error
}

var _ udp.Device = (*Device)(nil)

// NewDevice makes a device.
func NewDevice(name string) *Device {
	return &Device{
		name:     name,
		toTunnel: make(chan []byte, queueLength),
		toKernel: make(chan []byte, queueLength),
		closed:   make(chan struct{}),
		deleted:  make(chan struct{}),
	}
}

// Send plays the kernel that routes a packet into the device.
func (d *Device) Send(packet []byte) { d.toTunnel <- slices.Clone(packet) }

// Received gives the packets that the tunnel hands to the kernel.
func (d *Device) Received() <-chan []byte { return d.toKernel }

// Delete plays somebody who deletes the device.
func (d *Device) Delete() { d.delete.Do(func() { close(d.deleted) }) }

// Closed is closed when the tunnel has detached.
func (d *Device) Closed() <-chan struct{} { return d.closed }

// Refuse makes writes fail with err, until err is nil.
func (d *Device) Refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = err
}

// Name implements udp.Device.
func (d *Device) Name() string { return d.name }

// Lanes implements udp.Device.
func (d *Device) Lanes() int { return 1 }

// Read implements udp.Device.
func (d *Device) Read(_ int, room []byte, bursts []udp.Burst) (int, error) {
	select {
	case <-d.closed:
		return 0, net.ErrClosed
	case <-d.deleted:
		return 0, fmt.Errorf("device %s was deleted", d.name)
	case p := <-d.toTunnel:
		bursts[0] = udp.Burst{Data: room[:copy(room, p)]}
	}
	return 1, nil
}

// Write implements udp.Device. Packets that were merged arrive as they are.
func (d *Device) Write(_ int, _ udp.Offload, parts [][]byte) error {
	d.mu.Lock()
	refuse := d.refuse
	d.mu.Unlock()
	if refuse != nil {
		return refuse
	}
	select {
	case <-d.closed:
		return net.ErrClosed
	case d.toKernel <- slices.Concat(parts...):
		return nil
	}
}

// Close implements udp.Device.
func (d *Device) Close() error {
	d.close.Do(func() { close(d.closed) })
	return nil
}
