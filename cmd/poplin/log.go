package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// newLogger makes the log: JSON on demand, else text. Under the journal each
// line starts with its priority (sd-daemon(3)) and has no time, which the
// journal adds.
func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch {
	case format == "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case format == "auto" && os.Getenv("JOURNAL_STREAM") != "":
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		}
		p := &prefixer{w: w}
		return slog.New(journalHandler{slog.NewTextHandler(p, o), p}), nil
	case format == "auto" || format == "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is none of auto, text, json", format)
}

// journalHandler writes the priority of each record before its line.
type journalHandler struct {
	slog.Handler
	out *prefixer
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.prefix = priority(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journalHandler{h.Handler.WithAttrs(attrs), h.out}
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return journalHandler{h.Handler.WithGroup(name), h.out}
}

// priority gives a level's syslog priority (RFC 5424, table 2).
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

// prefixer writes a prefix before each line.
type prefixer struct {
	mu     sync.Mutex
	w      io.Writer
	prefix string
}

func (p *prefixer) Write(line []byte) (int, error) {
	if _, err := io.WriteString(p.w, p.prefix+string(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}
