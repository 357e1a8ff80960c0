package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/poplin-net/poplin"

// importRule says which packages of ours a package may import, below the
// module path, and why no others.
type importRule struct {
	pkg string
	may []string
	why string
}

// importRules is the layout of the whole. The table in CONTRIBUTING.md is
// made of it.
var importRules = []importRule{
	{"schema", nil, "documents are checked anywhere, in CI too, without a host or a cluster"},
	{"schema/source", []string{"schema"}, "the directory is read the same whatever is done with it"},
	{"overlay/durable", nil, "a file outlives a power cut, whatever is in it"},
	{"overlay", []string{"overlay/durable"}, "gossip decides who owns what from records alone, so that a model can test it"},
	{"overlay/udp", nil, "the tunnel's data path knows peers and packets, no documents and no plans"},
	{"overlay/udp/udptest", []string{"overlay/udp"}, "in-memory devices and networks for tests of the tunnel"},
	{"overlay/probe", nil, "asks addresses; which ones, and what comes of it, is decided elsewhere"},
	{"overlay/wg", []string{"overlay/durable"}, "the wireguard backend's data path knows keys and peers, no documents and no plans"},
	{"reconciler", nil, "the engine knows no netlink, no YAML and no gossip: only objects"},
	{"reconciler/hosttest", nil, "namespaces of their own for tests, of whatever package"},
	{"reconciler/goldentest", []string{"schema", "reconciler/view"}, "goldens of documents and a view, without what is made of them"},
	{"reconciler/view", nil, "plain values, so that everything pure can read them"},
	{"reconciler/services", []string{"schema", "reconciler/view"}, "the rules of services are the same for nftables, discovery and explain"},
	{"reconciler/compile", []string{"schema", "reconciler", "reconciler/view", "reconciler/services", "reconciler/discovery"}, "pure: the same documents and view give the same state, also for plan and offline"},
	{"reconciler/discovery", []string{"schema", "reconciler/view", "reconciler/services"}, "pure: which names there are is the same with a server and without"},
	{"reconciler/discovery/dns", []string{"reconciler/discovery"}, "serves a table, whatever it was made of"},
	{"reconciler/health", []string{"schema"}, "looks at pods; who they are and what comes of it is decided elsewhere"},
	{"reconciler/announce", nil, "tells neighbours of addresses; which ones is decided elsewhere"},
	{"reconciler/listen", nil, "answers where the kernel cannot; which sockets there are is decided elsewhere"},
	{"reconciler/linux", []string{"overlay/durable", "reconciler"}, "a target carries out operations; what is wanted is decided elsewhere"},
	{"reconciler/nft", []string{"reconciler"}, "a target carries out operations; what is wanted is decided elsewhere"},
	{"reconciler/nft/churntest", nil, "a load for tests of the target, and of the whole program"},
	{"reconciler/tunnel", []string{"reconciler", "overlay/udp"}, "the only target that needs a data path of ours"},
	{"reconciler/wireguard", []string{"reconciler", "overlay/wg"}, "a target carries out operations; what is wanted is decided elsewhere"},
	{"systemd", nil, "unit files, and a test of them"},
	{"cmd/poplin/api", []string{"schema", "overlay", "reconciler", "reconciler/view", "reconciler/compile", "reconciler/discovery/dns"}, "what is said over the socket, for daemon and commands alike; it starts nothing"},
	{"cmd/poplin/lab", []string{"schema", "schema/source", "cmd/poplin/api"}, "the lab runs the real binary: a daemon inside it would be another one"},
	{"cmd/poplin/lab/bench", []string{"cmd/poplin/lab"}, "measures from outside what the real binary does"},
	{"cmd/poplin/daemon", []string{"overlay/durable", "schema", "schema/source", "overlay", "overlay/probe", "overlay/udp", "overlay/wg", "reconciler", "reconciler/view", "reconciler/services", "reconciler/announce", "reconciler/compile", "reconciler/discovery", "reconciler/discovery/dns", "reconciler/health", "reconciler/listen", "reconciler/linux", "reconciler/nft", "reconciler/tunnel", "reconciler/wireguard", "cmd/poplin/api"}, "wires everything; nothing but the command knows it"},
	{"cmd/poplin", []string{"schema", "schema/source", "reconciler", "reconciler/discovery", "cmd/poplin/api", "cmd/poplin/daemon", "cmd/poplin/lab", "cmd/poplin/lab/bench"}, "flags and output only: what a command does is somewhere below"},
}

// libraryRule says which packages may import a library or a part of the
// standard library.
type libraryRule struct {
	path string // with everything below it
	only []string
	why  string
}

