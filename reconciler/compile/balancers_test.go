package compile

import (
	"maps"
	"strings"
	"testing"
)

// TestClosedFollows has a service lose its endpoint here, and get it back,
// while nothing else changes: what is reported of it follows.
func TestClosedFollows(t *testing.T) {
	var s scenario
	for _, o := range loadScenarios(t) {
		if o.name == "load-balancer-closed" {
			s = o
		}
	}
	parse, compiler, input := parserOf(t), New(), s.input(t, false)
	reported := func(there string) bool {
		files := maps.Clone(s.files)
		files["there.yaml"] = s.files[there]
		delete(files, "before/there.yaml")
		input.Config = parse(files)
		for _, p := range compiler.Compile(input).Problems {
			if strings.Contains(p.What, "default/there") {
				return true
			}
		}
		return false
	}
	for range 2 {
		if reported("before/there.yaml") {
			t.Error("a service with an endpoint here is reported as closed")
		}
		if !reported("there.yaml") {
			t.Error("a service without an endpoint here is not reported as closed")
		}
	}
}
