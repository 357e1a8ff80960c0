package main

import (
	"fmt"
	"strings"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
)

// waitCondition parses what to wait for. The condition says what is missing.
// A unit name's form NS_NAME, which has no slash to escape, is a pod too.
func waitCondition(args []string, all bool) (func(api.Status) (bool, string), error) {
	kind, rest, slash := strings.Cut(args[0], "/")
	if !slash && len(args) == 2 {
		rest = args[1]
	}
	switch {
	case args[0] == "ready" && len(args) == 1:
		return inSync, nil
	case kind == "revision" && rest != "":
		return func(s api.Status) (bool, string) { return follows(s, rest, all) }, nil
	case kind == "pod" && rest != "":
		if namespace, pod, ok := strings.Cut(rest, "_"); ok && !strings.Contains(rest, "/") {
			rest = namespace + "/" + pod
		}
		name, err := schema.ParseName(rest)
		if err != nil {
			return nil, err
		}
		return func(s api.Status) (bool, string) { return hasPod(s, name) }, nil
	}
	return nil, fmt.Errorf("%q: wait for ready, revision R or pod NS/NAME", strings.Join(args, " "))
}

func inSync(s api.Status) (bool, string) {
	if s.Waiting != "" {
		return false, "the node waits for " + s.Waiting
	}
	return s.InSync, "the node is not in sync"
}

// follows reports whether the node, and with all every alive node, follows a
// revision, named in full or by how its commit begins.
func follows(s api.Status, revision string, all bool) (bool, string) {
	match := func(r string) bool {
		_, commit, found := strings.Cut(r, "@")
		return r == revision || found && commit != "" && (strings.HasPrefix(commit, revision) || strings.HasPrefix(revision, commit))
	}
	if !match(s.Revision) && s.Digest != revision {
		return false, "the node follows " + s.Revision
	}
	if ok, missing := inSync(s); !ok {
		return false, missing
	}
	for _, p := range s.Peers {
		if all && p.State == "alive" && !p.External && p.Digest != s.Digest {
			return false, p.Name + " follows " + p.Revision
		}
	}
	return true, ""
}

func hasPod(s api.Status, name schema.Name) (bool, string) {
	for _, p := range s.Pods {
		if p.Namespace == name.Namespace && p.Name == name.Name {
			// Not until it is ready: what runs in it may wait for this.
			return p.Up || p.Ready, fmt.Sprintf("pod %s has no interface yet", name)
		}
	}
	return false, fmt.Sprintf("pod %s is not on this node", name)
}
