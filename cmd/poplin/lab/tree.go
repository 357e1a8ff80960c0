//go:build linux

package lab

import (
	"errors"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// ReadTree reads a directory of documents. One that is empty gives an empty
// Config: documents may come later. Documents that are refused are an
// *api.InvalidError.
func ReadTree(dir string) (*schema.Config, error) {
	if dir == "" {
		return &schema.Config{}, nil
	}
	tree, err := source.Read(dir)
	if errors.Is(err, source.ErrEmpty) {
		return &schema.Config{}, nil
	}
	if err != nil {
		return nil, err
	}
	parser, err := schema.NewParser()
	if err != nil {
		return nil, err
	}
	config, diagnostics := parser.Parse(tree.Files)
	if config == nil {
		return nil, &api.InvalidError{Diagnostics: diagnostics}
	}
	return config, nil
}

// rosterOf gives the nodes that the tree's Node documents name.
func rosterOf(config *schema.Config) []Node {
	var nodes []Node
	for _, n := range config.Nodes {
		nodes = append(nodes, Node{Name: n.Name.Name, Addresses: n.Addresses, External: n.External})
	}
	return nodes
}
