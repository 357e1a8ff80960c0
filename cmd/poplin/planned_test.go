//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/poplin-net/poplin/cmd/poplin/api"
)

// plannedCommand is planned PLAN BEFORE AFTER: the operations of a plan (JSON)
// are the differences of two dumps of a host, one to one. A dump is a stream
// of JSON values, each
//
//	{"netns": NAME, "link": …, "address": …, "route": …, "sysctl": …}
//
// with the output of ip -j for a namespace ("" is the host) and its settings
// by name, or {"nft": …} with that of nft -j list ruleset, or {"file": …} with
// contents by path.
func plannedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: planned PLAN BEFORE AFTER")
	}
	var plan api.Plan
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &plan))
	before, err := parseDump(ts.ReadFile(args[1]))
	ts.Check(err)
	after, err := parseDump(ts.ReadFile(args[2]))
	ts.Check(err)
	want, got := plannedChanges(plan), before.changesTo(after, plan)
	for _, change := range slices.Sorted(maps.Keys(got)) {
		if !want[change] {
			ts.Logf("not planned: %s", change)
		}
	}
	for _, change := range slices.Sorted(maps.Keys(want)) {
		if !got[change] {
			ts.Logf("planned, and not seen: %s", change)
		}
	}
	if !maps.Equal(want, got) {
		ts.Fatalf("the plan is not what happened")
	}
	ts.Logf("%d operations, %d differences", len(plan.Operations), len(got))
}

// plannedChanges are the operations in the words of changesTo.
func plannedChanges(plan api.Plan) map[string]bool {
	out := map[string]bool{}
	for _, op := range plan.Operations {
		out[op.Verb+" "+hostBits(op.Key)] = true
	}
	return out
}

// hostBits drops the length of prefixes that are one address, as nft does.
func hostBits(key string) string {
	if strings.HasPrefix(key, "element ") {
		key = strings.ReplaceAll(strings.ReplaceAll(key, "/32 ", " "), "/128 ", " ")
	}
	return key
}

// dump has what a host has by the key of its object, with the rest of what is
// known of it as JSON.
type dump map[string]string

// changesTo gives the differences, each as VERB KEY. A setting that changes
// as its namespace or link comes or goes is a difference only where the plan
// has it.
func (d dump) changesTo(after dump, plan api.Plan) map[string]bool {
	named := map[string]bool{}
	for _, op := range plan.Operations {
		named[op.Key] = true
	}
	out := map[string]bool{}
	for key := range after {
		_, there := d[key]
		switch sysctl := strings.HasPrefix(key, "sysctl "); {
		case !there && (!sysctl || named[key]):
			out["add "+key] = true
		case there && d[key] != after[key]:
			out["change "+key] = true
		}
	}
	for key := range d {
		if _, there := after[key]; !there && (!strings.HasPrefix(key, "sysctl ") || named[key]) {
			out["delete "+key] = true
		}
	}
	return out
}

// namespaceDump is one value of a dump.
type namespaceDump struct {
	Netns   string            `json:"netns"`
	Link    []map[string]any  `json:"link"`
	Address []addressesDump   `json:"address"`
	Route   []map[string]any  `json:"route"`
	Sysctl  map[string]string `json:"sysctl"`
	File    map[string]string `json:"file"`
	Nft     *struct {
		Nftables []map[string]map[string]any `json:"nftables"`
	} `json:"nft"`
}

type addressesDump struct {
	Name      string           `json:"ifname"`
	Addresses []map[string]any `json:"addr_info"`
}

func parseDump(text string) (dump, error) {
	d := dump{}
	decoder := json.NewDecoder(strings.NewReader(text))
	for decoder.More() {
		var n namespaceDump
		if err := decoder.Decode(&n); err != nil {
			return nil, err
		}
		for path, text := range n.File {
			d["file "+path] = text
		}
		if n.File != nil {
			continue
		}
		if n.Nft != nil {
			for _, object := range n.Nft.Nftables {
				d.addNft(object)
			}
			continue
		}
		d.addNamespace(n)
	}
	return d, nil
}

func (d dump) addNamespace(n namespaceDump) {
	in := ""
	if n.Netns != "" {
		in = "netns " + n.Netns + " "
		d["netns "+n.Netns] = ""
	}
	for _, link := range n.Link {
		if link["ifname"] != "lo" { // comes with each namespace
			d["link "+in+link["ifname"].(string)] = steady(link)
		}
	}
	for _, link := range n.Address {
		for _, a := range link.Addresses {
			if link.Name == "lo" || a["scope"] == "link" {
				continue // the kernel makes these
			}
			d[fmt.Sprintf("address %s%v/%v dev %s", in, a["local"], a["prefixlen"], link.Name)] = steady(a)
		}
	}
	for _, r := range n.Route {
		if r["protocol"] == "kernel" {
			continue
		}
		to := r["dst"].(string)
		switch {
		case to == "default":
			to = "0.0.0.0/0"
		case !strings.Contains(to, "/"):
			to += "/32"
		}
		d["route "+in+to] = steady(r)
	}
	for name, value := range n.Sysctl {
		d["sysctl "+in+name] = value
	}
}

// steady is an object of ip as JSON, without what changes by itself.
func steady(object map[string]any) string {
	var clear func(any)
	clear = func(v any) {
		m, _ := v.(map[string]any)
		for key, value := range m {
			if strings.HasSuffix(key, "_timer") {
				delete(m, key)
			}
			clear(value)
		}
	}
	clear(object)
	return asJSON(object)
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(text)
}

func (d dump) addNft(object map[string]map[string]any) {
	for kind, o := range object {
		delete(o, "handle")
		where := fmt.Sprintf("%v %v", o["family"], o["table"])
		switch kind {
		case "metainfo":
		case "table":
			d[fmt.Sprintf("table %v %v", o["family"], o["name"])] = asJSON(o)
		case "chain":
			d[fmt.Sprintf("chain %s %v", where, o["name"])] += asJSON(o)
		case "rule":
			d[fmt.Sprintf("chain %s %v", where, o["chain"])] += asJSON(o)
		case "set", "map":
			elements, _ := o["elem"].([]any)
			delete(o, "elem")
			d[fmt.Sprintf("%s %s %v", kind, where, o["name"])] = asJSON(o)
			for _, e := range elements {
				key, value := e, any(nil)
				if pair, ok := e.([]any); ok {
					key, value = pair[0], pair[1]
				}
				d[fmt.Sprintf("element %s %v { %s }", where, o["name"], elementText(key))] = asJSON(value)
			}
		default:
			d[kind+" "+asJSON(o)] = ""
		}
	}
}

// elementText is the key of an element as nft's text has it.
func elementText(key any) string {
	m, ok := key.(map[string]any)
	if !ok {
		return fmt.Sprint(key)
	}
	if list, ok := m["concat"].([]any); ok {
		parts := make([]string, len(list))
		for i, part := range list {
			parts[i] = elementText(part)
		}
		return strings.Join(parts, " . ")
	}
	if e, ok := m["elem"].(map[string]any); ok { // one with a counter
		return elementText(e["val"])
	}
	if p, ok := m["prefix"].(map[string]any); ok {
		return fmt.Sprintf("%v/%v", p["addr"], p["len"])
	}
	return asJSON(key)
}
