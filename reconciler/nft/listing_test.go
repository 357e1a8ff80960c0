package nft

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler"
)

var update = flag.Bool("update", false, "rewrite testdata")

// goldenVersion is the nft whose spelling testdata has: that of the oldest
// supported distribution.
const goldenVersion = "v1.0.6"

// nfts are the programs that have to print our tables: that of this system
// and, where POPLIN_TEST_NFT names it, a newer one (.ci/newest-nft gets it).
func nfts() []string {
	if newest := os.Getenv("POPLIN_TEST_NFT"); newest != "" {
		return []string{"nft", newest}
	}
	return []string{"nft"}
}

func TestNftPrintsTheSkeleton(t *testing.T) {
	n := newNetns(t)
	h := host(nil)
	for _, f := range families() {
		h.Objects = append(h.Objects, reconciler.Chain{Family: f, Slots: 3}, reconciler.Chain{Family: f, Slots: 3, NodePort: true},
			reconciler.Chain{Family: f, Slots: 2, Local: true}, reconciler.Chain{Family: f, Slots: 2, Local: true, NodePort: true})
		for _, c := range []reconciler.Chain{{Method: reconciler.MethodSticky, ID: 2, Slots: 3}, {Method: reconciler.MethodStick, ID: 1},
			{Method: reconciler.MethodRange, Slots: 2}, {Method: reconciler.MethodHash, Slots: 1021}, {Method: reconciler.MethodHash, Slots: 16381, NodePort: true, Local: true},
			{Method: reconciler.MethodSticky, ID: 1, Slots: 1, NodePort: true, Local: true}, {Method: reconciler.MethodStick, NodePort: true, Local: true}} {
			if c.Family = f; c.Method != reconciler.MethodHash && c.Method != reconciler.MethodRange {
				c.Timeout = 10800
			}
			h.Objects = append(h.Objects, c)
			if c.Method == reconciler.MethodSticky {
				h.Objects = append(h.Objects, c.Recall())
			}
		}
	}
	reach(t, target(t, n), state(h))
	for _, nft := range nfts() {
		skeletonIsGolden(t, n, nft)
	}
}

func skeletonIsGolden(t *testing.T, n *netns, nft string) {
	version := n.run(nft + " --version")
	for _, f := range families() {
		got := n.run(nft + " list table " + string(f) + " poplin")
		golden := "testdata/" + string(f) + ".nft"
		if !strings.Contains(version, goldenVersion) {
			t.Logf("%s spells things differently; %s is for %s", strings.TrimSpace(version), golden, goldenVersion)
			continue
		}
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s", golden, got)
		}
	}
}

func TestNftPrintsEveryElement(t *testing.T) {
	n := newNetns(t)
	want := web()
	reach(t, target(t, n), want)
	for _, nft := range nfts() {
		t.Run(strings.Fields(n.run(nft + " --version"))[1], func(t *testing.T) { listed(t, n, nft, want) })
	}
}

// listed checks that nft prints every object, as text and as JSON.
func listed(t *testing.T, n *netns, nft string, want reconciler.State) {
	text := strings.Join(strings.Fields(n.run(nft+" list ruleset")), " ")
	var listing struct{ Nftables []map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(n.run(nft+" -j list ruleset")), &listing); err != nil {
		t.Fatal(err)
	}
	elements := map[string]string{} // by family and set
	for _, item := range listing.Nftables {
		for _, kind := range []string{"set", "map"} {
			var s struct {
				Family, Name string
				Elem         json.RawMessage
			}
			if raw, ok := item[kind]; ok {
				if err := json.Unmarshal(raw, &s); err != nil {
					t.Fatal(err)
				}
				elements[s.Family+" "+s.Name] = string(s.Elem)
			}
		}
	}
	for _, o := range want.Objects() {
		switch o := o.(type) {
		case reconciler.Chain:
			if !strings.Contains(text, "chain "+o.Name()+" {") {
				t.Errorf("not in the text: %s", o)
			}
		case reconciler.Element:
			line, tree := spelled(o)
			if !strings.Contains(text, line) {
				t.Errorf("not in the text: %s", line)
			}
			if got := strings.Join(strings.Fields(elements[string(o.Family)+" "+string(o.Set)]), ""); !strings.Contains(got, tree) {
				t.Errorf("not in the JSON of %s: %s\n%s", o.Set, tree, got)
			}
		}
	}
}

