package discovery_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/reconciler/goldentest"
	"github.com/poplin-net/poplin/schema"
)

// TestEnvironment makes the variables of the namespace default of the
// documents in each file of testdata/environment.
func TestEnvironment(t *testing.T) {
	goldentest.Run(t, environments, func(_ *testing.T, c goldentest.Case) map[string]string {
		variables := discovery.Environment(servicesIn(inputOf(c), "default"))
		return map[string]string{"dotenv": discovery.Dotenv(variables), "shell": discovery.Shell(variables)}
	})
}

const environments = "testdata/environment/*.txtar"

// Services that are said to have the same variables have them.
func TestSameVariables(t *testing.T) {
	var all []*schema.Service
	for range 2 { // the same text once more
		for _, c := range goldentest.Load(t, environments) {
			all = append(all, servicesIn(inputOf(c), "default")...)
		}
	}
	for _, a := range all {
		for _, b := range all {
			equal := slices.Equal(discovery.Environment([]*schema.Service{a}), discovery.Environment([]*schema.Service{b}))
			if a.Meta.Name == b.Meta.Name && equal != discovery.SameVariables(a, b) || discovery.SameVariables(a, b) && !equal {
				t.Errorf("%s at %s and %s: the variables are the same is %v", a.Meta.Name, a.Place, b.Place, equal)
			}
		}
	}
}

func servicesIn(in discovery.Input, namespace string) []*schema.Service {
	var out []*schema.Service
	for _, s := range in.Services {
		if s.Document.Namespace == namespace {
			out = append(out, s.Document)
		}
	}
	return out
}

// Dots become underscores as dashes do; a service without a cluster IP has no
// variables.
func TestEnvironmentOfDottedName(t *testing.T) {
	s := &schema.Service{ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Ports: []schema.ServicePort{{Name: "a.b", Port: 80, Protocol: schema.TCP}}}
	s.Name.Name = "web.v1-x"
	headless := &schema.Service{Headless: true}
	got := discovery.Environment([]*schema.Service{headless, s})
	want := []discovery.Variable{{Name: "WEB_V1_X_SERVICE_HOST", Value: "10.96.0.1"}, {Name: "WEB_V1_X_SERVICE_PORT", Value: "80"}, {Name: "WEB_V1_X_SERVICE_PORT_A_B", Value: "80"}}
	if len(got) < 3 || !slices.Equal(got[:3], want) {
		t.Errorf("%v", got)
	}
}
