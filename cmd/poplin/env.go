package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/cmd/poplin/daemon"
	"github.com/poplin-net/poplin/reconciler/discovery"
	"github.com/poplin-net/poplin/schema"
)

func newEnvCommand() *cobra.Command {
	var namespace, output, runDir string
	c := &cobra.Command{
		Use:   "env [-n NAMESPACE] [DIR]",
		Short: "Print the environment variables that tell of a namespace's services",
		Long: `Print the environment variables that tell of the services of a namespace, as
a kubelet gives them to containers: WEB_SERVICE_HOST, WEB_SERVICE_PORT and
those of docker's links, of each service with a cluster IP. The daemon knows
them; with DIR they are of the documents there, and no daemon is needed.

On every node they are also in /run/poplin/env/NAMESPACE.env, for systemd's
EnvironmentFile= and docker's --env-file, and follow the documents.`,
		Example: `  poplin env -n default
  eval "$(poplin env -n shop -o shell)"
  poplin env -n shop -o json examples/discovery`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := environment(c.Context(), namespace, runDir, args)
			if err != nil {
				return err
			}
			if len(e.Variables) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "no service of namespace %s has a cluster IP\n", namespace)
			}
			return withCode(exitRuntime, writeEnvironment(c.OutOrStdout(), e, output))
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "default", "the namespace")
	c.Flags().VarP(&choice{&output, "dotenv", []string{"dotenv", "json", "shell"}}, "output", "o", "dotenv, json, or shell: commands for sh to eval")
	output = "dotenv"
	c.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "where the daemon's socket is")
	return c
}

// environment asks the daemon, or reads the documents of a directory.
func environment(ctx context.Context, namespace, runDir string, args []string) (api.Environment, error) {
	if len(args) == 0 {
		e, err := api.NewClient(runDir).Environment(ctx, namespace)
		return e, daemonError(err)
	}
	files, err := readTree(args[0])
	if err != nil {
		return api.Environment{}, err
	}
	parser, err := schema.NewParser()
	if err != nil {
		return api.Environment{}, withCode(exitRuntime, err)
	}
	config, diagnostics := parser.Parse(files)
	if config == nil {
		return api.Environment{}, daemonError(&api.InvalidError{Diagnostics: diagnostics})
	}
	return daemon.EnvironmentOf(config, namespace), nil
}

func writeEnvironment(w io.Writer, e api.Environment, output string) error {
	if output == "json" {
		return writeJSON(w, e)
	}
	list := make([]discovery.Variable, len(e.Variables))
	for i, v := range e.Variables {
		list[i] = discovery.Variable(v)
	}
	text := discovery.Dotenv(list)
	if output == "shell" {
		text = discovery.Shell(list)
	}
	_, err := io.WriteString(w, text)
	return err
}
