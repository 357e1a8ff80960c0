//go:build linux

package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSetBackend(t *testing.T) {
	tests := []struct{ name, file, in, want string }{
		{"no overlay yet", "a.yaml",
			"kind: Cluster\nspec:\n  podCIDRs: [10.0.0.0/8]\n",
			"kind: Cluster\nspec:\n    overlay:\n        backend: host-gw\n    podCIDRs:\n        - 10.0.0.0/8\n"},
		{"port goes, MTU stays", "a.yml",
			"kind: Cluster\nspec: {overlay: {backend: udp, port: 9, mtu: 1400}}\n",
			"kind: Cluster\nspec:\n    overlay:\n        backend: host-gw\n        mtu: 1400\n"},
		{"second document", "a.yaml",
			"kind: Pod\n---\nkind: Cluster\n",
			"kind: Pod\n---\nkind: Cluster\nspec:\n    overlay:\n        backend: host-gw\n"},
		{"no Cluster", "a.yaml", "kind: Pod # mine\n", "kind: Pod # mine\n"},
		{"broken", "a.yaml", "kind: [Cluster\n", "kind: [Cluster\n"},
		{"JSON", "a.json", `{"kind":"Cluster"}`, `{"kind":"Cluster","spec":{"overlay":{"backend":"host-gw"}}}`},
		{"not a document", "README.md", "kind: Cluster\n", "kind: Cluster\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := setBackend(test.file, []byte(test.in), "host-gw")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}
