package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/poplin-net/poplin/reconciler/linux"
)

// Cleanup removes from this host all that the daemon made: the data plane,
// the state directory and what lies in the run directory. With sysctls set,
// ip_forward is put back too.
func Cleanup(ctx context.Context, o Options, sysctls bool) error {
	cluster, err := clusterName(o)
	if err != nil {
		return err
	}
	if cluster != "" {
		t, err := openTargets(o, cluster, nil, false)
		if err != nil {
			return err
		}
		err = errors.Join(
			t.nft.Cleanup(ctx),
			t.linux.Cleanup(ctx, linux.CleanupOptions{RestoreSysctls: sysctls}),
			t.close())
		if err != nil {
			return err
		}
	}
	return errors.Join(removeContent(o.StateDir), removeContent(o.RunDir))
}

// clusterName is the cluster whose marks this host has: that of the last good
// copy, else of the documents. Without either, and without a state directory,
// nothing was ever made here.
func clusterName(o Options) (string, error) {
	docs, err := newDocuments(o.Log, o.StateDir)
	if err != nil {
		return "", err
	}
	docs.restore()
	if r := docs.now(); r != nil {
		return r.Config.Cluster.Meta.Name.Name, nil
	}
	r, err := readRevision(o.ConfigDir)
	if err == nil {
		return r.Config.Cluster.Meta.Name.Name, nil
	}
	if _, statErr := os.Stat(o.StateDir); errors.Is(statErr, os.ErrNotExist) {
		return "", nil
	}
	return "", fmt.Errorf("which cluster's marks to look for? The last good copy is gone; name the documents with --config: %w", err)
}

// removeContent empties a directory, and removes it if that can be done: the
// service manager may own it.
func removeContent(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	_ = os.Remove(dir)
	return errors.Join(errs...)
}
