package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/schema"
)

// validation is the JSON form of what validate says.
type validation struct {
	APIVersion  string             `json:"apiVersion"`
	Kind        string             `json:"kind"`
	Valid       bool               `json:"valid"`
	Diagnostics schema.Diagnostics `json:"diagnostics"`
	Summary     validationSummary  `json:"summary"`
}

type validationSummary struct {
	schema.Counts
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
}

func newValidateCommand() *cobra.Command {
	var output string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "Check the documents of a directory",
		Long: "Reads all documents below DIR and prints everything that is wrong with them,\n" +
			"with file, line and column. Needs no daemon and no privileges.\n" +
			"Exit code 3 if a node would refuse the documents.",
		Example: "  poplin validate examples/quickstart\n  poplin validate --strict -o json .",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("-o %s: want text or json", output)
			}
			return validate(cmd.OutOrStdout(), args[0], output == "json", strict)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit code 3 for warnings too")
	return cmd
}

func validate(out io.Writer, dir string, asJSON, strict bool) error {
	files, err := readTree(dir)
	if err != nil {
		return err
	}
	parser, err := schema.NewParser()
	if err != nil {
		return withCode(exitRuntime, err)
	}
	_, diagnostics := parser.Parse(files)
	valid := diagnostics.Errors() == 0 && (!strict || diagnostics.Warnings() == 0)
	if asJSON {
		err = writeValidation(out, parser.Counts(), diagnostics, valid)
	} else {
		diagnostics.WriteText(out, isColourTerminal(out))
		_, err = fmt.Fprintln(out, parser.Counts().Summary(diagnostics))
	}
	if err != nil {
		return withCode(exitRuntime, err)
	}
	if !valid {
		return &exitError{code: exitInvalid}
	}
	return nil
}

func writeValidation(out io.Writer, counts schema.Counts, diagnostics schema.Diagnostics, valid bool) error {
	if diagnostics == nil {
		diagnostics = schema.Diagnostics{}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(validation{
		APIVersion:  "poplin/v1alpha1",
		Kind:        "Validation",
		Valid:       valid,
		Diagnostics: diagnostics,
		Summary:     validationSummary{counts, diagnostics.Errors(), diagnostics.Warnings()},
	})
}
