package schema

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	colourRed    = "\x1b[1;31m"
	colourYellow = "\x1b[1;33m"
	colourBlue   = "\x1b[34m"
	colourReset  = "\x1b[0m"
)

// maxSource is how much of a source line is printed, in characters.
const maxSource = 160

// WriteText prints the diagnostics for people: the message, the place, and
// the line with a caret under what is meant.
func (d Diagnostics) WriteText(w io.Writer, colour bool) {
	for i := range d {
		d[i].writeText(w, colour)
	}
}

// String formats the diagnostic as one line: place, severity and message.
func (d Diagnostic) String() string {
	text := string(d.Severity) + ": " + d.Message
	if where := d.where(); where != "" {
		text = where + ": " + text
	}
	return text
}

func (d Diagnostic) where() string {
	if d.Line == 0 {
		return d.File
	}
	return fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)
}

func (d Diagnostic) writeText(w io.Writer, colour bool) {
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return code + text + colourReset
	}
	severity := paint(colourRed, "error")
	if d.Severity == Warning {
		severity = paint(colourYellow, "warning")
	}
	fmt.Fprintf(w, "%s: %s\n", severity, printable(d.Message))
	if d.File == "" {
		return
	}
	fmt.Fprintf(w, "  %s %s", paint(colourBlue, "-->"), printable(d.where()))
	if about := strings.Trim(d.Object+", "+d.Path, ", "); about != "" {
		fmt.Fprintf(w, "  (%s)", printable(about))
	}
	fmt.Fprintln(w)
	if d.Line == 0 || d.Source == "" || utf8.RuneCountInString(d.Source) > maxSource {
		return
	}
	number := fmt.Sprint(d.Line)
	margin := strings.Repeat(" ", len(number))
	bar := paint(colourBlue, "|")
	fmt.Fprintf(w, "%s %s\n", margin, bar)
	fmt.Fprintf(w, "%s %s %s\n", paint(colourBlue, number), bar, printable(d.Source))
	fmt.Fprintf(w, "%s %s %s\n", margin, bar, paint(colourRed, d.underline()))
}

// underline is the line with the carets: tabs of the source are kept, so
// that the carets stand right whatever a tab's width is.
func (d Diagnostic) underline() string {
	var b strings.Builder
	rest := 0
	for i, r := range []rune(d.Source) {
		if i+1 >= d.Column {
			rest++
			continue
		}
		if r == '\t' {
			b.WriteRune(r)
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString(strings.Repeat("^", max(1, min(d.Width, rest))))
	return b.String()
}

// printable replaces control characters, which a document could use to write
// on somebody's terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\t') || (r >= 0x7f && r < 0xa0) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

// sourceLine returns a line of the content, counted from 1, without its end.
func sourceLine(content []byte, line int) string {
	for ; line > 1; line-- {
		i := bytes.IndexByte(content, '\n')
		if i < 0 {
			return ""
		}
		content = content[i+1:]
	}
	if i := bytes.IndexByte(content, '\n'); i >= 0 {
		content = content[:i]
	}
	return strings.ToValidUTF8(strings.TrimSuffix(string(content), "\r"), "?")
}
