package overlay

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
)

// newLogger gives memberlist a logger: its lines go to slog at debug, those
// that tell of a refused message are counted, and accused is called for those
// by which this node learns that others thought it silent, since memberlist has
// no other way to say so.
func newLogger(to *slog.Logger, count func(string), accused func()) *log.Logger {
	return log.New(logWriter{to, count, accused}, "", 0)
}

type logWriter struct {
	log     *slog.Logger
	count   func(string)
	accused func()
}

// refuting starts what memberlist 0.7 writes when it contradicts such a
// message.
const refuting = "[WARN] memberlist: Refuting a "

// refusals maps what memberlist 0.7 writes about messages it drops to the
// reason under which they are counted.
func refusals() []struct{ text, reason string } {
	return []struct{ text, reason string }{
		{"Decrypt packet failed", "undecryptable"},
		{"failed to receive: ", "undecryptable"},
		{"encryption is configured but remote state is not encrypted", "undecryptable"},
		{"unacceptable label", "label"},
		{"label header", "label"},
		{"msg type", "malformed"},
		{"Failed to decode", "malformed"},
		{"Failed to decompress", "malformed"},
		{"invalid checksum", "malformed"},
		{"truncated", "malformed"},
		{"missing message type byte", "malformed"},
		{"invalid msgType", "malformed"},
	}
}

// Write implements io.Writer for one line.
func (w logWriter) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if !strings.HasPrefix(text, "[DEBUG]") {
		for _, r := range refusals() {
			if strings.Contains(text, r.text) {
				w.count(r.reason)
				break
			}
		}
	}
	if strings.HasPrefix(text, refuting) {
		w.accused()
	}
	w.log.Debug(text)
	return len(line), nil
}
