package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/poplin-net/poplin/schema"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [KIND]",
		Short: "Print the JSON Schema, or the fields of a kind",
		Long: "Prints the JSON Schema (draft 2020-12) of all documents, for editors and\n" +
			"other checks; with KIND, that kind's fields with what they mean.",
		Example: "  poplin schema > poplin.schema.json\n  poplin schema service",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := cmd.OutOrStdout().Write(schema.Schema())
				return withCode(exitRuntime, err)
			}
			text, err := schema.Describe(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return withCode(exitRuntime, err)
		},
	}
}
