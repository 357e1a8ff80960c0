package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/schema"
)

// Programs may not start with the variables of too many services.
func TestEnvironmentRule(t *testing.T) {
	var text strings.Builder
	for i := range schema.GreatestEnvironment + 1 {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {clusterIP: 10.96.%d.%d, type: ClusterIP, selector: {a: b}, ports: [{port: 80}]}\n", i, 1+i/250, 1+i%250)
	}
	count := func(text string) int {
		_, diagnostics := newParser(t).Parse(one(text))
		n := 0
		for _, d := range diagnostics {
			if strings.Contains(d.Message, "environment variables") {
				n++
			}
		}
		return n
	}
	same(t, 1, count(text.String()))
	same(t, 0, count(text.String()[:strings.LastIndex(text.String(), "---")]))
}
