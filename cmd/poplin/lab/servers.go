//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/schema"
)

// mountsPoll is how long a look at a host's mounts lasts at most; only the
// end of the lab waits for it.
const mountsPoll = time.Second

// endpoint is one port that a pod of a host is to answer on.
type endpoint struct {
	pod         schema.Name
	hostNetwork bool
	protocol    schema.Protocol
	port        uint16
	// inode is that of the network namespace: one made anew under the same
	// name needs new sockets.
	inode uint64
}

// servers answer on the ports that the pods of one host declare. The sockets
// are the keeper's: a socket belongs to the namespace of the thread that made
// it and works from any.
type servers struct {
	node  *node
	trees *trees
	log   *slog.Logger
	open  map[endpoint]io.Closer
	// failed remembers what was logged.
	failed map[endpoint]string
}

func newServers(n *node, t *trees, log *slog.Logger) *servers {
	return &servers{node: n, trees: t, log: log.With("host", n.Name), open: map[endpoint]io.Closer{}, failed: map[endpoint]string{}}
}

// run keeps the sockets in step with the tree and with the namespaces in the
// host's /run/netns until the context ends.
func (s *servers) run(ctx context.Context) {
	defer s.closeAll()
	mounted := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if err := s.node.place.watchMounts(ctx, mounted); err != nil {
			s.log.Error("servers don't notice new pods", "error", err)
		}
	}()
	defer func() { <-watching }()
	changes := s.trees.subscribe()
	for {
		retry := s.round()
		select {
		case <-ctx.Done():
			return
		case <-mounted:
		case <-changes:
		case <-retry:
		}
	}
}

// round opens and closes what is missing and what is too much. The channel
// that it gives fires when it is worth trying again; nil if all went well.
func (s *servers) round() <-chan time.Time {
	wanted := s.wanted()
	for e, c := range s.open {
		if !wanted[e] {
			c.Close()
			delete(s.open, e)
		}
	}
	for e := range s.failed {
		if !wanted[e] {
			delete(s.failed, e)
		}
	}
	for e := range wanted {
		if s.open[e] != nil {
			continue
		}
		c, err := s.listen(e)
		if err == nil {
			s.open[e] = c
			delete(s.failed, e)
			continue
		}
		if text := err.Error(); s.failed[e] != text {
			s.failed[e] = text
			s.log.Warn("no server", "pod", e.pod, "port", e.port, "protocol", e.protocol, "error", err)
		}
	}
	if len(s.failed) > 0 {
		return time.After(time.Second)
	}
	return nil
}

// wanted lists the ports of all pods of the host whose namespace is there. A
// pod that the tree has lost is served until the daemon, too, removes it: it
// may hold that revision back.
func (s *servers) wanted() map[endpoint]bool {
	wanted := map[endpoint]bool{}
	config := s.trees.config(s.node.Tree)
	if config == nil {
		return wanted
	}
	known := map[schema.Name]bool{}
	for _, pod := range config.Pods {
		if pod.NodeName != s.node.Name {
			continue
		}
		known[pod.Name] = true
		e := endpoint{pod: pod.Name, hostNetwork: pod.HostNetwork}
		if !pod.HostNetwork {
			inode, err := s.node.place.inode(e.namespace())
			if err != nil {
				continue // the mount that makes it will be noticed
			}
			e.inode = inode
		}
		for _, p := range pod.Ports {
			e.protocol, e.port = p.Protocol, p.Port
			wanted[e] = true
		}
	}
	for e := range s.open {
		if !e.hostNetwork && !known[e.pod] {
			if inode, err := s.node.place.inode(e.namespace()); err == nil && inode == e.inode {
				wanted[e] = true
			}
		}
	}
	return wanted
}

// namespace is the pod's name in /run/netns.
func (e endpoint) namespace() string { return e.pod.Namespace + "_" + e.pod.Name }

// answer is what the servers say to a client.
func (e endpoint) answer(client string) string { return e.pod.String() + " " + client + "\n" }

// listen opens the socket of an endpoint, in its namespace.
func (s *servers) listen(e endpoint) (c io.Closer, err error) {
	ns := s.node.place.net
	if !e.hostNetwork {
		if ns, err = s.node.place.openNamespace(e.namespace()); err != nil {
			return nil, err
		}
		defer ns.Close()
	}
	err = onOwnThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", e.namespace(), err)
		}
		switch e.protocol {
		case schema.UDP:
			c, err = serveUDP(e)
		case schema.SCTP:
			c, err = serveSCTP(e)
		default:
			c, err = serveTCP(e)
		}
		return err
	})
	return c, err
}

func (s *servers) closeAll() {
	for _, c := range s.open {
		c.Close()
	}
	clear(s.open)
}

// inode names a network namespace of the host as long as it lives.
func (p *place) inode(name string) (uint64, error) {
	file, err := p.openNamespace(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// watchMounts kicks whenever something is mounted or unmounted in the host: a
// namespace gets its name by a mount, of which inotify says nothing, but
// poll(2) on mountinfo does (proc(5)).
func (p *place) watchMounts(ctx context.Context, kick chan<- struct{}) error {
	// Not os.Open: the run-time library would poll the file too, and each
	// change is told once per open file.
	path := fmt.Sprintf("/proc/%d/mountinfo", p.first)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(mountsPoll.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			select {
			case kick <- struct{}{}:
			default:
			}
		}
	}
	return nil
}
