package tunnel

import (
	"github.com/poplin-net/poplin/overlay/udp"
	"github.com/poplin-net/poplin/reconciler"
)

// Store keeps descriptors beyond the end of the process, several under a
// name, and has those that a former process left. Names are ASCII without
// colons. It is called by several goroutines.
type Store interface {
	// Take gives what a former process left under a name, once; the caller
	// closes it. The store goes on to keep it until Remove.
	Take(name string) []int
	// Put keeps duplicates of descriptors, beside what is kept under the name.
	Put(name string, descriptors []int) error
	// Remove keeps nothing under the name any more; when it returns the store's
	// duplicates are closed. Nothing being kept is no error.
	Remove(name string) error
}

// Names in the store.
func queuesName(device string) string  { return device + ".queues" }
func socketsName(device string) string { return device + ".sockets" }

// openDevice attaches to a tunnel's device, with the queues that a former
// process left where they fit. inherited says that they did.
func (o Options) openDevice(want reconciler.Tunnel) (device udp.Device, inherited bool, err error) {
	name := queuesName(want.Device)
	if left := o.take(name); len(left) > 0 {
		device, err := udp.InheritDevice(want.Device, left, o.Tuning)
		if err == nil {
			o.Log.Info("queues taken over", "device", want.Device, "queues", len(left))
			return device, true, nil
		}
		o.Log.Info("queues not taken over", "error", err)
	}
	o.remove(name) // the kernel would put packets into queues that nobody reads
	if device, err = o.OpenDevice(want.Device, o.Tuning); err != nil {
		return nil, false, err
	}
	o.keep(name, device)
	return device, false, nil
}

// openConn does the same with the sockets.
func (o Options) openConn(want reconciler.Tunnel) (udp.Conn, error) {
	name := socketsName(want.Device)
	if left := o.take(name); len(left) > 0 {
		conn, err := udp.InheritConn(want.Local, left, o.Tuning)
		if err == nil {
			o.Log.Info("sockets taken over", "device", want.Device, "local", want.Local, "sockets", len(left))
			return conn, nil
		}
		o.Log.Info("sockets not taken over", "error", err)
	}
	o.remove(name) // the port would be taken
	conn, err := o.Listen(want.Local, o.Tuning)
	if err != nil {
		return nil, err
	}
	o.keep(name, conn)
	return conn, nil
}

func (o Options) take(name string) []int {
	if o.Store == nil {
		return nil
	}
	return o.Store.Take(name)
}

// keep stores what packets wait in. Without it a restart loses some packets,
// which is no reason not to run.
func (o Options) keep(name string, v any) {
	list := udp.Descriptors(v)
	if o.Store == nil || len(list) == 0 {
		return
	}
	if err := o.Store.Put(name, list); err != nil {
		o.Log.Warn("not kept for the next start", "name", name, "error", err)
	}
}

// forget has nothing of a device kept.
func (o Options) forget(device string) {
	o.remove(queuesName(device))
	o.remove(socketsName(device))
}

func (o Options) remove(name string) {
	if o.Store == nil {
		return
	}
	if err := o.Store.Remove(name); err != nil {
		o.Log.Warn("still kept", "name", name, "error", err)
	}
}
