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

// Applied is what a daemon's log says of a plan that was carried out.
type Applied struct {
	// At is when all of it was in the kernel, or up to a millisecond before:
	// the log has no more digits.
	At       time.Time
	Add      int
	Reaction time.Duration // 0: the plan was not for a new revision
}

var appliedLine = regexp.MustCompile(`^time=(\S+) .*msg="plan applied".* add=(\d+)(?:.* reaction=(\S+))?`)

func parseApplied(line string) (Applied, bool) {
	m := appliedLine.FindStringSubmatch(line)
	if m == nil {
		return Applied{}, false
	}
	var a Applied
	var err error
	if a.At, err = time.Parse(time.RFC3339, m[1]); err != nil {
		return Applied{}, false
	}
	a.Add, _ = strconv.Atoi(m[2]) // digits
	if m[3] != "" {
		if a.Reaction, err = time.ParseDuration(m[3]); err != nil {
			return Applied{}, false
		}
	}
	return a, true
}

// Log reads what a daemon logs, from where its file ended when it was opened.
type Log struct {
	file *os.File
	read *bufio.Reader
	part string
}

// FollowLog opens a daemon's log, in the form of text.
func FollowLog(path string) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return &Log{file: f, read: bufio.NewReader(f)}, nil
}

// Close stops reading.
func (l *Log) Close() error { return l.file.Close() }

// Applied waits for the log's next plan that is as wanted.
func (l *Log) Applied(ctx context.Context, wanted func(Applied) bool) (found Applied, err error) {
	refused := ""
	waitErr := within(ctx, patience, "nothing was applied", func() bool {
		for {
			text, readErr := l.read.ReadString('\n')
			l.part += text
			if readErr != nil {
				return false
			}
			line := l.part
			l.part = ""
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
