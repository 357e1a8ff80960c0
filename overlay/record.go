package overlay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Claim is a node's statement that it owns a subnet since an epoch.
type Claim struct {
	Prefix netip.Prefix `json:"p"`
	Epoch  Stamp        `json:"e"`
	// Confirmed says that the claim stood uncontested and that pods may have
	// addresses of it.
	Confirmed bool `json:"k,omitempty"`
}

// Entry is the part of a record that the ledger keeps.
type Entry struct {
	Node string `json:"n"`
	// ID identifies an installation: 32 hexadecimal digits.
	ID         string `json:"i"`
	Birth      Stamp  `json:"b"` // when the ID was made
	Generation uint64 `json:"g"` // grows with each start of the daemon
	Version    uint64 `json:"v"` // grows with each change within a generation
	// Boot is a nonce of one start of the daemon; it tells a clone from the
	// node itself.
	Boot   string  `json:"o"`
	Stamp  Stamp   `json:"t"` // the owner's clock, refreshed hourly
	Claims []Claim `json:"c,omitempty"`
	// Replaces lists former installations of this name, by the first digits
	// of their IDs, whose claims this one took over.
	Replaces []string `json:"x,omitempty"`
}

// Head is a record without its pods. Encoded it is about 400 bytes long, and
// never longer than maxHead: the text of a rejection gives way.
type Head struct {
	Entry
	Gossip   netip.AddrPort `json:"a"` // where memberlist listens
	Underlay []netip.Addr   `json:"u,omitempty"`
	Transport
	MTU      int        `json:"m,omitempty"`
	Revision string     `json:"r,omitempty"`
	Digest   string     `json:"s,omitempty"`
	Rejected *Rejection `json:"j,omitempty"`
	Keys     []string   `json:"y,omitempty"` // digests, the one that encrypts first
	Ledger   string     `json:"l,omitempty"` // digest
	// Health says that the node's pods in the host's network are announced,
	// too, with their readiness. Earlier releases leave them out.
	Health bool `json:"h,omitempty"`
	// Stopping is set by a daemon that is being stopped and whose data plane
	// goes on without it.
	Stopping Stamp `json:"z,omitempty"`
}

// Rejection is a revision that a node did not accept, with its first error.
type Rejection struct {
	Revision string `json:"r"`
	Error    string `json:"e"`
}

// PodEntry is a pod as the node that runs it announces it.
type PodEntry struct {
	Namespace string       `json:"s"`
	Name      string       `json:"n"`
	Addresses []netip.Addr `json:"a,omitempty"` // at most one per family; none: the node's own
	Ready     bool         `json:"r,omitempty"`
}

func (p PodEntry) key() string { return p.Namespace + "/" + p.Name }

func (p PodEntry) equal(o PodEntry) bool {
	return p.Namespace == o.Namespace && p.Name == o.Name && p.Ready == o.Ready && slices.Equal(p.Addresses, o.Addresses)
}

func comparePods(a, b PodEntry) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Record is what one node publishes of itself; only it writes it.
type Record struct {
	Head
	Pods []PodEntry `json:"pods,omitempty"` // sorted by namespace and name
}

// recordKey identifies an installation: two of one name are two records.
type recordKey struct{ node, id string }

func (e Entry) key() recordKey { return recordKey{e.Node, e.ID} }

// compare is a total order on the states of one installation: later wins.
// Beyond generation and version it only matters for clones and forgeries,
// where any order will do as long as it is the same everywhere.
func (e Entry) compare(o Entry) int {
	return cmp.Or(
		cmp.Compare(e.Generation, o.Generation),
		cmp.Compare(e.Version, o.Version),
		cmp.Compare(e.Boot, o.Boot),
		cmp.Compare(e.Stamp, o.Stamp),
		cmp.Compare(e.Birth, o.Birth),
		slices.CompareFunc(e.Claims, o.Claims, compareClaims),
		slices.Compare(e.Replaces, o.Replaces),
	)
}

func compareClaims(a, b Claim) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), comparePrefixes(a.Prefix, b.Prefix), compareBools(a.Confirmed, b.Confirmed))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// shortID is the form in which an ID stands in Replaces and in meta lists.
func shortID(id string) string { return id[:min(len(id), shortIDLength)] }

const (
	shortIDLength = 12
	maxReplaces   = 4
	maxHead       = 760 // bytes; a message around it has 1,000
)

// supersedes reports whether e took over from o: a later installation of the
// same name that says so.
func (e Entry) supersedes(o Entry) bool {
	return e.Node == o.Node && e.ID != o.ID && e.Birth > o.Birth && slices.Contains(e.Replaces, shortID(o.ID))
}

