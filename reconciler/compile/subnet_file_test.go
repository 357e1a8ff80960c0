package compile

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/poplin-net/poplin/reconciler"
)

func TestSubnetFile(t *testing.T) {
	all := loadScenarios(t)
	s := all[slices.IndexFunc(all, func(s scenario) bool { return s.name == "subnet-env" })]
	group := New().Compile(s.input(t, false)).State.Group("subnet.env")
	want := reconciler.File{Path: "/run/poplin/subnet.env", Mode: 0o644, Content: `# poplin c/subnet.env
FLANNEL_NETWORK=10.244.0.0/16,10.245.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:244::/48
FLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64
FLANNEL_MTU=1500
FLANNEL_IPMASQ=true
`}
	if group == nil || len(group.Objects) != 1 {
		t.Fatalf("group %v", group)
	}
	if diff := cmp.Diff(reconciler.Object(want), group.Objects[0]); diff != "" {
		t.Error(diff)
	}
}