// libraryRules bans imports. A library that is not named may be used where it
// is useful.
var libraryRules = []libraryRule{
	{"github.com/vishvananda/netlink", []string{"reconciler/linux", "cmd/poplin/lab"}, "links, routes and neighbours have one owner; the lab makes its own underlay"},
	{"github.com/vishvananda/netns", []string{"reconciler/linux", "cmd/poplin/lab"}, "a goroutine that changes its namespace is an accident waiting"},
	{"github.com/google/nftables", []string{"reconciler/nft"}, "its encodings have traps, which are known in one place"},
	{"github.com/mdlayher/netlink", []string{"reconciler/nft"}, "below nftables and conntrack only"},
	{"github.com/hashicorp/memberlist", []string{"overlay"}, "gossip can be exchanged without anybody noticing"},
	{"golang.zx2c4.com/wireguard", []string{"overlay/wg"}, "two kinds of devices behind one face"},
	{"go.yaml.in/yaml", []string{"schema", "cmd/poplin/lab"}, "documents have one strict reader; the lab rewrites one field of a copy"},
	{"github.com/santhosh-tekuri/jsonschema", []string{"schema"}, "documents have one strict reader"},
	{"github.com/fsnotify/fsnotify", []string{"schema/source", "overlay"}, "the directory, and the key file"},
	{"github.com/coreos/go-systemd", []string{"cmd/poplin/daemon"}, "whom a daemon tells that it is ready is no concern of what it does"},
	{"github.com/spf13", []string{"cmd/poplin"}, "flags end where the command begins to work"},
	{"os", notIn(pure), "pure: files and environment are read at the edge"},
	{"github.com/miekg/dns", []string{"reconciler/discovery/dns"}, "messages from outside are read in one place"},
	{"net", append(notIn(pure), "reconciler"), "pure: addresses are netip values; the engine formats MAC addresses with it"},
	{"syscall", notIn(append(pure, "reconciler")), "pure"},
	{"golang.org/x/sys", notIn(append(pure, "reconciler")), "pure"},
	{"unsafe", []string{"overlay/udp", "reconciler/discovery/dns", "reconciler/linux", "reconciler/nft", "cmd/poplin/lab", "cmd/poplin/lab/bench"}, "for system calls only"},
}

// pure are the packages without effects.
var pure = []string{"schema", "reconciler", "reconciler/view", "reconciler/services", "reconciler/compile", "reconciler/discovery"}

// notIn lists all packages but some.
func notIn(some []string) []string {
	var out []string
	for _, r := range importRules {
		if !slices.Contains(some, r.pkg) {
			out = append(out, r.pkg)
		}
	}
	return out
}

// listedPackage is what go list says of a package.
type listedPackage struct {
	ImportPath, Dir, Doc               string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

// name is the path below the module.
func (p listedPackage) name() string { return strings.TrimPrefix(p.ImportPath, modulePath+"/") }

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports", modulePath+"/...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var out []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
}

// TestImportTable holds every import against the rules. Tests may import
// more: they stand outside of what they test.
func TestImportTable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range listPackages(t) {
		i := slices.IndexFunc(importRules, func(r importRule) bool { return r.pkg == p.name() })
		if i < 0 {
			t.Errorf("%s is not in the import table: add a rule, and a reason", p.name())
			continue
		}
		seen[p.name()] = true
		for _, imported := range p.Imports {
			if err := importRules[i].check(imported); err != nil {
				t.Error(err)
			}
			for _, rule := range libraryRules {
				if err := rule.check(p.name(), imported); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for _, r := range importRules {
		if !seen[r.pkg] {
			t.Errorf("%s is in the import table, but there is no such package", r.pkg)
		}
	}
}

func (r importRule) check(imported string) error {
	ours, found := strings.CutPrefix(imported, modulePath+"/")
	if !found || slices.Contains(r.may, ours) {
		return nil
	}
	return fmt.Errorf("%s imports %s: %s", r.pkg, ours, r.why)
}

func (r libraryRule) check(pkg, imported string) error {
	if imported != r.path && !strings.HasPrefix(imported, r.path+"/") || imported == "net/netip" || slices.Contains(r.only, pkg) {
		return nil
	}
	return fmt.Errorf("%s imports %s, which only %v may: %s", pkg, imported, r.only, r.why)
}

// importTable formats the rules as they stand in CONTRIBUTING.md.
func importTable() string {
	var b strings.Builder
	b.WriteString("| package | may import (of ours) | why no more |\n|---|---|---|\n")
	for _, r := range importRules {
		may := "–"
		if len(r.may) > 0 {
			may = strings.Join(r.may, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.pkg, may, r.why)
	}
	b.WriteString("\n| import | only in | why |\n|---|---|---|\n")
	for _, r := range libraryRules {
		if len(r.only) > 4 {
			fmt.Fprintf(&b, "| `%s` | not in %s | %s |\n", r.path, strings.Join(notIn(r.only), ", "), r.why)
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, strings.Join(r.only, ", "), r.why)
	}
	return b.String()
}
