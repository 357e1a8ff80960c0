//go:build linux

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// override gives the hosts copies of their trees, below the lab's directory,
// in which the Cluster has another backend. Hosts that share a tree share its
// copy.
func (l *Lab) override() error {
	copies := map[string]string{"": ""}
	for i := range l.Hosts {
		tree := l.Hosts[i].Tree
		target, done := copies[tree]
		if !done {
			// One folder up is what the hosts get to see.
			target = filepath.Join(l.Dir, "tree-"+strconv.Itoa(len(copies)), "config")
			if err := copyTree(tree, target, l.Backend); err != nil {
				return fmt.Errorf("copy %s: %w", tree, err)
			}
			copies[tree] = target
		}
		l.Hosts[i].Tree = target
	}
	return nil
}

// copyTree copies the documents of a tree with another backend.
func copyTree(from, to, backend string) error {
	resolved, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(resolved, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(resolved, path)
		if err != nil || below == "." {
			return err
		}
		hidden := entry.Name()[0] == '.'
		switch {
		case entry.IsDir() && hidden:
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		case hidden:
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if content, err = setBackend(below, content, backend); err != nil {
			return fmt.Errorf("%s: %w", below, err)
		}
		return os.WriteFile(filepath.Join(to, below), content, 0o644)
	})
}

// setBackend sets spec.overlay.backend of a Cluster document, and drops the
// port, which belongs to the backend. Files without a Cluster stay as they
// are.
func setBackend(name string, content []byte, backend string) ([]byte, error) {
	change := func(document map[string]any) bool {
		if document["kind"] != "Cluster" {
			return false
		}
		overlay := child(child(document, "spec"), "overlay")
		overlay["backend"] = backend
		delete(overlay, "port")
		return true
	}
	switch filepath.Ext(name) {
	case ".json":
		var document map[string]any
		if json.Unmarshal(content, &document) != nil || !change(document) {
			return content, nil
		}
		return json.Marshal(document)
	case ".yaml", ".yml":
		return changeYAML(content, change)
	}
	return content, nil
}

// changeYAML applies a change to each document of a file and gives the file
// back as it was if none of them changed.
func changeYAML(content []byte, change func(map[string]any) bool) ([]byte, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	changed := false
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return content, nil // the daemon is to say what is wrong with it
		}
		if document == nil {
			continue
		}
		changed = change(document) || changed
		if err := encoder.Encode(document); err != nil {
			return nil, err
		}
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	if !changed {
		return content, nil
	}
	return out.Bytes(), nil
}

// child gives the map at a key and makes it if it is not there.
func child(parent map[string]any, key string) map[string]any {
	m, ok := parent[key].(map[string]any)
	if !ok {
		m = map[string]any{}
		parent[key] = m
	}
	return m
}
