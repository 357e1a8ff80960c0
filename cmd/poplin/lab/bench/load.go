//go:build linux

package bench

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Load is what it took to load a ruleset.
type Load struct {
	Elapsed float64 `json:"elapsed"` // seconds
	User    float64 `json:"user"`    // of nft
	Kernel  float64 `json:"kernel"`  // of nft
}

// LoadKubeProxy makes services in kube-proxy's layout in the network
// namespace that it is called in, replaces an endpoint of the one in the
// middle in a second transaction, and removes it all.
func LoadKubeProxy(ctx context.Context, size Size) (load, replace Load, err error) {
	var script strings.Builder
	if err := writeKubeProxy(&script, size); err != nil {
		return load, replace, err
	}
	if load, err = runNft(ctx, script.String()); err != nil {
		return load, replace, err
	}
	script.Reset()
	kubeProxyReplace(&printer{w: &script}, size.Services/2, size.Endpoints)
	if replace, err = runNft(ctx, script.String()); err != nil {
		return load, replace, err
	}
	_, err = runNft(ctx, "delete table ip kube-proxy\n")
	return load, replace, err
}

// runNft gives a script to nft, which has to be there.
func runNft(ctx context.Context, script string) (Load, error) {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	started := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Load{}, fmt.Errorf("nft: %w: %.500s", err, out)
	}
	return Load{
		Elapsed: time.Since(started).Seconds(), User: cmd.ProcessState.UserTime().Seconds(), Kernel: cmd.ProcessState.SystemTime().Seconds(),
	}, nil
}
