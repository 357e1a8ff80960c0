//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// talkUsage is that of talk, a client of the lab's servers.
const talkUsage = `usage:
  talk new N ADDRESS         N connections, one after another, a request each; how many were answered, and by whom
  talk hold N ADDRESS FILE   N connections at once, requests on each of them until FILE exists; who answered, and
                             whether each connection lasted
  talk pinned ADDRESS        connects until one connection hangs, and waits for that one; when its SYN was sent again
                             and when it was answered (milliseconds since 1970), and by whom
  talk same ADDRESS FILE     datagrams from one port until FILE.end exists; each change of who answers is a line in
                             FILE: a pod, refused, or silence
  talk echo ADDRESS          sends each datagram back
  talk steady N ADDRESS FILE N datagrams a second to an echo until FILE.end exists; FILE says how many were lost`

func talk() {
	err := errors.New(talkUsage)
	args := os.Args[1:]
	switch {
	case len(args) == 3 && args[0] == "new":
		err = talkNew(number(args[1]), args[2])
	case len(args) == 4 && args[0] == "hold":
		err = talkHold(number(args[1]), args[2], args[3])
	case len(args) == 2 && args[0] == "pinned":
		err = talkPinned(args[1])
	case len(args) == 3 && args[0] == "same":
		err = talkSame(args[1], args[2])
	case len(args) == 2 && args[0] == "echo":
		err = talkEcho(args[1])
	case len(args) == 4 && args[0] == "steady":
		err = talkSteady(number(args[1]), args[2], args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "talk:", err)
		os.Exit(1)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, "talk:", err)
		os.Exit(1)
	}
	return n
}

// conversation is one connection to a server of the lab.
type conversation struct {
	conn   net.Conn
	reader *bufio.Reader
}

func dial(address string, timeout time.Duration) (*conversation, error) {
	conn, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, err
	}
	return &conversation{conn, bufio.NewReader(conn)}, nil
}

// ask gives the name of the pod that answers.
func (c *conversation) ask(timeout time.Duration) (string, error) { return c.request(timeout, "") }

// askLast is ask for the last time: it comes back when the server has closed
// the connection.
func (c *conversation) askLast(timeout time.Duration) (string, error) {
	pod, err := c.request(timeout, "Connection: close\r\n")
	if err == nil {
		_, err = c.reader.WriteTo(io.Discard)
	}
	return pod, err
}

// request sends one with a header of one's own.
func (c *conversation) request(timeout time.Duration, header string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: pod\r\n%s\r\n", header); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil {
		return "", err
	}
	pod, _, _ := strings.Cut(line, " ")
	return pod, nil
}

func talkNew(n int, address string) error {
	const timeout = 5 * time.Second
	answers := map[string]int{}
	var failures []error
	for range n {
		c, err := dial(address, timeout)
		if err == nil {
			var pod string
			if pod, err = c.ask(timeout); err == nil {
				answers[pod]++
			}
			c.conn.Close()
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	fmt.Printf("%d of %d answered\n", n-len(failures), n)
	for _, pod := range slices.Sorted(maps.Keys(answers)) {
		fmt.Println(pod, answers[pod])
	}
	return errors.Join(failures[:min(len(failures), 5)]...)
}

// talkHold keeps connections busy. One that was not answered for long when
// the end came is broken, as is one that failed.
func talkHold(n int, address, file string) error {
	const patience = 60 * time.Second
	open := make([]*conversation, n)
	for i := range open {
		var err error
		if open[i], err = dial(address, patience); err != nil {
			return err
		}
	}
	results := make(chan string)
	started := make(chan bool)
	for _, c := range open {
		go func() {
			first, err := c.ask(patience)
			started <- true
			for err == nil && !exists(file) {
				time.Sleep(100 * time.Millisecond)
				var pod string
				if pod, err = c.ask(patience); err == nil && pod != first {
					err = fmt.Errorf("answered by %s", pod)
				}
			}
			if err != nil {
				results <- fmt.Sprintf("%s broken: %v", first, err)
				return
			}
			results <- first + " lasted"
		}()
	}
	for range open {
		<-started
	}
	if err := os.WriteFile(file+".held", nil, 0o644); err != nil {
		return err
	}
	count := map[string]int{}
	for range open {
		count[<-results]++
	}
	for _, line := range slices.Sorted(maps.Keys(count)) {
		fmt.Println(count[line], line)
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// talkPinned shows what becomes of a connection whose endpoint is dead.
func talkPinned(address string) error {
	const tries, hang, patience = 500, 300 * time.Millisecond, 60 * time.Second
	for range tries {
		fd, err := startConnect(address)
		if err != nil {
			return err
		}
		if up, err := connected(fd, hang); err != nil || up {
			unix.Close(fd)
			if err != nil {
				return err
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		fmt.Println("pinned", time.Now().UnixMilli())
		return watchPinned(fd, patience)
	}
	return fmt.Errorf("%d connections, and none hung", tries)
}

// startConnect begins a connection and does not wait for it.
func startConnect(address string) (int, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	sa := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connected waits so long for a connection that was begun.
func connected(fd int, timeout time.Duration) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(timeout.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil || n == 0 {
		return false, err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err == nil, err
}

// watchPinned waits for the connection, telling when SYNs were sent.
func watchPinned(fd int, patience time.Duration) error {
	sent := 0
	for end := time.Now().Add(patience); time.Now().Before(end); {
		up, err := connected(fd, 5*time.Millisecond)
		if err != nil {
			return err
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		for ; sent < int(info.Total_retrans); sent++ {
			fmt.Println("syn", time.Now().UnixMilli())
		}
		if up {
			fmt.Println("connected", time.Now().UnixMilli())
			return greet(fd)
		}
	}
	return fmt.Errorf("not connected in %s", patience)
}

func greet(fd int) error {
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := &conversation{conn, bufio.NewReader(conn)}
	pod, err := c.ask(5 * time.Second)
	if err == nil {
		fmt.Println("answered", pod)
	}
	return err
}
