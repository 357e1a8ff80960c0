package api

import "github.com/poplin-net/poplin/reconciler/discovery/dns"

// DNS is the node's server of names, with what it has done since the daemon
// was started.
type DNS struct {
	// Enabled: the documents want one. What follows is of no meaning without.
	Enabled bool   `json:"enabled"`
	Domain  string `json:"domain,omitempty"`
	dns.Stats
}
