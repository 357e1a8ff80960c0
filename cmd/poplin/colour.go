package main

import (
	"io"
	"os"
)

// isColourTerminal reports whether output may be coloured: it is a terminal
// (or another character device), and NO_COLOR (no-color.org) is not set.
func isColourTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
