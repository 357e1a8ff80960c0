package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program: scripts find it as poplin,
// and it can start itself again. The other programs are clients and servers
// that scripts run in the hosts of a lab.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"poplin": main, "answer": answer, "talk": talk, "forge": forge, "notified": notified, "harm": harm,
	})
}
