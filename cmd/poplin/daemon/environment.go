package daemon

import (
	"errors"
	"slices"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/schema"
)

// Environment implements api.Backend.
func (d *Daemon) Environment(namespace string) (api.Environment, error) {
	current := d.documents.now()
	if current == nil {
		return api.Environment{}, errors.New("there is no accepted revision yet")
	}
	return EnvironmentOf(current.Config, namespace), nil
}

// EnvironmentOf lists the environment variables of a namespace.
func EnvironmentOf(c *schema.Config, namespace string) api.Environment {
	e := api.Environment{APIVersion: api.APIVersion, Kind: "Environment", Namespace: namespace, Variables: []api.Variable{}}
	first, _ := slices.BinarySearchFunc(c.Services, namespace, func(s *schema.Service, n string) int { return strings.Compare(s.Namespace, n) })
	list := c.Services[first:]
	if end := slices.IndexFunc(list, func(s *schema.Service) bool { return s.Namespace != namespace }); end >= 0 {
		list = list[:end]
	}
	for _, v := range discovery.Environment(list) {
		e.Variables = append(e.Variables, api.Variable(v))
	}
	return e
}
