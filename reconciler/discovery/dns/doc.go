// Package dns is the resolver on every node: it answers from the cluster's
// zone (package discovery), and asks others about everything else.
//
//	server := dns.New(dns.Options{Zone: zone, Settings: …, Log: log})
//	server.Configure(settings)    // at any time, from any goroutine
//	err := server.Run(ctx)        // until ctx ends
//	server.Stats()
//
// # The way of a question
//
//	socket ─▶ worker: parse ─▶ may it ask? ─▶ table ─▶ reply ─▶ socket
//	                                            │ not ours
//	                                            ▼
//	                                          cache ─▶ reply ─▶ socket
//	                                            │ not there, or old
//	                                            ▼
//	                          a goroutine: flight ─▶ upstream ─▶ reply ─▶ socket
//
// For each address there are as many UDP sockets as threads that run Go, with
// SO_REUSEPORT, and a worker for each. A worker reads and writes many
// datagrams with one system call. On its way, an answer from the zone or the
// cache takes no lock that is held for long and, from the zone, allocates
// nothing: what the zone has is copied behind the question, which stays as it
// was asked, in the same case.
//
// Sockets are bound to the addresses that they serve, so that answers come
// from the address that was asked, and before these addresses exist
// (IP_FREEBIND). What cannot be listened on is tried again, and is in
// [Stats].Problems meanwhile.
//
// # What is answered to whom
//
// Clients outside of [Settings].Allowed are refused; this host may always ask
// by its loopback addresses and by the very address that is asked. Answers
// and what is no query get no answer. ANY has the one record of RFC 8482;
// transfers, and classes but IN, are refused; opcodes but QUERY are not
// implemented. Until the zone is there, everything is SERVFAIL: a client must
// not take "no such name" from a server that does not know.
//
// # Others
//
// Each question is asked once at a time ([forwarder]). Upstreams are asked in
// the given order, those that are down last; a try takes up to 2 s, all
// together less than 5 s. Nothing about our zones is ever asked: package
// discovery knows what is ours. An alias (ExternalName) is followed here.
package dns
