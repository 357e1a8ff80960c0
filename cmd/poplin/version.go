package main

import (
	"runtime/debug"
	"time"
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
