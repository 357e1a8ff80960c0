//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// info looks at all hosts.
func (k *keeper) info() (*Info, error) {
	info := &Info{Name: k.lab.Name}
	for _, n := range k.nodes {
		h := HostInfo{Host: n.Host, Cut: k.underlay.isCut(n.index)}
		if n.daemon != nil {
			h.DaemonState = n.daemon.state()
		}
		var err error
		if h.Pods, err = n.place.pods(); err != nil {
			return nil, fmt.Errorf("host %s: %w", n.Name, err)
		}
		info.Hosts = append(info.Hosts, h)
	}
	return info, nil
}

// pods lists the namespaces in /run/netns of a host that are named as pods.
func (p *place) pods() ([]PodInfo, error) {
	names, err := p.namespaces()
	if err != nil {
		return nil, err
	}
	var pods []PodInfo
	for _, name := range names {
		namespace, pod, found := strings.Cut(name, "_")
		if !found {
			continue
		}
		addresses, err := p.addresses(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		pods = append(pods, PodInfo{namespace + "/" + pod, addresses})
	}
	return pods, nil
}

// namespaces lists /run/netns of a host, sorted.
func (p *place) namespaces() ([]string, error) {
	fd, err := unix.Openat(int(p.root.Fd()), netnsFolder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/" + netnsFolder, Err: err}
	}
	folder := os.NewFile(uintptr(fd), netnsFolder)
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// addresses gives the global addresses of eth0 in a pod's namespace.
func (p *place) addresses(name string) ([]string, error) {
	file, err := p.openNamespace(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	handle, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	defer handle.Close()
	link, err := handle.LinkByName(hostLink)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	found, err := handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	var addresses []string
	for _, a := range found {
		if a.Scope == unix.RT_SCOPE_UNIVERSE {
			addresses = append(addresses, a.IP.String())
		}
	}
	return addresses, nil
}
