package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
)

func newWaitCommand() *cobra.Command {
	var runDir string
	var timeout time.Duration
	var all bool
	c := &cobra.Command{
		Use:   "wait ready | revision R [--all] | pod NS/NAME",
		Short: "Wait until the node is in sync, follows a revision, or has a pod",
		Long: `Wait until the node is in sync, follows a revision, or has a pod with its
network. Exit code 4 if that is not so after --timeout.`,
		Example: `  poplin wait ready
  poplin wait revision 4f2c9e1 --all --timeout 2m
  poplin wait pod default/web-1`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			reached, err := waitCondition(args, all)
			if err != nil {
				return withCode(exitUsage, err)
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			return withCode(exitRuntime, waitFor(ctx, api.NewClient(runDir), reached))
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	c.Flags().BoolVar(&all, "all", false, "revision: until every alive node follows it")
	return c
}

// waitFor asks the daemon until the condition holds. A daemon that does not
// answer yet may still come.
func waitFor(ctx context.Context, client *api.Client, reached func(api.Status) (bool, string)) error {
	missing := "the daemon does not answer"
	for {
		s, err := client.Status(ctx)
		if err == nil {
			var done bool
			if done, missing = reached(s); done {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting: %s", missing)
		case <-time.After(watchInterval):
		}
	}
}

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
