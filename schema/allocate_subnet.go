package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// subnetsFile is where pinned Subnets are written.
const subnetsFile = "subnets.yaml"

// subnets writes a pinned Subnet for each Node that has none.
func (a *allocator) subnets() error {
	if len(a.tree.nodes) == 0 {
		return errors.New("--subnets needs Node documents: a pinned Subnet names its node")
	}
	pinned, names := map[string]bool{}, map[string]bool{}
	var taken []netip.Prefix
	for _, u := range a.tree.subnets {
		pinned[u.subnet.Node] = true
		names[u.meta.Name.Name] = true
		taken = append(taken, u.subnet.CIDRs...)
	}
	var b strings.Builder
	for _, u := range a.tree.nodes {
		node := u.meta.Name.Name
		if pinned[node] {
			continue
		}
		cut, err := a.cut(node, &taken)
		if err != nil {
			return err
		}
		name := subnetName(node, names)
		names[name] = true
		var texts, quoted []string
		for _, p := range cut {
			texts = append(texts, p.String())
			quoted = append(quoted, fmt.Sprintf("%q", p.String()))
		}
		fmt.Fprintf(&b, "---\napiVersion: poplin/v1alpha1\nkind: Subnet\nmetadata: {name: %q}\nspec: {cidrs: [%s], node: %q}\n", name, strings.Join(quoted, ", "), node)
		a.out.Changes = append(a.out.Changes, fmt.Sprintf("%s: Subnet %s: %s for node %s", subnetsFile, name, strings.Join(texts, " and "), node))
	}
	if b.Len() == 0 {
		return nil
	}
	a.appendFile(subnetsFile, b.String())
	return nil
}

// appendFile adds documents to a file, which may have been edited already,
// or makes it.
func (a *allocator) appendFile(path, text string) {
	i := slices.IndexFunc(a.out.Files, func(f File) bool { return f.Path == path })
	content := a.content(path)
	if i >= 0 {
		content = a.out.Files[i].Content
	}
	content = slices.Clone(content)
	if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(content, '\n')
	}
	file := File{path, append(content, text...)}
	if i >= 0 {
		a.out.Files[i] = file
	} else {
		a.out.Files = append(a.out.Files, file)
	}
}

// cut takes a range for a node out of the pod ranges, one of each family:
// the one that a hash of its name says, or the next free one.
func (a *allocator) cut(node string, taken *[]netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	cluster := a.tree.result.Cluster
	for _, family := range []Family{IPv4, IPv6} {
		if !hasFamily(cluster.PodCIDRs, family) {
			continue
		}
		length := cluster.SubnetLength.IPv4
		if family == IPv6 {
			length = cluster.SubnetLength.IPv6
		}
		p, ok := cutFrom(cluster.PodCIDRs, family, length, node, *taken)
		if !ok {
			return nil, fmt.Errorf("node %s: no free /%d in the pod ranges", node, length)
		}
		out = append(out, p)
		*taken = append(*taken, p)
	}
	return out, nil
}

func cutFrom(ranges []netip.Prefix, family Family, length int, node string, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, r := range ranges {
		if FamilyOf(r.Addr()) != family || r.Bits() > length {
			continue
		}
		count := uint64(1) << min(length-r.Bits(), 32)
		for step := range min(count, 1<<16) {
			p := nthSubnet(r, length, choice("subnet "+node, count, step))
			if !slices.ContainsFunc(taken, p.Overlaps) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// nthSubnet is the n-th range of that length inside another.
func nthSubnet(r netip.Prefix, length int, n uint64) netip.Prefix {
	b := r.Addr().AsSlice()
	for bit := length - 1; bit >= r.Bits() && n > 0; bit-- {
		if n&1 == 1 {
			b[bit/8] |= 0x80 >> (bit % 8)
		}
		n >>= 1
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, length)
}

// subnetName is the node's name as a DNS label that no Subnet has yet.
func subnetName(node string, names map[string]bool) string {
	base := strings.ReplaceAll(node, ".", "-")
	base = strings.TrimRight(base[:min(len(base), 50)], "-")
	name := base
	for i := 2; names[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}
