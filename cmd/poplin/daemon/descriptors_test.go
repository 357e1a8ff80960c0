package daemon

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPassedNames(t *testing.T) {
	const own = 42
	for _, c := range []struct{ pid, count, names, want string }{
		{"42", "2", "a:b", "a b"},
		{"42", "2", "a:", "a unknown"},
		{"42", "2", "", "unknown unknown"},
		{"42", "2", "a:b:c", "unknown unknown"},
		{"41", "2", "a:b", ""},
		{"", "2", "a:b", ""},
		{"42", "-1", "a", ""},
		{"42", "0", "", ""},
		{"42", "many", "a", ""},
	} {
		environment := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.count, "LISTEN_FDNAMES": c.names}
		got := strings.Join(passedNames(func(name string) string { return environment[name] }, own), " ")
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// manager is a service manager that keeps the latest descriptors and closes
// all others.
type manager struct {
	conn     *net.UnixConn
	messages chan string
	kept     chan int
}

func newManager(t *testing.T) *manager {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	m := &manager{conn, make(chan string, 10), make(chan int, 10)}
	go m.run()
	return m
}

func (m *manager) run() {
	message, rights := make([]byte, 1000), make([]byte, 1000)
	for {
		n, size, _, _, err := m.conn.ReadMsgUnix(message, rights)
		if err != nil {
			return
		}
		text := string(message[:n])
		m.messages <- text
		list, _ := unix.ParseSocketControlMessage(rights[:size])
		for _, c := range list {
			fds, _ := unix.ParseUnixRights(&c)
			for _, fd := range fds {
				if strings.HasPrefix(text, "FDSTORE=1") {
					m.kept <- fd
				} else {
					unix.Close(fd)
				}
			}
		}
	}
}

func TestDescriptorStore(t *testing.T) {
	m := newManager(t)
	s := openDescriptorStore(slog.New(slog.DiscardHandler))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if err := s.Remove("one"); err != nil { // nothing is kept: nobody is asked
		t.Error(err)
	}
	if err := s.Put("one", []int{int(write.Fd())}); err != nil {
		t.Fatal(err)
	}
	write.Close()
	kept := <-m.kept
	if _, err := unix.Write(kept, []byte("x")); err != nil {
		t.Errorf("not the pipe: %v", err)
	}
	unix.Close(kept)
	if got, err := io.ReadAll(read); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Remove("one"); err != nil { // returns after the manager's deed
		t.Error(err)
	}
	var got []string
	for len(m.messages) > 0 {
		got = append(got, strings.ReplaceAll(<-m.messages, "\n", " "))
	}
	want := []string{"FDSTORE=1 FDNAME=one FDPOLL=0", "FDSTOREREMOVE=1 FDNAME=one", "BARRIER=1"}
	if !slices.Equal(got, want) {
		t.Errorf("the manager heard %q", got)
	}
}

func TestDescriptorStoreGivesWhatWasLeft(t *testing.T) {
	m := newManager(t)
	s := openDescriptorStore(slog.New(slog.DiscardHandler))
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	s.left, s.kept = map[string][]int{"one": {7, 8}, "two": {pipe[1]}}, map[string]bool{"one": true, "two": true}
	if got := s.Take("one"); !slices.Equal(got, []int{7, 8}) {
		t.Errorf("took %v", got)
	}
	if got := s.Take("one"); got != nil {
		t.Errorf("took %v again", got)
	}
	s.discard()
	s.discard()
	if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("a descriptor is still open: %d, %v", n, err)
	}
	unix.Close(pipe[0])
	if got := <-m.messages; got != "FDSTOREREMOVE=1\nFDNAME=two" {
		t.Errorf("the manager heard %q", got)
	}
}

func TestDescriptorStoreAlone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()+1)) // somebody else's
	t.Setenv("LISTEN_FDS", "1")
	s := openDescriptorStore(slog.New(slog.DiscardHandler))
	if got := s.Take("unknown"); got != nil {
		t.Errorf("took %v", got)
	}
	if err := s.Put("one", []int{0}); err != nil {
		t.Error(err)
	}
	if err := s.Remove("one"); err != nil {
		t.Error(err)
	}
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("children would inherit LISTEN_FDS")
	}
}
