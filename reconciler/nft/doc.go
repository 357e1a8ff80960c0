// Package nft is the reconciler's target for nftables: the tables `ip poplin`
// and `ip6 poplin` with their constant skeleton of sets and rules, and the
// pick chains and elements that services come down to.
//
// # A packet's way
//
// The first packet of a connection (a nat chain sees no other) passes the
// chain frontends, from prerouting or, if it starts on this host, from
// output. The map services has a frontend's number of slots, and the map called
// picks the chain for that number; the chain draws a slot and looks up the endpoint;
// its next rule takes slot 0, and its last drops: they catch a packet that is
// between the lookups when a commit takes its slot away. Node ports have maps
// of their own, for destinations that are listed, local and not loopback.
//
// Why the number, and not the chain, is in the map: an element with a verdict
// to a chain has the kernel look through all maps of verdicts that the table
// has, from every base chain that comes to them (nft_table_validate, Linux
// 6.18). With 10,000 frontends that takes 2 ms, with 45,000 ten, for every
// endpoint that comes or goes. So only frontends that need more than to pick
// have one, in special-services. From one lookup to the next the number goes
// by way of the packet's priority, since nft aborts where it lists a rule in
// which one map's value is another's key. It was somebody's only if an
// application or another agent gave this first packet of a connection one
// before: the chain leaves it with none. (The kernel sets that of forwarded
// IPv4 packets afterwards, from their type of service.)
//
// Frontends that clients from outside find only endpoints of this node
// behind (externalTrafficPolicy Local) go to the chain external first. It
// tells clients from outside from pods and this host, and has a map for each:
// the slots of this node's endpoints are numbered from 65536. So the others
// pay nothing for it. Those that only some clients may use go through the
// chain restricted before that. Where a policy leaves no endpoint the packet is
// dropped, not refused: there are endpoints elsewhere.
//
// A range of ports is one element of the map port-ranges; its endpoints have
// addresses only, and connections keep their port.
//
// An endpoint with a higher weight has more slots. Where the client's address
// decides, the chain takes its hash instead of drawing a slot.
//
// Clients that stick to endpoints are elements of the set affinity, which
// packets fill: frontend, client and the endpoint's id, a number that it has
// as long as it is there. A sticky chain first tries one id after another
// (the chain recall), then draws a slot and goes to the chain that makes the
// client stick to the slot's endpoint (stick). All work of a frontend with
// affinity, and nothing of others, grows with its endpoints. When an endpoint
// leaves, its clients are forgotten after the commit, before its id can be
// another's; a table that is made anew forgets all.
//
// What is in a service range and no frontend is refused, so that a client fails
// at once.
//
// # What is masqueraded
//
// A connection keeps its client's address wherever the answers come back by
// this node all the same. In postrouting, in this order, it takes the node's
// address if
//
//   - a pod reached itself through a service: on its own it would drop a
//     packet that comes from its own address;
//   - it came through a cluster IP, from an address outside this node's pod
//     subnets, and goes to an endpoint that is elsewhere, which would answer
//     the client directly;
//   - the same through a node port, a load balancer address or an external
//     IP; but where clients from outside get
//     endpoints of this node only, just pods and this host, since such an
//     endpoint need not have an address of this node's subnets;
//   - a pod leaves the pod ranges, whether through a service or not.
//
// The test for "answers come back by this node" is the node's own subnets,
// not all pod ranges: a remote pod that uses this node's port with its own
// address gets its answer from a third node otherwise. A node's own
// connections through a cluster IP leave with the address that the route to
// the service range gives them, usually one of the node's subnet; with its
// underlay address they are masqueraded, which with a tunnel gives them the
// tunnel's address and with host-gw changes nothing. Pod to pod without a
// service matches none of the rules, whatever the excluded prefixes are.
//
// The second and third rule look at the connection's original destination
// rather than at a packet mark: marks collide with those of other agents,
// and a connection that somebody else translated is not ours to touch.
//
// On the host itself sending a refused datagram fails with EPERM, as always
// when the output hook drops; the ICMP error comes with the next call.
//
// # What is forged
//
// The chain guard sees all packets that come in, before conntrack, so that a
// flood of forged ones makes no entries. Two maps say what is looked at.
//
// A port of a tunnel that asks nobody for a key (udp, vxlan) takes packets
// from the addresses of peers only: guard-port drops the others, whichever
// address of this host they are sent to, broadcast and multicast included.
// What is not for this host passes. A VXLAN port is one socket of the kernel's
// for all devices on it, so another agent's tunnel at the same port between
// hosts that are no peers is dropped, too: give one of them another port.
//
// What comes out of a VXLAN link has to be from a peer's subnet
// (guard-tunnel). Of what comes in over the underlay link, sources in the pod
// ranges have to be (guard-direct), or are not let through at all where peers
// send through tunnels only (guard-pods). This node's own subnets are no
// peer's. The set does not say which peer has which subnet: the outer source
// is a peer's by then, and only packets of the udp tunnel are tried against
// their own peer's subnets, in its process. WireGuard's keys say it. With the
// backend none nothing is looked at: see reconciler/compile.
//
// A lookup that counts is the last of a rule that drops, so the sets
// unknown-peers and foreign-sources count what was dropped, by port and by
// link. What neither map has costs forwarding 64 bytes 4 % more, and what comes
// from one of 1,000 peers' pods 29 % (1.57, 1.63 and 2.02 µs; BenchmarkGuard).
//
// # What is counted
//
// A frontend has two elements with counters. One, in a connections set, is
// looked up at the top of the chains that pick endpoints: nat chains see the
// first packet of a connection only, so it counts connections that got an
// endpoint. The other, in a traffic set, is looked up for all packets of
// translated connections, by the connection's original destination, in both
// directions: in forward, input and output, of which a packet passes one
// (what this host sends to itself counts as it leaves). Ranges of ports and
// node ports have sets of their own. Counters are not in the maps that send
// frontends on: there a value that changes would begin at zero again. These
// elements stay as long as their frontend is asked for, with or without
// endpoints. A table that is made anew begins at zero.
//
// The counting chains are behind other filters, so that what is dropped there
// does not count, and never drop anything themselves. They cost a packet
// without a service the question whether its connection is translated, and one
// with a service 0.2 to 0.3 µs, however many services there are (Linux 6.18;
// forwarding 64 bytes between three veth pairs costs 2.1 µs). Bulk transfers,
// whose packets come in large pieces, do not feel it.
//
// Counters are read only when somebody asks, past the lock of the rounds. What
// is observed has none, so that they are no difference to anything.
//
// # What is observed
//
// The chain poplin-skeleton-VERSION marks a table as ours; one without it is
// a conflict, unless this process has seen the mark in the very same table.
// Chains, sets and rules are compared one by one with the skeleton. What
// differs is damage, and a damaged table is made anew, whole, in one
// transaction: connections stay, because conntrack keeps their translation.
// Elements take long to read, so the groups last committed are remembered as
// long as the kernel's events do not name our tables. A socket collects the
// events; it leaves out those of our own commits and is asked after every
// read whether the read still holds.
//
// # After a commit
//
// Connections that still lead where new ones do not go any more are deleted
// from conntrack: datagrams to an endpoint that left, or untranslated from
// before a frontend had any, and unanswered SYNs, untranslated ones once a table
// is made: repeated, they would go the same way. Only those of frontends
// that the plan touched are looked at. The kernel walks its whole table for
// that, so while the target runs it happens beside the commits that follow,
// against what they have changed since, and again after a pause where it fails.
//
// # What becomes of a packet
//
// Ruleset.Trace follows the first packet of a connection through the same
// expressions that are sent to the kernel: every random number is tried, with
// its share, and nothing is guessed: an expression that the tracer does not
// know is an error. It is pure; where an address leads is asked of a function,
// which clients stick to an endpoint is read beforehand (ClientsOf). A test
// asks the tracer and the kernel about every pair of client and frontend. A
// packet comes in by the link that leads to its source, unless it is said.
// Rules of other tables, reverse-path filters and what happens on other hosts
// are not traced.
//
// # What nft prints
//
// nft 1.0.6 has to print all of it (testdata holds what it prints): a form
// that it does not know makes it abort, for every table of the host. Hence
// the original destination is loaded by the keys that carry the family, and
// a slot is of type mark, which nft prints but cannot read next to numgen: a
// listing cannot be loaded with nft -f.
package nft
