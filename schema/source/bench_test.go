package source

import (
	"fmt"
	"testing"
)

// BenchmarkOneOfTenThousand is a round after one of 10,000 files changed.
func BenchmarkOneOfTenThousand(b *testing.B) {
	root := b.TempDir()
	for i := range 10_000 {
		write(b, "kind: Service\n", root, fmt.Sprintf("ns%02d/%04d.yaml", i%100, i))
	}
	r := newReader()
	if _, _, err := r.snapshot(root); err != nil {
		b.Fatal(err)
	}
	for path, c := range r.cache {
		c.racy = false
		r.cache[path] = c
	}
	for i := 0; b.Loop(); i++ {
		write(b, fmt.Sprintf("kind: Pod # %d\n", i), root, "ns00/0000.yaml")
		if _, _, err := r.snapshot(root); err != nil {
			b.Fatal(err)
		}
	}
}
