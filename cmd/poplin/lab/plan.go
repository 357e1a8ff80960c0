//go:build linux

package lab

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/schema"
)

// Options say which lab is wanted.
type Options struct {
	Name  string
	Tree  string            // directory of documents; empty only without daemons
	Trees map[string]string // a directory of its own, by node
	Count int               // nodes, where the tree names none
	// NoDaemon makes hosts and underlay only.
	NoDaemon bool
	Servers  bool
	Backend  string // in place of the tree's; empty: the tree's
	Detached bool
	Env      []string // of the daemons
}

// Plan lays out a lab: the tree's Node documents, else Count default nodes.
// It reads the tree and changes nothing.
func Plan(o Options) (Lab, error) {
	lab := Lab{Name: o.Name, Servers: o.Servers, Backend: o.Backend, Detached: o.Detached, Env: o.Env}
	if err := CheckName(o.Name); err != nil {
		return lab, err
	}
	if o.Tree == "" && !o.NoDaemon {
		return lab, errors.New("a lab needs a directory of documents")
	}
	tree, err := absolute(o.Tree)
	if err != nil {
		return lab, err
	}
	config, err := ReadTree(tree)
	if err != nil {
		return lab, err
	}
	roster := rosterOf(config)
	nodes := roster
	if len(nodes) == 0 {
		if nodes, err = DefaultNodes(o.Count); err != nil {
			return lab, err
		}
	}
	if lab.Hosts, err = Topology(nodes); err != nil {
		return lab, err
	}
	for i := range lab.Hosts[:len(nodes)] {
		lab.Hosts[i].Tree = tree
	}
	for name, dir := range o.Trees {
		host, err := lab.Host(name)
		if err != nil {
			return lab, fmt.Errorf("--tree: %w", err)
		}
		if host.Tree, err = absolute(dir); err != nil {
			return lab, err
		}
	}
	if o.NoDaemon {
		return lab, nil
	}
	if err := checkTun(config, o.Backend); err != nil {
		return lab, err
	}
	lab.Key = newKey()
	for i, n := range nodes {
		if n.External {
			continue
		}
		lab.Hosts[i].Daemon = daemonArguments(lab.Hosts, i, len(roster) == 0)
	}
	return lab, nil
}

// daemonArguments is the command line of one node's daemon. Where there is no
// roster to find peers in, the nodes are told of each other and the first one
// is told that it is.
func daemonArguments(hosts []Host, index int, meet bool) []string {
	host := hosts[index]
	args := []string{"run", "--exec-probes", "--node", host.Name, "--key-file", keyInside}
	if !meet {
		return args
	}
	var others []string
	for i, h := range hosts {
		if i != index && h.Name != ClientName && len(h.Addresses) > 0 {
			others = append(others, h.Addresses[0].String())
		}
	}
	if len(others) > 0 {
		args = append(args, "--join", strings.Join(others, ","))
	}
	if index == 0 {
		args = append(args, "--bootstrap")
	}
	return args
}

// tunDevice is what tunnels in user space are made through.
const tunDevice = "/dev/net/tun"

// checkTun refuses a backend that this user cannot run. The device is open to
// everyone on most systems, and a namespace does not help where it is not.
func checkTun(config *schema.Config, backend string) error {
	if backend == "" && config.Cluster != nil {
		backend = string(config.Cluster.Overlay.Backend)
	}
	if backend != string(schema.BackendUDP) && backend != string(schema.BackendWireGuard) {
		return nil
	}
	if err := unix.Access(tunDevice, unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("%s: %w: backend %s needs it: run with sudo, or: sudo modprobe tun; sudo chmod 0666 %s; or take --backend %s",
			tunDevice, err, backend, tunDevice, schema.BackendHostGW)
	}
	return nil
}

// newKey makes a gossip key file: 32 bytes in base64.
func newKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key) + "\n"
}

// absolute makes a path to a directory absolute without following symlinks:
// one that is turned to another tree is to be followed later. "" stays.
func absolute(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s: not a directory", dir)
	}
	return path, nil
}
