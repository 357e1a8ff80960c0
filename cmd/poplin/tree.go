package main

import (
	"errors"

	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// readTree reads the documents below a directory once. A directory without
// any is a tree without any: the checks say what is missing. What is refused
// (too large, a link out of the directory) is invalid.
func readTree(dir string) ([]schema.File, error) {
	tree, err := source.Read(dir)
	switch {
	case errors.Is(err, source.ErrEmpty):
		return nil, nil
	case errors.Is(err, source.ErrRefused):
		return nil, withCode(exitInvalid, err)
	case err != nil:
		return nil, withCode(exitRuntime, err)
	}
	return tree.Files, nil
}
