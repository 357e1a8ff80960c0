package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/schema"
)

func newAllocateCommand() *cobra.Command {
	var check, subnets bool
	cmd := &cobra.Command{
		Use:   "allocate DIR",
		Short: "Write missing cluster IPs and node ports into the files",
		Long: "Writes the cluster IPs and node ports that no document says into the files,\n" +
			"and leaves everything else as it is, comments and order too. A service keeps\n" +
			"the address that it has already, unless that meets another.\n\n" +
			"--subnets also writes one pinned Subnet for each Node that has none, into\n" +
			"subnets.yaml. Pods of a running cluster get new addresses by that.\n\n" +
			"--check writes nothing and exits with 1 if something is missing.",
		Example: "  poplin allocate .\n  poplin allocate --check .",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := readTree(args[0])
			if err != nil {
				return err
			}
			result, err := schema.Allocate(files, subnets)
			var invalid *schema.InvalidError
			if errors.As(err, &invalid) {
				invalid.Diagnostics.WriteText(cmd.ErrOrStderr(), isColourTerminal(cmd.ErrOrStderr()))
				return withCode(exitInvalid, err)
			}
			if err != nil {
				return withCode(exitRuntime, err)
			}
			for _, change := range result.Changes {
				fmt.Fprintln(cmd.OutOrStdout(), change)
			}
			if check {
				if len(result.Changes) > 0 {
					return &exitError{code: exitDifferences}
				}
				return nil
			}
			return withCode(exitRuntime, writeFiles(args[0], result.Files))
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit code 1 if something is missing")
	cmd.Flags().BoolVar(&subnets, "subnets", false, "also write one pinned Subnet for each Node")
	return cmd
}

// writeFiles replaces files below a directory, each at once: a daemon that
// watches the directory never reads half of one.
func writeFiles(dir string, files []schema.File) error {
	for _, f := range files {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if errors.Is(err, fs.ErrNotExist) {
			path, err = filepath.Join(dir, filepath.FromSlash(f.Path)), nil
		}
		if err == nil {
			err = writeFile(path, f.Content)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", f.Path, err)
		}
	}
	return nil
}

// writeFile keeps the mode of a file that is there.
func writeFile(path string, content []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".poplin-allocate-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Chmod(mode)
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
