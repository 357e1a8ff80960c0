package daemon

import (
	"context"
	"sync"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager that the node is ready, and what it is
// doing. Without a service manager it does nothing.
type notifier struct {
	mu   sync.Mutex
	sent string
}

// ready says READY=1 with a status line, once per line.
func (n *notifier) ready(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sent == status {
		return
	}
	n.sent = status
	// The manager's socket being away changes nothing for the node.
	_, _ = sd.SdNotify(false, sd.SdNotifyReady+"\nSTATUS="+status)
}

// run says STOPPING=1 at the end.
func (n *notifier) run(ctx context.Context) error {
	<-ctx.Done()
	_, _ = sd.SdNotify(false, sd.SdNotifyStopping)
	return nil
}