// fit shortens what may be shortened until the encoded head is small enough:
// the text of the rejection first, then the key digests but the first.
func (h Head) fit() Head {
	size := h.size()
	if size > maxHead && h.Rejected != nil {
		keep := max(0, len(h.Rejected.Error)-(size-maxHead))
		h.Rejected = &Rejection{h.Rejected.Revision, strings.ToValidUTF8(h.Rejected.Error[:keep], "")}
		// Escapes make the encoded text longer than the text.
		for h.size() > maxHead && h.Rejected.Error != "" {
			text := h.Rejected.Error
			h.Rejected.Error = strings.ToValidUTF8(text[:len(text)*3/4], "")
		}
	}
	if h.size() > maxHead && len(h.Keys) > 1 {
		h.Keys = h.Keys[:1]
	}
	return h
}

func (h Head) size() int {
	data, err := json.Marshal(h)
	if err != nil {
		return 0
	}
	return len(data)
}

// Limits of what a record may hold. Others' records that exceed them are
// refused whole.
const (
	maxText     = 300
	maxName     = 253 // bytes, RFC 1123
	maxList     = 16
	maxPods     = 4096
	idLength    = 32
	maxMTU      = 65535
	maxRejected = 500
)

// check returns an error for what no node of ours would announce.
func (e Entry) check() error {
	switch {
	case e.Node == "" || len(e.Node) > maxName || !plain(e.Node):
		return fmt.Errorf("node name %q", clip(e.Node))
	case !validID(e.ID):
		return fmt.Errorf("node ID %q", clip(e.ID))
	case len(e.Boot) > maxList || !plain(e.Boot):
		return fmt.Errorf("boot nonce %q", clip(e.Boot))
	case len(e.Claims) > maxList || len(e.Replaces) > maxList:
		return fmt.Errorf("%d claims, %d replaced", len(e.Claims), len(e.Replaces))
	}
	for _, c := range e.Claims {
		if !validPrefix(c.Prefix) || c.Epoch == 0 {
			return fmt.Errorf("claim of %s", c.Prefix)
		}
	}
	for _, id := range e.Replaces {
		if len(id) != shortIDLength {
			return fmt.Errorf("replaced ID %q", clip(id))
		}
	}
	return nil
}

func (h Head) check() error {
	if err := h.Entry.check(); err != nil {
		return err
	}
	if len(h.Underlay) > maxList || slices.ContainsFunc(h.Underlay, func(a netip.Addr) bool { return !validAddr(a) }) {
		return fmt.Errorf("underlay addresses %v", h.Underlay[:min(len(h.Underlay), maxList)])
	}
	if len(h.Keys) > maxList || h.MTU < 0 || h.MTU > maxMTU {
		return fmt.Errorf("%d key digests, MTU %d", len(h.Keys), h.MTU)
	}
	if err := h.Transport.check(); err != nil {
		return err
	}
	for _, text := range append([]string{h.Revision, h.Digest, h.Ledger}, h.Keys...) {
		if len(text) > maxText {
			return fmt.Errorf("a text of %d bytes", len(text))
		}
	}
	if h.Rejected != nil && (len(h.Rejected.Revision) > maxText || len(h.Rejected.Error) > maxRejected) {
		return fmt.Errorf("a rejection of %d bytes", len(h.Rejected.Error))
	}
	return nil
}

func (p PodEntry) check() error {
	if p.Namespace == "" || p.Name == "" || len(p.Namespace) > maxName || len(p.Name) > maxName ||
		!plain(p.Namespace) || !plain(p.Name) {
		return fmt.Errorf("pod name %q", clip(p.key()))
	}
	if len(p.Addresses) > 2 || slices.ContainsFunc(p.Addresses, func(a netip.Addr) bool { return !validAddr(a) }) {
		return fmt.Errorf("pod %s: addresses %v", p.key(), p.Addresses[:min(len(p.Addresses), 2)])
	}
	return nil
}

func (r Record) check() error {
	if err := r.Head.check(); err != nil {
		return err
	}
	if len(r.Pods) > maxPods {
		return fmt.Errorf("%d pods", len(r.Pods))
	}
	for i, p := range r.Pods {
		if err := p.check(); err != nil {
			return err
		}
		if i > 0 && comparePods(r.Pods[i-1], p) >= 0 {
			return fmt.Errorf("pods out of order at %s", p.key())
		}
	}
	return nil
}

func validAddr(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast()
}

func validPrefix(p netip.Prefix) bool {
	return p.IsValid() && p == p.Masked() && p.Bits() > 0 && !p.Addr().Is4In6()
}

func validID(id string) bool {
	return len(id) == idLength && strings.Trim(id, "0123456789abcdef") == ""
}

// plain reports whether a text is of letters, digits, dots and dashes: what
// names are made of, and what is safe in logs and paths.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

func clip(s string) string { return s[:min(len(s), 40)] }
