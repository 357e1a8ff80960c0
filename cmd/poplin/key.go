package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"
)

// keySize is the size of a gossip key in bytes: AES-256.
const keySize = 32

func newKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "key",
		Short:   "Keys of the gossip between nodes",
		Example: "  poplin key new",
		Args:    cobra.NoArgs,
	}
	c.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Print a new gossip key",
		Long: `Print a new gossip key: 32 random bytes as one base64 line, on standard output.

The same key file lies on every node, mode 0640 or stricter: a key that others
can read is refused. To change keys without a gap, add the new one as the last
line on every node, then make it the first line on every node (the first one
encrypts), then remove the old one.`,
		Example: `  umask 077 && poplin key new > /etc/poplin/gossip.key
  chgrp poplin /etc/poplin/gossip.key && chmod 0640 /etc/poplin/gossip.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var key [keySize]byte
			_, _ = rand.Read(key[:]) // never fails (crypto/rand, Go 1.24)
			if _, err := fmt.Fprintln(c.OutOrStdout(), base64.StdEncoding.EncodeToString(key[:])); err != nil {
				return withCode(exitRuntime, err)
			}
			fmt.Fprintln(c.ErrOrStderr(), "the same in "+defaultKeyFile+" on every node: chgrp poplin, chmod 0640")
			return nil
		},
	})
	return c
}
