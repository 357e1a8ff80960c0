package linux

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// createTUN makes a persistent TUN device in the process's network
// namespace. It becomes persistent last: if this process dies before the
// mark is set, the device goes with it. Who attaches to it later must ask
// for the same multi-queue flag.
func createTUN(c *conn, want reconciler.Link) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(want.Name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if want.MultiQueue {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("making TUN device: %w", err)
	}
	if err := c.batch(markRequest(want)); err != nil {
		return fmt.Errorf("marking TUN device: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keeping TUN device: %w", err)
	}
	return nil
}
