package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Allocation is what Allocate would write.
type Allocation struct {
	Files   []File   // whole contents of files that change or are new
	Changes []string // one line for each address, port or subnet
}

// InvalidError refuses documents that have errors of another kind than the
// one at hand.
type InvalidError struct{ Diagnostics Diagnostics }

func (e *InvalidError) Error() string {
	return plural(e.Diagnostics.Errors(), "error") + " in the documents"
}

// Allocate writes down the cluster IPs and node ports that nobody wrote
// down, with subnets also one pinned Subnet for each Node. What stands in the
// files stays as it is, comments and order too. A name keeps the address that
// it has already, unless that meets another: then it takes the next free one.
// The result depends on the documents only. Documents with errors give an
// *InvalidError.
func Allocate(files []File, subnets bool) (*Allocation, error) {
	p, err := NewParser()
	if err != nil {
		return nil, err
	}
	return p.Allocate(files, subnets)
}

// Allocate is the function of that name, for those who have a Parser.
func (p *Parser) Allocate(files []File, subnets bool) (*Allocation, error) {
	t := p.tree(files, func(t *tree) { t.allocating = true })
	if t.diagnostics.Errors() > 0 {
		return nil, &InvalidError{t.diagnostics.sorted()}
	}
	a := allocator{tree: t, editors: map[string]*editor{}, out: &Allocation{}}
	if err := a.services(); err != nil {
		return nil, err
	}
	if err := a.write(); err != nil {
		return nil, err
	}
	if subnets {
		if err := a.subnets(); err != nil {
			return nil, err
		}
	}
	return a.out, a.check(files)
}

// allocator settles one tree.
type allocator struct {
	tree    *tree
	editors map[string]*editor // by file
	out     *Allocation
}

// check parses the result: an editor that broke a file must not go unseen.
func (a *allocator) check(files []File) error {
	if len(a.out.Files) == 0 {
		return nil
	}
	after := slices.Clone(files)
	for _, f := range a.out.Files {
		i := slices.IndexFunc(after, func(g File) bool { return g.Path == f.Path })
		if i < 0 {
			after = append(after, f)
		} else {
			after[i] = f
		}
	}
	t := a.tree.parser.tree(after)
	if t.diagnostics.Errors() > 0 {
		return fmt.Errorf("the files cannot be edited: %s", t.diagnostics.sorted()[0])
	}
	if t.result.Automatic > 0 {
		return errors.New("the files cannot be edited: addresses are still missing")
	}
	return nil
}

// wanted is an automatic address or port.
type wanted struct {
	unit  *unit
	index int // healthIndex for the health check's
}

const healthIndex = -1

func (a *allocator) services() error {
	ips, err := a.clusterIPs()
	if err != nil {
		return err
	}
	ports, err := a.nodePorts()
	if err != nil {
		return err
	}
	balancers, err := a.balancers()
	if err != nil {
		return err
	}
	for _, u := range a.tree.services {
		err := a.edit(u, ips[u], ports)
		if err == nil {
			err = a.editBalancer(u, balancers[u])
		}
		if err != nil {
			return fmt.Errorf("%s at %s: %w", u.object(), u.meta.Place, err)
		}
	}
	return nil
}

// clusterIPs gives every service its addresses: first to those whose own is
// free, then the next free ones to the rest.
func (a *allocator) clusterIPs() (map[*unit][]netip.Addr, error) {
	cluster := a.tree.result.Cluster
	pools := map[Family]addressPool{}
	for _, p := range cluster.ServiceCIDRs {
		pools[FamilyOf(p.Addr())] = newAddressPool(p, cluster.DNS.Addresses)
	}
	used := map[netip.Addr]bool{}
	out := map[*unit][]netip.Addr{}
	var rest []wanted
	for _, automatic := range []bool{false, true} {
		for _, u := range a.tree.services {
			r := u.settled.service
			for i, ip := range r.service.ClusterIPs {
				if r.automaticIPs[i] != automatic {
					continue
				}
				if out[u] == nil {
					out[u] = slices.Clone(r.service.ClusterIPs)
				}
				if used[ip] {
					rest = append(rest, wanted{u, i})
				}
				used[ip] = true
			}
		}
	}
	for _, w := range rest {
		pool := pools[FamilyOf(out[w.unit][w.index])]
		ip, ok := firstFree(pool.count, func(step uint64) netip.Addr { return pool.address(w.unit.meta.Name, step) }, used)
		if !ok {
			return nil, fmt.Errorf("%s: no free address in %s", w.unit.object(), pool.prefix)
		}
		out[w.unit][w.index] = ip
	}
	return out, nil
}

// firstFree tries the choices of a name one after another, and marks the
// one it takes.
func firstFree[T comparable](count uint64, at func(step uint64) T, used map[T]bool) (T, bool) {
	for step := range min(count, 1<<20) {
		if v := at(step); !used[v] {
			used[v] = true
			return v, true
		}
	}
	var none T
	return none, false
}

