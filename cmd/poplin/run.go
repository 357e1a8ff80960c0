package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/poplin-net/poplin/cmd/poplin/daemon"
	"github.com/poplin-net/poplin/schema/source"
)

// The places of a node's files.
const (
	defaultConfig   = "/etc/poplin/config"
	defaultKeyFile  = "/etc/poplin/gossip.key"
	defaultStateDir = "/var/lib/poplin"
	defaultRunDir   = "/run/poplin"
)

// hostFlags are the flags that every command needs which looks at this host.
type hostFlags struct {
	config, node, underlay, stateDir, runDir, mountNS string
	logLevel, logFormat                               string
}

func (f *hostFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", defaultConfig, "the synced directory, or a symlink to it")
	flags.StringVar(&f.node, "node", defaultNode(), "this node's name")
	flags.StringVar(&f.underlay, "underlay", "", "this node's end of the network between the hosts: ADDRESS, INTERFACE or can-reach:ADDRESS (default: the Node document's address, else the default route's)")
	flags.StringVar(&f.stateDir, "state-dir", defaultStateDir, "what must survive a reboot")
	flags.StringVar(&f.runDir, "run-dir", defaultRunDir, "socket and what the node makes for others")
	flags.StringVar(&f.mountNS, "mount-ns", "", "mount namespace in which pods' namespaces are bound: /proc/1/ns/mnt for a unit with a mount namespace of its own")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "auto", "text, json, or auto: text with priorities under the journal")
}

func (f *hostFlags) options() (daemon.Options, error) {
	log, err := newLogger(os.Stderr, f.logLevel, f.logFormat)
	if err != nil {
		return daemon.Options{}, withCode(exitUsage, err)
	}
	runDir, err := filepath.Abs(f.runDir)
	if err != nil {
		return daemon.Options{}, withCode(exitRuntime, err)
	}
	return daemon.Options{
		ConfigDir: f.config, Node: f.node, Underlay: f.underlay, StateDir: f.stateDir, RunDir: runDir,
		MountNS: f.mountNS, Log: log, Version: version(), Built: buildTime(),
	}, nil
}

// defaultNode is the host's name in lower case up to the first dot.
func defaultNode() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	return name
}

func newRunCommand() *cobra.Command {
	var host hostFlags
	var join []string
	var keyFile, mode, offloads string
	var bootstrap, once, execProbes bool
	var quiet time.Duration
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon of a node",
		Long: `Run the daemon of a node: watch the synced directory, gossip with the other
nodes, and make this host match. Stopping it leaves the network as it is;
poplin cleanup removes it.`,
		Example: `  poplin run --config /etc/poplin/config --node node-1
  poplin run --once --config ./examples/pinned   # one round, pinned subnets only`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := host.options()
			if err != nil {
				return err
			}
			o.KeyFile, o.Bootstrap, o.Once, o.SourceQuiet, o.ExecProbes = keyFile, bootstrap, once, quiet, execProbes
			o.Offloads = offloads
			if err := daemon.CheckOffloads(offloads); err != nil {
				return withCode(exitUsage, fmt.Errorf("--overlay-offloads: %w", err))
			}
			if o.Join, err = parseJoin(join); err != nil {
				return withCode(exitUsage, err)
			}
			if o.SourceMode, err = source.ParseMode(mode); err != nil {
				return withCode(exitUsage, err)
			}
			return runDaemon(c, o)
		},
	}
	host.register(c.Flags())
	c.Flags().StringSliceVar(&join, "join", nil, "addresses of nodes to join, ADDRESS or ADDRESS:PORT (default: the roster's)")
	c.Flags().BoolVar(&bootstrap, "bootstrap", false, "this node is the first: claim a subnet without having heard of others; counts only while there is no ledger")
	c.Flags().StringVar(&keyFile, "key-file", defaultKeyFile, "gossip keys, one base64 32-byte key a line")
	c.Flags().DurationVar(&quiet, "source-quiet", time.Second, "how long the directory must be quiet before it is read")
	c.Flags().StringVar(&mode, "source", "auto", "how to watch the directory: auto, inotify or poll")
	c.Flags().BoolVar(&execProbes, "exec-probes", false, "run the commands of exec readiness probes, as the daemon's user: whoever writes the documents then runs commands on this node; without it such pods are not ready")
	c.Flags().StringVar(&offloads, "overlay-offloads", "all", offloadsHelp)
	c.Flags().BoolVar(&once, "once", false, "one round without gossip, then exit: pinned subnets and roster only")
	return c
}

const offloadsHelp = `by which means the udp overlay is fast, as far as kernel and network card can; to turn one off that is broken: -NAME,
or none,+NAME. vnet: offload header of the TUN device; tso, uso: large TCP, UDP packets from it; merge: to it;
gso, gro: large datagrams to and from the socket; batch: several by system call; lanes: several threads;
ports: source ports by flow; spin: look again before sleeping`

func runDaemon(c *cobra.Command, o daemon.Options) error {
	if o.Node == "" {
		return withCode(exitUsage, fmt.Errorf("--node: this host has no name"))
	}
	d, err := daemon.New(o)
	if err != nil {
		return withCode(exitRuntime, err)
	}
	if o.Once {
		return daemonError(d.Once(c.Context()))
	}
	return withCode(exitRuntime, d.Run(c.Context()))
}

func parseJoin(list []string) ([]netip.AddrPort, error) {
	out := make([]netip.AddrPort, len(list))
	for i, text := range list {
		if a, err := netip.ParseAddr(text); err == nil {
			out[i] = netip.AddrPortFrom(a, 0)
			continue
		}
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("--join: %q is neither ADDRESS nor ADDRESS:PORT", text)
		}
		out[i] = ap
	}
	return out, nil
}
