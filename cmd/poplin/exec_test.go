package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// poplin runs poplin with the arguments.
func poplin(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "poplin" // see TestMain
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestExec runs itself in a user, mount and network namespace of its own.
func TestExec(t *testing.T) {
	const inside = "POPLIN_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		preparePod(t)
		t.Run("inside", testExecInside)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestExec$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		t.Fatalf("inside: %v\n%s", err, out)
	case os.Getenv("POPLIN_TEST_REQUIRE") == "1":
		t.Fatal(err)
	default:
		t.Skip("namespaces are not allowed here: ", err)
	}
}

// preparePod makes the namespace of pod default/web-1 where nobody sees it.
func preparePod(t *testing.T) {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	must(t, os.Mkdir("/run/upper", 0o755))
	must(t, os.Mkdir("/run/work", 0o755))
	must(t, unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work"))
	must(t, os.RemoveAll("/etc/resolv.conf"))
	must(t, os.WriteFile("/etc/resolv.conf", []byte("of the host\n"), 0o644))
	must(t, os.MkdirAll("/etc/netns/default_web-1", 0o755))
	must(t, os.WriteFile("/etc/netns/default_web-1/resolv.conf", []byte("of the pod\n"), 0o644))
	must(t, os.WriteFile("/etc/netns/default_web-1/none-such", nil, 0o644))
	must(t, os.MkdirAll(netnsDir, 0o755))
	name := filepath.Join(netnsDir, "default_web-1")
	must(t, os.WriteFile(name, nil, 0o644))
	bound := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			bound <- err
			return
		}
		bound <- unix.Mount("/proc/thread-self/ns/net", name, "", unix.MS_BIND, "")
	}()
	must(t, <-bound)
	must(t, os.WriteFile(filepath.Join(netnsDir, "default_no-namespace"), nil, 0o644))
	must(t, os.WriteFile("/run/not-executable", nil, 0o644))
}

func testExecInside(t *testing.T) {
	host, err := os.Readlink("/proc/thread-self/ns/net") // preparePod may have moved the first thread
	must(t, err)
	stdout, stderr, code := poplin(t, "exec", "default/web-1", "--", "readlink", "/proc/self/ns/net")
	if pod := strings.TrimSpace(stdout); code != 0 || pod == host || !strings.HasPrefix(pod, "net:") {
		t.Errorf("network namespace %q, the host's is %s; code %d, %s", pod, host, code, stderr)
	}
	if !strings.Contains(stderr, "/etc/none-such is missing") {
		t.Errorf("nothing said about a file that cannot be bound: %q", stderr)
	}
	if stdout, _, _ = poplin(t, "exec", "web-1", "cat", "/etc/resolv.conf"); stdout != "of the pod\n" {
		t.Errorf("resolv.conf inside: %q", stdout)
	}
	if content, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(content) != "of the host\n" {
		t.Errorf("resolv.conf outside: %q, %v", content, err)
	}
	if stdout, _, _ = poplin(t, "exec", "web-1", "--", "ls", "/sys/class/net"); strings.TrimSpace(stdout) != "lo" {
		t.Errorf("links by /sys: %q", stdout)
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"web-1", "--", "sh", "-c", "exit 3"}, 3, ""},
		{[]string{"web-1", "--", "no-such-command"}, exitNotFound, "no-such-command"},
		{[]string{"web-1", "--", "/no/such/command"}, exitNotFound, "/no/such/command"},
		{[]string{"web-1", "--", "/run/not-executable"}, exitNotExecutable, "permission denied"},
		{[]string{"default/web-2", "--", "true"}, exitExec, "pod default/web-2: is not on this host"},
		{[]string{"no-namespace", "--", "true"}, exitExec, "pod default/no-namespace: enter"},
		{[]string{"../web-1", "--", "true"}, exitExec, "is not the name of a pod"},
		{[]string{"default/web-1"}, exitExec, "want a pod and a command"},
		{[]string{"--no-such-flag", "web-1", "true"}, exitExec, "unknown flag"},
	} {
		_, stderr, code := poplin(t, append([]string{"exec"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.text) {
			t.Errorf("%q: code %d %q, want %d with %q", c.args, code, stderr, c.code, c.text)
		}
	}
}

func TestKeyNew(t *testing.T) {
	first, hint, code := poplin(t, "key", "new")
	key, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(first, "\n"))
	if err != nil || len(key) != keySize || code != 0 || !strings.Contains(hint, "0640") {
		t.Errorf("%q, %q, code %d: %v", first, hint, code, err)
	}
	if second, _, _ := poplin(t, "key", "new"); second == first {
		t.Error("the same key twice")
	}
	if _, _, code := poplin(t, "key", "new", "surplus"); code != exitUsage {
		t.Errorf("code %d for a surplus argument", code)
	}
}

func TestVersion(t *testing.T) {
	text, _, code := poplin(t, "version")
	if code != 0 || !strings.HasPrefix(text, "poplin ") || !strings.Contains(text, runtime.Version()) {
		t.Errorf("%q, code %d", text, code)
	}
	out, _, _ := poplin(t, "version", "-o", "json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Kind != "Version" || b.Version == "" {
		t.Errorf("%s: %v", out, err)
	}
}
