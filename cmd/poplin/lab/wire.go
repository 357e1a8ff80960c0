//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A connection to the keeper carries one command: one byte, with up to three
// descriptors beside it (standard input, output and error), then JSON values
// in both directions. The byte is there because descriptors need one to
// travel with.
const (
	version  = 1
	openByte = 'p'
)

// What a request can ask for.
const (
	doInfo  = "info"
	doExec  = "exec"
	doDial  = "dial"
	doStop  = "stop"
	doDrop  = "drop"
	doKill  = "kill"
	doStart = "start"
	doCut   = "cut"
	doMend  = "mend"
)

// request is the first JSON value of a connection.
type request struct {
	Version int      `json:"version"`
	Do      string   `json:"do"`
	Host    string   `json:"host,omitempty"`
	Pod     string   `json:"pod,omitempty"` // NAMESPACE/NAME
	Args    []string `json:"args,omitempty"`
	Env     []string `json:"env,omitempty"`
	Dir     string   `json:"dir,omitempty"`
}

// forwarded is a signal; it follows an exec request, any number of times.
type forwarded struct {
	Signal int `json:"signal"`
}

// reply is the one answer.
type reply struct {
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"` // exec: the exit code
	Info  *Info  `json:"info,omitempty"`
}

// Info is the keeper's view of its lab.
type Info struct {
	Name  string     `json:"name"`
	Hosts []HostInfo `json:"hosts"`
}

// HostInfo is the keeper's view of one host.
type HostInfo struct {
	Host
	DaemonState string    `json:"daemonState"` // running, stopped, exited N; empty for the client
	Cut         bool      `json:"cut"`
	Pods        []PodInfo `json:"pods,omitempty"`
}

// PodInfo is a pod namespace that exists on a host.
type PodInfo struct {
	Name      string   `json:"name"` // NAMESPACE/NAME
	Addresses []string `json:"addresses"`
}

// sendOpening starts a command on a connection.
func sendOpening(conn *net.UnixConn, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := conn.WriteMsgUnix([]byte{openByte}, rights, nil)
	return err
}

// receiveOpening gives the descriptors that came with a command; they are the
// caller's to close.
func receiveOpening(conn *net.UnixConn) ([]*os.File, error) {
	var first [1]byte
	oob := make([]byte, unix.CmsgSpace(3*4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(first[:], oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := parseRights(oob[:oobn])
	if err == nil && (first[0] != openByte || flags&unix.MSG_CTRUNC != 0) {
		err = errors.New("not the lab's protocol")
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func parseRights(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Has reports whether there is a host of that name.
func (i *Info) Has(host string) bool {
	for _, h := range i.Hosts {
		if h.Name == host {
			return true
		}
	}
	return false
}
