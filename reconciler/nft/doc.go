// Package nft is the reconciler's target for nftables: the tables `ip poplin`
// and `ip6 poplin`, their constant skeleton of rules, and the chains and
// elements that services come down to.
package nft
