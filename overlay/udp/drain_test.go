package udp_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/overlay/udp/udptest"
)

// lastPacket is a device that gives one packet, and stops reading when asked.
type lastPacket struct {
	*udptest.Device
	given   atomic.Bool
	stopped chan struct{}
}

func (d *lastPacket) Read(_ int, room []byte, bursts []udp.Burst) (int, error) {
	if !d.given.Swap(true) {
		bursts[0] = udp.Burst{Data: room[:copy(room, packet("10.244.1.5", "10.244.2.9"))]}
		return 1, nil
	}
	<-d.stopped
	return 0, net.ErrClosed
}

func (d *lastPacket) StopReading() { close(d.stopped) }

// slowConn is a connection that takes its time.
type slowConn struct {
	udp.Conn
	stopped, release chan struct{}
}

func (c *slowConn) Read(int, []udp.Datagram) (int, error) {
	<-c.stopped
	return 0, net.ErrClosed
}

func (c *slowConn) Write(lane int, batch []udp.Datagram) (int, error) {
	<-c.release
	return c.Conn.Write(lane, batch)
}

func (c *slowConn) StopReading() { close(c.stopped) }

// What the tunnel has read is sent, although it is to end meanwhile: nobody
// who takes the queues over would find it there.
func TestTunnelSendsWhatItHasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := udptest.NewNetwork()
		inner, err := network.Listen(here)
		if err != nil {
			t.Fatal(err)
		}
		far, err := network.Listen(peer2)
		if err != nil {
			t.Fatal(err)
		}
		device := &lastPacket{Device: udptest.NewDevice("poplin0"), stopped: make(chan struct{})}
		conn := &slowConn{inner, make(chan struct{}), make(chan struct{})}
		tunnel := udp.New(udp.Options{Device: device, Conn: conn, Log: slog.New(slog.DiscardHandler)})
		tunnel.SetPeers([]udp.Peer{{Node: "node-2", Endpoint: peer2, Subnets: prefixes("10.244.2.0/24")}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tunnel.Run(ctx) }()
		synctest.Wait()
		stop()
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("the tunnel ended with a packet in its hands")
		}
		close(conn.release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n, err := far.Read(0, []udp.Datagram{{Data: make([]byte, 64)}}); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		<-device.Closed()
		far.Close()
	})
}
