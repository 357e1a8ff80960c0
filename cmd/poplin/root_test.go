package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestFlagsFromEnvironment(t *testing.T) {
	t.Setenv("POPLIN_STATE_DIR", "/from/environment")
	t.Setenv("POPLIN_NODE", "from-environment")
	t.Setenv("POPLIN_VERBOSE", "true")
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	dir := flags.String("state-dir", "/default", "")
	node := flags.String("node", "default", "")
	underlay := flags.String("underlay", "default", "")
	verbose := flags.Bool("verbose", false, "")
	must(t, flags.Parse([]string{"--node=given"}))
	must(t, flagsFromEnvironment(flags))
	if *dir != "/from/environment" || *node != "given" || *underlay != "default" || !*verbose {
		t.Errorf("state-dir %q, node %q, underlay %q, verbose %v", *dir, *node, *underlay, *verbose)
	}
	t.Setenv("POPLIN_UNDERLAY", "")
	must(t, flagsFromEnvironment(flags))
	if *underlay != "" {
		t.Errorf("a variable that is empty is a value too: %q", *underlay)
	}
}

func TestABadVariableIsAUsageErrorThatNamesIt(t *testing.T) {
	t.Setenv("POPLIN_VERBOSE", "perhaps")
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Bool("verbose", false, "")
	code, text := exitStatus(flagsFromEnvironment(flags))
	if code != exitUsage || !strings.Contains(text, "POPLIN_VERBOSE") {
		t.Errorf("%d %q", code, text)
	}
}

// TestEveryCommandHasHelp looks at what --help prints: a sentence, and an
// example unless the command only holds others. Hidden ones are for poplin
// itself.
func TestEveryCommandHasHelp(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.Runnable() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRootCommand())
}
