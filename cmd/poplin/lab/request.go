//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poplin-net/poplin/schema"
)

// Exit codes of exec that are its own failures, as env(1) has them.
const (
	CodeFailed        = 125
	CodeNotExecutable = 126
	CodeNotFound      = 127
)

// hangupPatience is how long a command may go on after its client has gone.
const hangupPatience = 2 * time.Second

// answer serves one connection.
func (k *keeper) answer(ctx context.Context, conn *net.UnixConn) {
	files, err := receiveOpening(conn)
	if err != nil {
		k.log.Warn("connection", "error", err)
		return
	}
	defer closeAll(files)
	decoder := json.NewDecoder(conn)
	var req request
	if err := decoder.Decode(&req); err != nil {
		k.log.Warn("request", "error", err)
		return
	}
	var rep reply
	switch {
	case req.Version != version:
		err = fmt.Errorf("this lab was started by another version of poplin; `poplin lab down --name %s` removes it", k.lab.Name)
		rep.Code = CodeFailed
	case req.Do == doExec:
		rep.Code, err = k.exec(ctx, req, files, decoder)
	case req.Do == doDial:
		err = k.dial(req, conn)
	case req.Do == doInfo:
		rep.Info, err = k.info()
	default:
		err = k.change(ctx, req)
	}
	if err != nil {
		rep.Error = err.Error()
	}
	if err := json.NewEncoder(conn).Encode(rep); err != nil {
		k.log.Debug("reply", "error", err)
	}
}

// change does what alters a host.
func (k *keeper) change(ctx context.Context, req request) error {
	n, err := k.find(req.Host)
	if err != nil {
		return err
	}
	switch req.Do {
	case doCut:
		return k.underlay.cut(n.index)
	case doMend:
		return k.underlay.mend(n.index)
	}
	if n.daemon == nil {
		return fmt.Errorf("%s runs no daemon", n.Name)
	}
	switch req.Do {
	case doStart:
		return n.daemon.start()
	case doStop:
		return n.daemon.end(ctx, unix.SIGTERM)
	case doDrop:
		err := n.daemon.end(ctx, unix.SIGTERM)
		n.daemon.forget()
		return err
	case doKill:
		return n.daemon.end(ctx, unix.SIGKILL)
	}
	return fmt.Errorf("unknown request %q", req.Do)
}

// dial connects to the daemon of a node and hands the connection to the
// client, ahead of the reply. Without a connection only the byte is sent.
func (k *keeper) dial(req request, conn *net.UnixConn) error {
	n, err := k.find(req.Host)
	if err == nil {
		// The path leads through the descriptor into the host's mounts.
		path := fmt.Sprintf("/proc/self/fd/%d%s", n.place.root.Fd(), daemonSocket)
		var daemon net.Conn
		if daemon, err = net.Dial("unix", path); err == nil {
			defer daemon.Close()
			return passConnection(conn, daemon.(*net.UnixConn))
		}
		err = fmt.Errorf("daemon of %s: %w", n.Name, err)
	}
	return errors.Join(err, sendOpening(conn))
}

func passConnection(to, what *net.UnixConn) error {
	file, err := what.File()
	if err != nil {
		return errors.Join(err, sendOpening(to))
	}
	defer file.Close()
	return sendOpening(to, file)
}

// exec runs a command in a host or in a pod and gives its exit code. Signals
// that the client sends on reach its process group; when the client has gone,
// SIGHUP does, and soon SIGKILL.
func (k *keeper) exec(ctx context.Context, req request, files []*os.File, decoder *json.Decoder) (int, error) {
	n, err := k.find(req.Host)
	if err != nil {
		return CodeFailed, err
	}
	if len(files) != 3 || len(req.Args) == 0 {
		return CodeFailed, errors.New("exec: incomplete request")
	}
	child, code, err := k.spawn(n, req, files)
	if err != nil {
		return code, err
	}
	closeAll(files)
	hangup := make(chan struct{})
	go func() {
		defer close(hangup)
		for {
			var s forwarded
			if decoder.Decode(&s) != nil {
				return
			}
			if err := child.signal(syscall.Signal(s.Signal)); err != nil {
				k.log.Debug("signal", "error", err)
			}
		}
	}()
	select {
	case <-child.done:
		return child.exitCode(), nil
	case <-ctx.Done():
	case <-hangup:
	}
	return child.hangUp(), nil
}

// hangUp ends a process whose terminal, so to say, has gone.
func (c *process) hangUp() int {
	_ = c.signal(unix.SIGHUP)
	_ = c.signal(unix.SIGCONT)
	select {
	case <-c.done:
	case <-time.After(hangupPatience):
		_ = c.signal(unix.SIGKILL)
		<-c.done
	}
	return c.exitCode()
}

// spawn starts a command in the namespaces of a host, and with `poplin exec`
// in those of a pod if the request names one. With an error it gives the exit code that fits.
func (k *keeper) spawn(n *node, req request, files []*os.File) (*process, int, error) {
	pod, err := n.place.openPod(req.Pod)
	if err != nil {
		return nil, CodeFailed, err
	}
	if pod != nil {
		defer pod.Close()
	}
	env := environment(req.Env)
	var child *process
	code := CodeFailed
	err = n.place.inside(func() error {
		// The client's directory may be one that hosts don't see.
		dir := req.Dir
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			dir = "/"
		}
		file, err := lookup(req.Args[0], searchPath(env), dir)
		args := req.Args
		if pod != nil {
			// It has files of its own in /etc, which the host's own command binds.
			file, args = binaryInside, append([]string{"poplin", "exec", req.Pod, "--", file}, args[1:]...)
		}
		if err == nil {
			child, err = k.table.start(command{path: file, args: args, env: env, dir: dir, files: files}, 0)
		}
		switch {
		case errors.Is(err, os.ErrNotExist):
			code = CodeNotFound
		case err != nil:
			code = CodeNotExecutable
		}
		return err
	})
	return child, code, err
}

// openPod opens the network namespace of a pod, [NAMESPACE/]NAME; none for "".
func (p *place) openPod(text string) (*os.File, error) {
	if text == "" {
		return nil, nil
	}
	name, err := schema.ParseName(text)
	if err != nil {
		return nil, fmt.Errorf("pod %w", err)
	}
	file, err := p.openNamespace(name.Namespace + "_" + name.Name)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", name, err)
	}
	return file, nil
}

// netnsFolder is where the pods of a host are, from its root.
const netnsFolder = "run/netns"

// openNamespace opens what is bound at a name in /run/netns of the host.
func (p *place) openNamespace(name string) (*os.File, error) {
	fd, err := unix.Openat(int(p.root.Fd()), path.Join(netnsFolder, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/" + path.Join(netnsFolder, name), Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		unix.Close(fd)
		return nil, fmt.Errorf("/%s: not a network namespace", path.Join(netnsFolder, name))
	}
	return os.NewFile(uintptr(fd), name), nil
}
