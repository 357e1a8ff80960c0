package linux

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/reconciler"
)

// loopback is the index of lo in every network namespace.
const loopback = 1

// loopbackDown is the damage of a namespace whose loopback is down.
const loopbackDown = "loopback is down"

// pod is a pod's namespace that is ours. The open descriptor keeps the
// namespace while it is known.
type pod struct {
	name  string
	inode uint64
	file  *os.File
	conn  *conn
	nsid  int               // its id as seen from the host's namespace; -1: none
	links map[int]string    // names of all its links by index
	group *reconciler.Group // what was read of it; nil: not yet
}

// findPods brings t.pods up to date with the directory of namespaces and
// returns the conflicts: names of our shape that are somebody else's.
func (t *Target) findPods() ([]reconciler.Conflict, error) {
	list, err := t.mounts.list()
	if err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	var conflicts []reconciler.Conflict
	there := map[string]uint64{}
	for _, b := range list {
		if !podName(b.name) {
			continue
		}
		mine, err := t.claim(b)
		if err != nil {
			return nil, fmt.Errorf("netns %s: %w", b.name, err)
		}
		if mine {
			there[b.name] = b.inode
		} else if _, leftover := t.namespaces.Namespaces[b.name]; b.inode != 0 || !leftover {
			conflicts = append(conflicts, t.namespaceConflict(b))
		}
	}
	for name, p := range t.pods {
		if there[name] != p.inode {
			t.forget(name)
		}
	}
	for name, inode := range there {
		if t.pods[name] == nil {
			if err := t.meet(name, inode); err != nil {
				return nil, fmt.Errorf("netns %s: %w", name, err)
			}
		}
	}
	return conflicts, nil
}

// podName reports whether a namespace's name has the shape of ours.
func podName(name string) bool {
	namespace, pod, ok := strings.Cut(name, "_")
	return ok && namespace != "" && pod != "" && !strings.Contains(pod, "_")
}

// claim reports whether a bound namespace is ours: because the records say
// so or, when the state directory was lost, because a link in it carries our
// mark.
func (t *Target) claim(b bound) (bool, error) {
	if b.inode == 0 || t.refused[b.name] == b.inode {
		return false, nil
	}
	if t.namespaces.Namespaces[b.name] == b.inode {
		return true, nil
	}
	f, err := t.mounts.open(b.name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	marked, err := t.marked(f)
	if err != nil {
		return false, err
	}
	if !marked {
		t.refused[b.name] = b.inode
		return false, nil
	}
	t.log.Info("adopted a namespace by its mark", "netns", b.name)
	if t.o.ReadOnly {
		return true, nil
	}
	return true, t.namespaces.put(b.name, b.inode)
}

// marked reports whether a link in a namespace carries our mark.
func (t *Target) marked(ns *os.File) (bool, error) {
	c, err := connectTo(ns)
	if err != nil {
		return false, err
	}
	defer c.Close()
	links, err := c.links()
	if err != nil {
		return false, err
	}
	for _, l := range links {
		if t.ours(l) {
			return true, nil
		}
	}
	return false, nil
}

func connectTo(ns *os.File) (*conn, error) {
	var c *conn
	err := inNetwork(ns, func() (err error) {
		c, err = newConn()
		return err
	})
	return c, err
}

func (t *Target) namespaceConflict(b bound) reconciler.Conflict {
	what := fmt.Sprintf("network namespace %s exists and is not poplin's", b.name)
	if b.inode == 0 {
		what = fmt.Sprintf("%s/%s exists and is no network namespace", t.o.NetnsDir, b.name)
	}
	return reconciler.Conflict{
		Key: reconciler.NamespaceKey{Name: b.name}, What: what, Remedy: "ip netns delete " + b.name,
	}
}

// meet opens a namespace of ours and gives it an id, so that the socket that
// listens to all namespaces hears it.
func (t *Target) meet(name string, inode uint64) error {
	f, err := t.mounts.open(name)
	if err != nil {
		return err
	}
	c, err := connectTo(f)
	if err != nil {
		f.Close()
		return err
	}
	p := &pod{name: name, inode: inode, file: f, conn: c}
	t.pods[name] = p
	delete(t.orphans, inode) // the number was free
	p.nsid, err = t.host.GetNetNsIdByFd(int(f.Fd()))
	if err == nil && p.nsid < 0 && !t.o.ReadOnly {
		// The kernel picks the number.
		if err = t.host.SetNetNsIdByFd(int(f.Fd()), -1); err == nil || errors.Is(err, unix.EEXIST) {
			p.nsid, err = t.host.GetNetNsIdByFd(int(f.Fd()))
		}
	}
	if err != nil {
		t.forget(name)
		return fmt.Errorf("namespace id: %w", err)
	}
	return nil
}

// forget closes a pod's descriptors.
func (t *Target) forget(name string) {
	p := t.pods[name]
	delete(t.pods, name)
	p.conn.Close()
	p.file.Close()
}

// readPod reads a pod's namespace.
func (t *Target) readPod(p *pod) error {
	links, err := p.conn.links()
	if err != nil {
		return err
	}
	p.links = indexNames(links)
	self := reconciler.Namespace{Name: p.name, Damage: loopbackDown}
	var objects []reconciler.Object
	for _, l := range links {
		if l.index == loopback && l.Attrs().RawFlags&unix.IFF_UP != 0 {
			self.Damage = ""
		}
		if t.ours(l) {
			objects = append(objects, l.object(p.name, p.links))
		}
	}
	rest, err := t.readLayer3(p.conn, p.name, links)
	if err != nil {
		return err
	}
	objects = append(append(objects, self), rest...)
	p.group = keep(p.group, "linux netns "+p.name, append(objects, t.readSysctls(p.name)...))
	return nil
}

// addNamespace makes a pod's namespace, or mends the one that is there.
func (t *Target) addNamespace(name string) error {
	if p := t.pods[name]; p != nil {
		return p.conn.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopback}})
	}
	inode, err := t.mounts.inode(name)
	if err == nil {
		if _, leftover := t.namespaces.Namespaces[name]; inode != 0 || !leftover {
			return &reconciler.ConflictError{Conflict: t.namespaceConflict(bound{name, inode})}
		}
		// The file that a reboot left of a namespace of ours.
		err = t.mounts.unbind(name)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ns, err := newNetwork()
	if err != nil {
		return err
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		return err
	}
	// The record comes first: a namespace without one would be somebody
	// else's for ever.
	if err := t.namespaces.put(name, st.Ino); err != nil {
		return err
	}
	if err := t.share(); err != nil {
		return err
	}
	if err := t.mounts.bind(ns, name); err != nil {
		return err
	}
	return t.meet(name, st.Ino)
}

// share prepares the directory for namespaces.
func (t *Target) share() error {
	made, err := t.mounts.share()
	if made {
		err = errors.Join(err, t.namespaces.mounted())
	}
	return err
}

// newNetwork makes a network namespace with loopback up.
func newNetwork() (*os.File, error) {
	var f *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		c, err := newConn()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopback}}); err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return f, err
}

// deleteNamespace removes a pod's namespace by name. Processes in it stay,
// without network; Orphans names them. A missing one is success.
func (t *Target) deleteNamespace(name string) error {
	p := t.pods[name]
	if p == nil {
		return nil
	}
	if err := t.mounts.unbind(name); err != nil {
		return err
	}
	t.orphans[p.inode] = name
	t.forget(name)
	return t.namespaces.remove(name)
}
