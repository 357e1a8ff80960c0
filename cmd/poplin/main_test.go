package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the program: scripts find it as poplin,
// and it can start itself again. The other programs are clients and servers
// that scripts run in the hosts of a lab.
func TestMain(m *testing.M) {
	// The scripts of the lab spend most of their time waiting, for the quiet
	// period above all. A flag on the command line comes later, and counts.
	_ = flag.Set("test.parallel", "4")
	testscript.Main(m, map[string]func(){
		"poplin": main, "answer": answer, "talk": talk, "forge": forge, "notified": notified, "harm": harm, "names": names,
		"churn": churn,
	})
}
