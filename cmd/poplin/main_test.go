package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program: scripts find it as poplin (and answer),
// and it can start itself again.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"poplin": main, "answer": answer})
}
