// Package systemd_test checks the files that a host needs beside the binary
// with the tools that will read them.
package systemd_test

import (
	"bufio"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// units are the unit files, with the exposure that each may have at most
// (systemd-analyze(1): 10.0 is no hardening at all).
var units = map[string]float64{"poplin.service": 5.3, "poplin-pod@.service": 1.5}

// tool gives a program's path, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	found, err := exec.LookPath(name)
	if err == nil {
		return found
	}
	if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// installed copies the unit files into a folder, with a program at the place
// of the binary, which need not be installed here.
func installed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "poplin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range units {
		content := strings.ReplaceAll(read(t, name), "/usr/bin/poplin", program)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestUnitsAreAccepted(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	dir := installed(t)
	for name := range units {
		cmd := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, name))
		out, err := cmd.CombinedOutput()
		var ours []string // warnings about units of the host are not ours
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "poplin") {
				ours = append(ours, line)
			}
		}
		if err != nil || len(ours) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestExposure(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)
	dir := installed(t)
	for name, limit := range units {
		// An exposure above the threshold is an exit code, too; the figure says more.
		out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", filepath.Join(dir, name)).Output()
		found := level.FindSubmatch(out)
		if found == nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		got, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil || got > limit {
			t.Errorf("%s: exposure %s, want at most %.1f", name, found[1], limit)
		}
		t.Logf("%s: exposure %s", name, found[1])
	}
}

// TestMountNamespace: settings that make a mount namespace hide pods from
// everybody else unless the daemon is told where to bind them.
func TestMountNamespace(t *testing.T) {
	unit := read(t, "poplin.service")
	if strings.Contains(unit, "\nProtectSystem=") && !strings.Contains(unit, "\nEnvironment=POPLIN_MOUNT_NS=/proc/1/ns/mnt\n") {
		t.Error("poplin.service has ProtectSystem= without POPLIN_MOUNT_NS")
	}
	for _, setting := range []string{"PrivateNetwork", "PrivateUsers", "PrivateDevices", "ProtectKernelTunables", "ProcSubset", "UMask"} {
		if strings.Contains(unit, "\n"+setting+"=") {
			t.Errorf("poplin.service has %s=, with which the daemon cannot work", setting)
		}
	}
}

// TestDescriptorsAreKept: without these settings the service manager closes
// what the daemon hands it.
func TestDescriptorsAreKept(t *testing.T) {
	unit := read(t, "poplin.service")
	for _, line := range []string{"\nFileDescriptorStoreMax=32\n", "\nNotifyAccess=main\n"} {
		if !strings.Contains(unit, line) {
			t.Errorf("poplin.service has no line %q", line)
		}
	}
}

// TestPatterns checks that the files which keep others away from our links
// match ours and no others.
func TestPatterns(t *testing.T) {
	values := regexp.MustCompile(`(?m)^(?:OriginalName=|Name=|unmanaged-devices\+=)(.*)$`)
	for _, file := range []string{"network/10-poplin.link", "network/10-poplin.network", "NetworkManager/conf.d/poplin.conf"} {
		found := values.FindStringSubmatch(read(t, file))
		if found == nil {
			t.Errorf("%s has no pattern", file)
			continue
		}
		patterns := strings.FieldsFunc(strings.ReplaceAll(found[1], "interface-name:", ""), func(r rune) bool { return r == ' ' || r == ';' })
		for link, want := range map[string]bool{
			"poplin0": true, "poplin-br0": true, "poplin1": true, "pop0123456789ab": true, "popffffffffffff": true,
			"pop0": false, "popular0": false, "pop-server": false, "pop3": false, "eth0": false, "xpoplin0": false,
		} {
			got := false
			for _, p := range patterns {
				ok, err := path.Match(p, link)
				if err != nil {
					t.Fatalf("%s: %s: %v", file, p, err)
				}
				got = got || ok
			}
			if got != want {
				t.Errorf("%s matches %s: %v, want %v", file, link, got, want)
			}
		}
	}
}

func TestModules(t *testing.T) {
	lines := bufio.NewScanner(strings.NewReader(read(t, "modules-load.d/poplin.conf")))
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "br_netfilter" {
			t.Error("br_netfilter is loaded: it changes every bridge of the host")
		}
	}
}

// TestGroupAndFolders applies the files to an empty root.
func TestGroupAndFolders(t *testing.T) {
	sysusers, tmpfiles := tool(t, "systemd-sysusers"), tool(t, "systemd-tmpfiles")
	if os.Geteuid() != 0 {
		if os.Getenv("POPLIN_TEST_REQUIRE") == "1" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	root := t.TempDir()
	for _, dir := range []string{"etc", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "etc/poplin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"usr/lib/sysusers.d/poplin.conf": read(t, "sysusers.d/poplin.conf"),
		"usr/lib/tmpfiles.d/poplin.conf": read(t, "tmpfiles.d/poplin.conf"),
		"etc/passwd":                     "root:x:0:0::/root:/bin/sh\n",
		"etc/group":                      "root:x:0:\n",
		"etc/poplin/gossip.key":          "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{sysusers, "--root=" + root, "poplin.conf"},
		{tmpfiles, "--root=" + root, "--create", "poplin.conf"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	group, err := os.ReadFile(filepath.Join(root, "etc/group"))
	if err != nil || !strings.Contains(string(group), "\npoplin:") {
		t.Errorf("no group: %v\n%s", err, group)
	}
	for name, mode := range map[string]os.FileMode{
		"etc/netns": 0o755, "run/netns": 0o755, "run/poplin": 0o755, "var/lib/poplin": 0o700, "etc/poplin/gossip.key": 0o640,
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s: mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
}