// spelled gives an element as nft writes it, in text and in JSON.
func spelled(e reconciler.Element) (text, tree string) {
	switch {
	case isRange(e):
		return spelledPrefix(e.Prefix)
	case e.Set == reconciler.SetPicks:
		number := spelledNumber(e.Slot)
		return fmt.Sprintf("%s : goto %s", number, e.Chain), fmt.Sprintf(`%q,{"goto":{"target":%q}}`, number, e.Chain)
	case e.Set == reconciler.SetClusterAddresses || e.Set == reconciler.SetLoadBalancerAddresses || e.Set == reconciler.SetTunnelPeers:
		return e.Address.String(), fmt.Sprintf("%q", e.Address)
	case e.Set == reconciler.SetHairpin:
		return fmt.Sprintf("%s . %[1]s", e.Address), fmt.Sprintf(`{"concat":["%s","%[1]s"]}`, e.Address)
	}
	var words, leaves []string
	if e.Address.IsValid() {
		words, leaves = append(words, e.Address.String()), append(leaves, fmt.Sprintf("%q", e.Address))
	}
	if e.Protocol != 0 {
		words, leaves = append(words, e.Protocol.String()), append(leaves, fmt.Sprintf("%q", e.Protocol))
	}
	switch {
	case e.LastPort > e.Port:
		words, leaves = append(words, fmt.Sprintf("%d-%d", e.Port, e.LastPort)), append(leaves, fmt.Sprintf(`{"range":[%d,%d]}`, e.Port, e.LastPort))
	case e.Port != 0:
		words, leaves = append(words, fmt.Sprint(e.Port)), append(leaves, fmt.Sprint(e.Port))
	}
	if e.Target.IsValid() || e.Set == reconciler.SetSticky || e.Set == reconciler.SetNodePortSticky {
		words, leaves = append(words, fmt.Sprintf("0x%08x", e.Slot)), append(leaves, fmt.Sprint(e.Slot))
	}
	if e.Prefix.IsValid() {
		text, tree := spelledPrefix(e.Prefix)
		words, leaves = append(words, text), append(leaves, tree)
	}
	text = strings.Join(words, " . ")
	tree = `{"concat":[` + strings.Join(leaves, ",") + `]}`
	if e.Link != "" {
		tree = fmt.Sprintf("%q", e.Link)
		text = tree
	}
	switch {
	case e.Set == reconciler.SetRangeEndpoints:
		text += fmt.Sprintf(" : %s", e.Target.Addr())
		tree += fmt.Sprintf(`,%q`, e.Target.Addr())
	case e.Target.IsValid():
		text += fmt.Sprintf(" : %s . %d", e.Target.Addr(), e.Target.Port())
		tree += fmt.Sprintf(`,{"concat":[%q,%d]}`, e.Target.Addr(), e.Target.Port())
	case index()[e.Set].counts:
		text += " counter packets 0 bytes 0"
	case e.Set == reconciler.SetServices:
		slots, _ := reconciler.NumberOf(e.Chain)
		text += " : " + spelledNumber(slots)
		tree += fmt.Sprintf(",%q", spelledNumber(slots))
	case e.Chain != "":
		text += " : goto " + e.Chain
		tree += fmt.Sprintf(`,{"goto":{"target":%q}}`, e.Chain)
	}
	return text, tree
}

// spelledNumber gives a priority as nft writes it.
func spelledNumber(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

func spelledPrefix(p netip.Prefix) (text, tree string) {
	if p.IsSingleIP() {
		return p.Addr().String(), fmt.Sprintf("%q", p.Addr())
	}
	return p.String(), fmt.Sprintf(`{"prefix":{"addr":%q,"len":%d}}`, p.Addr(), p.Bits())
}