// nodePorts gives every port of a service its node port, as clusterIPs does,
// and every health check.
func (a *allocator) nodePorts() (map[wanted]uint16, error) {
	used := map[nodePortKey]bool{}
	for _, p := range daemonNodePorts(a.tree.result.Cluster) {
		used[p.nodePortKey] = true
	}
	out := map[wanted]uint16{}
	var rest []wanted
	for _, automatic := range []bool{false, true} {
		take := func(w wanted, key nodePortKey, isAutomatic bool) {
			if key.port == 0 || isAutomatic != automatic {
				return
			}
			if used[key] {
				rest = append(rest, w)
			} else if automatic {
				out[w] = key.port
			}
			used[key] = true
		}
		for _, u := range a.tree.services {
			r := u.settled.service
			for i, p := range r.service.Ports {
				take(wanted{u, i}, nodePortKey{p.NodePort, p.Protocol}, r.automaticPorts[i])
			}
			take(wanted{u, healthIndex}, nodePortKey{r.service.HealthCheckNodePort, TCP}, r.automaticHealth)
		}
	}
	r := a.tree.result.Cluster.NodePortRange
	half := upperHalf(r)
	for _, w := range rest {
		key, ok := firstFree(uint64(half.Last-half.First)+1, func(step uint64) nodePortKey { return w.nodePort(r, step) }, used)
		if !ok {
			return nil, fmt.Errorf("%s: no free node port in %d-%d", w.unit.object(), half.First, half.Last)
		}
		out[w] = key.port
	}
	return out, nil
}

// nodePort is the automatic one at a step.
func (w wanted) nodePort(r PortRange, step uint64) nodePortKey {
	if w.index == healthIndex {
		return nodePortKey{automaticHealthPort(w.unit.meta.Name, r, step), TCP}
	}
	p := w.unit.settled.service.service.Ports[w.index]
	return nodePortKey{automaticNodePort(w.unit.meta.Name, p, r, step), p.Protocol}
}

// content is a file of the tree as it was, nil if there is none.
func (a *allocator) content(path string) []byte {
	for _, f := range a.tree.files {
		if f.path == path {
			return f.content
		}
	}
	return nil
}

func (a *allocator) editor(file string) *editor {
	e := a.editors[file]
	if e == nil {
		e = &editor{content: a.content(file), json: strings.HasSuffix(file, ".json")}
		a.editors[file] = e
	}
	return e
}

// edit writes the addresses and ports of one service into its document.
func (a *allocator) edit(u *unit, ips []netip.Addr, ports map[wanted]uint16) error {
	r := u.settled.service
	if r.automatic == 0 {
		return nil
	}
	spec := a.tree.document(u).get("spec")
	e := a.editor(u.meta.Place.File)
	e.owner = u
	if slices.Contains(r.automaticIPs, true) {
		if err := a.editClusterIPs(u, e, spec, ips); err != nil {
			return err
		}
	}
	for i := range r.service.Ports {
		port, ok := ports[wanted{u, i}]
		if !ok {
			continue
		}
		if err := e.set(spec.get("ports").items[i], "nodePort", itoa(port), "port"); err != nil {
			return err
		}
		a.out.Changes = append(a.out.Changes, fmt.Sprintf("%s: %s: nodePort %d for port %d/%s", u.meta.Place.File, u.object(), port, r.service.Ports[i].Port, r.service.Ports[i].Protocol))
	}
	if port, ok := ports[wanted{u, healthIndex}]; ok {
		a.out.Changes = append(a.out.Changes, fmt.Sprintf("%s: %s: healthCheckNodePort %d", u.meta.Place.File, u.object(), port))
		return e.set(spec, "healthCheckNodePort", itoa(port), "")
	}
	return nil
}

func (a *allocator) editClusterIPs(u *unit, e *editor, spec *node, ips []netip.Addr) error {
	texts := make([]string, len(ips))
	for i, ip := range ips {
		texts[i] = ip.String()
		if e.json || ip.Is6() {
			texts[i] = fmt.Sprintf("%q", texts[i])
		}
		if u.settled.service.automaticIPs[i] {
			a.out.Changes = append(a.out.Changes, fmt.Sprintf("%s: %s: clusterIP %s", u.meta.Place.File, u.object(), ip))
		}
	}
	if list := spec.get("clusterIPs"); list != nil && len(list.items) == 1 && len(u.draft.explicit) == 1 {
		return e.set(spec, "clusterIPs", texts[1], "")
	}
	if len(ips) == 1 {
		return e.set(spec, "clusterIP", texts[0], "")
	}
	if len(u.draft.explicit) == 0 && spec.key("clusterIP") != nil {
		if err := e.set(spec, "clusterIP", texts[0], ""); err != nil {
			return err
		}
	}
	return e.set(spec, "clusterIPs", "["+strings.Join(texts, ", ")+"]", "")
}

// write carries out the edits of all files.
func (a *allocator) write() error {
	for _, f := range a.tree.files {
		e := a.editors[f.path]
		if e == nil || len(e.edits) == 0 {
			continue
		}
		content, err := applyEdits(e.content, e.edits)
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		a.out.Files = append(a.out.Files, File{f.path, content})
	}
	return nil
}
