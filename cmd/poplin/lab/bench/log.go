//go:build linux

package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// applied is what a daemon's log says of a plan that was carried out.
type applied struct {
	add      int
	reaction time.Duration // 0: the plan was not for a new revision
}

var appliedLine = regexp.MustCompile(`msg="plan applied".* add=(\d+)(?:.* reaction=(\S+))?`)

func parseApplied(line string) (applied, bool) {
	m := appliedLine.FindStringSubmatch(line)
	if m == nil {
		return applied{}, false
	}
	var a applied
	a.add, _ = strconv.Atoi(m[1]) // digits
	if m[2] != "" {
		d, err := time.ParseDuration(m[2])
		if err != nil {
			return applied{}, false
		}
		a.reaction = d
	}
	return a, true
}

// follower reads what a daemon logs from now on.
type follower struct {
	file *os.File
	read *bufio.Reader
	part string
}

func (b *services) follow(node string) (*follower, error) {
	f, err := os.Open(b.logs.Log(node))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return &follower{file: f, read: bufio.NewReader(f)}, nil
}

func (f *follower) close() { f.file.Close() }

// applied waits for the log's next plan that is as wanted.
func (f *follower) applied(ctx context.Context, wanted func(applied) bool) (found applied, err error) {
	refused := ""
	waitErr := within(ctx, patience, "nothing was applied", func() bool {
		for {
			text, readErr := f.read.ReadString('\n')
			f.part += text
			if readErr != nil {
				return false
			}
			line := f.part
			f.part = ""
			if a, ok := parseApplied(line); ok && wanted(a) {
				found = a
				return true
			}
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				refused = strings.TrimSpace(line)
			}
		}
	})
	if waitErr != nil && refused != "" {
		waitErr = fmt.Errorf("%w; the log says: %s", waitErr, refused)
	}
	return found, waitErr
}
