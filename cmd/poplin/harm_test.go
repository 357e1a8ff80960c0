//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// harm is a program for scripts: harm SEED DURATION does at random what an
// administrator or another agent might do to poplin's tables, one to three
// times at once, and waits until they are again as they were. It fails where
// that takes longer than five times the figure, and prints how long it took.
func harm() {
	const usage = "usage: harm SEED DURATION"
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	duration, err := time.ParseDuration(os.Args[2])
	if err == nil {
		err = harmFor(uint64(number(os.Args[1])), duration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "harm:", err)
		os.Exit(1)
	}
}

// harmFigure is how soon everything is as it was.
const harmFigure = time.Second

func harmFor(seed uint64, duration time.Duration) error {
	want, err := poplinTables()
	if err != nil {
		return err
	}
	h := &harmer{rand: rand.New(rand.NewPCG(seed, 0)), parts: partsOf(want)}
	whole := canonical(want)
	var took []time.Duration
	for end := time.Now().Add(duration); time.Now().Before(end); {
		var done []string
		for range 1 + h.rand.IntN(3) {
			script := h.script()
			cmd := exec.Command("nft", "-f", "-")
			cmd.Stdin = strings.NewReader(script)
			if cmd.Run() == nil { // what is not there (yet) cannot be harmed
				done = append(done, script)
			}
		}
		if len(done) == 0 {
			continue
		}
		d, err := back(whole)
		if err != nil {
			return fmt.Errorf("after %q, %d times before: %w", done, len(took), err)
		}
		took = append(took, d)
		time.Sleep(time.Duration(h.rand.IntN(100)) * time.Millisecond)
	}
	if len(took) == 0 {
		return fmt.Errorf("nothing was harmed")
	}
	slices.Sort(took)
	fmt.Printf("%d times back, after %s at the median and %s at most (figure %s)\n",
		len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), harmFigure)
	return nil
}

// back waits until the tables are again as they were. The time includes that
// which the last look takes: nft begins anew when a commit comes between.
func back(want []string) (time.Duration, error) {
	start := time.Now()
	for {
		text, err := poplinTables()
		took := time.Since(start)
		if err == nil {
			got := canonical(text)
			if slices.Equal(got, want) {
				return took, nil
			}
			err = fmt.Errorf("missing %q, too much %q", without(want, got), without(got, want))
		}
		if took > patience*harmFigure {
			return 0, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// poplinTables are the tables as nft lists them.
func poplinTables() (string, error) {
	text := ""
	for _, family := range []string{"ip", "ip6"} {
		out, err := exec.Command("nft", "list", "table", family, "poplin").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		text += string(out)
	}
	return text, nil
}

// canonical are the elements, rules and chains of a listing, in an order of
// its own: that of elements is by chance.
func canonical(text string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		part = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(part), "elements = { "), " }")
		out = append(out, part)
	}
	slices.Sort(out)
	return out
}

// without gives some of the lines of a that are not in b.
func without(a, b []string) []string {
	const most = 5
	var out []string
	for _, line := range a {
		if _, found := slices.BinarySearch(b, line); !found && len(out) < most {
			out = append(out, line)
		}
	}
	return out
}

// parts is what a family's table is made of.
type parts struct {
	family string
	chains []string
	sets   []string
	// elements are the keys of each set, and what a map has for them.
	elements map[string][][2]string
	maps     map[string]bool
}

var (
	tableText = regexp.MustCompile(`(?ms)^table (\S+) poplin \{$(.*?)^\}$`)
	partText  = regexp.MustCompile(`(?ms)^\t(chain|set|map) (\S+) \{$(.*?)^\t\}$`)
	itemsText = regexp.MustCompile(`(?s)elements = \{ (.*?) \}`)
)

// partsOf takes a listing apart.
func partsOf(text string) []parts {
	var out []parts
	for _, table := range tableText.FindAllStringSubmatch(text, -1) {
		p := parts{family: table[1], elements: map[string][][2]string{}, maps: map[string]bool{}}
		for _, part := range partText.FindAllStringSubmatch(table[2], -1) {
			kind, name, body := part[1], part[2], part[3]
			if kind == "chain" {
				p.chains = append(p.chains, name)
				continue
			}
			p.maps[name] = kind == "map"
			items := itemsText.FindStringSubmatch(body)
			if items == nil {
				continue
			}
			p.sets = append(p.sets, name)
			for _, item := range strings.Split(items[1], ",") {
				key, value, _ := strings.Cut(strings.TrimSpace(item), " : ")
				p.elements[name] = append(p.elements[name], [2]string{key, value})
			}
		}
		out = append(out, p)
	}
	return out
}

// harmer thinks of harm.
type harmer struct {
	rand  *rand.Rand
	parts []parts
}

func pickOne[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// script is for nft -f.
func (h *harmer) script() string {
	p := pickOne(h.rand, h.parts)
	set, chain := pickOne(h.rand, p.sets), pickOne(h.rand, p.chains)
	item := pickOne(h.rand, p.elements[set])
	kind := "set"
	if p.maps[set] {
		kind = "map"
	}
	remove := fmt.Sprintf("delete element %s poplin %s { %s }\n", p.family, set, item[0])
	switch h.rand.IntN(12) {
	case 0, 1, 2:
		return remove
	case 3, 4: // leads somewhere else
		if other := pickOne(h.rand, p.elements[set]); item[1] != "" && other[1] != item[1] {
			return remove + fmt.Sprintf("add element %s poplin %s { %s : %s }\n", p.family, set, item[0], other[1])
		}
		return remove
	case 5: // a service that nobody asked for
		number := 1 + h.rand.IntN(200)
		address := fmt.Sprintf("10.96.250.%d", number)
		if p.family == "ip6" {
			address = fmt.Sprintf("fd00:96::fff%d", number)
		}
		return fmt.Sprintf("add element %[1]s poplin services { %[2]s . tcp . 1 : 0x2 }\nadd element %[1]s poplin cluster-addresses { %[2]s }\n", p.family, address)
	case 6:
		return fmt.Sprintf("flush %s %s poplin %s\n", kind, p.family, set)
	case 7:
		return fmt.Sprintf("flush chain %s poplin %s\n", p.family, chain)
	case 8: // a chain that others point to can go only with them
		return fmt.Sprintf("flush table %[1]s poplin\nflush map %[1]s poplin services\nflush map %[1]s poplin picks\nflush map %[1]s poplin special-services\ndelete chain %[1]s poplin %[2]s\n", p.family, chain)
	case 9:
		return fmt.Sprintf("insert rule %s poplin %s return\n", p.family, chain)
	case 10:
		return fmt.Sprintf("add chain %[1]s poplin mine\nadd set %[1]s poplin theirs { type inet_service; }\n", p.family)
	}
	if h.rand.IntN(4) == 0 {
		return "flush ruleset\n"
	}
	return fmt.Sprintf("delete table %s poplin\n", p.family)
}
