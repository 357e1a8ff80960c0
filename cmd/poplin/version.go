package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// release is set by the build of a release: -ldflags "-X main.release=v1.2.3".
var release string

// version names the build: a release, or the module's version or commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if commit := buildSetting(info, "vcs.revision"); len(commit) >= 7 {
		return "dev-" + commit[:7]
	}
	return info.Main.Version
}

// buildTime is the time of the commit that was built, or the zero time.
func buildTime() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, buildSetting(info, "vcs.time"))
	if err != nil {
		return time.Time{}
	}
	return at
}

func buildSetting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// build is the JSON form of the version.
type build struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Version    string `json:"version"`
	Commit     string `json:"commit,omitempty"`
	Time       string `json:"time,omitempty"` // of the commit, RFC 3339
	Modified   bool   `json:"modified"`       // built from a changed checkout
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

// readBuild collects what the linker and the go command wrote into the binary.
func readBuild() build {
	b := build{
		APIVersion: "poplin/v1alpha1", Kind: "Version", Version: version(),
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Commit = buildSetting(info, "vcs.revision")
		b.Time = buildSetting(info, "vcs.time")
		b.Modified = buildSetting(info, "vcs.modified") == "true"
	}
	return b
}

// String formats the build in one line.
func (b build) String() string {
	line := "poplin " + b.Version
	if b.Modified {
		line += " (modified)"
	}
	return line + " " + b.Go + " " + b.Platform
}

func newVersionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "version",
		Short:   "The version of this binary",
		Example: "  poplin version -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b := readBuild()
			if output == "json" {
				return withCode(exitRuntime, writeJSON(c.OutOrStdout(), b))
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), b)
			return withCode(exitRuntime, err)
		},
	}
	outputFlag(c, &output)
	return c
}
