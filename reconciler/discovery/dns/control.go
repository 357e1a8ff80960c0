package dns

import (
	"errors"
	"syscall"
)

// control makes a function on a socket one that net.ListenConfig takes.
func control(f func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = f(int(fd)) }), err)
	}
}
