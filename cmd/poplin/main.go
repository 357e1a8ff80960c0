// Command poplin gives plain Linux hosts the network that Kubernetes gives
// its nodes, from files in git. See README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	code, text := exitStatus(err)
	if text != "" {
		fmt.Fprintln(os.Stderr, "poplin: "+text)
	}
	os.Exit(code)
}
