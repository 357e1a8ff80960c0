package compile

import (
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/poplin-net/poplin/reconciler"
)

// subnetFile asks for subnet.env: the variables with which flannel tells
// container engines and its CNI plugin about a node's network, in its order
// (WriteSubnetFile in pkg/subnet/subnet.go). The node's first subnet of each
// family stands there.
func (b *builder) subnetFile() *reconciler.Group {
	if b.Host.RunDir == "" || len(b.subnets) == 0 {
		return nil
	}
	var text strings.Builder
	for _, f := range b.families {
		s, ok := b.first(f)
		if !ok {
			continue
		}
		prefix, gateway, _ := s.prefix(f)
		variable := "FLANNEL_"
		if f == reconciler.IPv6 {
			variable += "IPV6_"
		}
		fmt.Fprintf(&text, "%sNETWORK=%s\n", variable, b.podRanges(f))
		fmt.Fprintf(&text, "%sSUBNET=%s\n", variable, netip.PrefixFrom(gateway, prefix.Bits()))
	}
	fmt.Fprintf(&text, "FLANNEL_MTU=%d\n", b.subnetMTU(b.subnets[0]))
	fmt.Fprintf(&text, "FLANNEL_IPMASQ=%t\n", b.subnets[0].Masquerade)
	return &reconciler.Group{Name: "subnet.env", Origin: b.origin(b.cluster.Place), Objects: []reconciler.Object{
		b.file("subnet.env", text.String()),
	}}
}

// file is one in the run directory that anybody may read. Its name may have
// directories.
func (b *builder) file(name, text string) reconciler.File {
	return reconciler.File{
		Path: path.Join(b.Host.RunDir, name), Mode: 0o644,
		Content: reconciler.FileMark(b.cluster.Meta.Name.Name, name) + text,
	}
}

// podRanges are the cluster's, with commas between them.
func (b *builder) podRanges(f reconciler.Family) string {
	var out []string
	for _, p := range b.cluster.PodCIDRs {
		if reconciler.FamilyOf(p.Addr()) == f {
			out = append(out, p.String())
		}
	}
	return strings.Join(out, ",")
}
