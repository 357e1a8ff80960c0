package linux

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/poplin-net/poplin/reconciler"
)

// reservedPorts is a setting that is a list of ports, which several share:
// poplin adds its own to what is there, and takes out only what it added.
const reservedPorts = "net/ipv4/ip_local_reserved_ports"

// portSet is a set of ports, a bit for each.
type portSet [1 << 16 / 64]uint64

// parsePorts reads the kernel's form: 8080,30000-32767.
func parsePorts(text string) (portSet, error) {
	var out portSet
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return out, fmt.Errorf("ports %q: %w", text, err)
		}
		b, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return out, fmt.Errorf("ports %q: %w", text, err)
		}
		for port := a; port <= b; port++ {
			out[port/64] |= 1 << (port % 64)
		}
	}
	return out, nil
}

// String gives the kernel's form.
func (s portSet) String() string {
	var parts []string
	for port := 0; port < 1<<16; port++ {
		first := port
		for port < 1<<16 && s[port/64]>>(port%64)&1 == 1 {
			port++
		}
		switch port - first {
		case 0:
		case 1:
			parts = append(parts, strconv.Itoa(first))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", first, port-1))
		}
	}
	return strings.Join(parts, ",")
}

func (s portSet) combine(o portSet, f func(a, b uint64) uint64) portSet {
	for i := range s {
		s[i] = f(s[i], o[i])
	}
	return s
}

func (s portSet) and(o portSet) portSet {
	return s.combine(o, func(a, b uint64) uint64 { return a & b })
}

func (s portSet) or(o portSet) portSet {
	return s.combine(o, func(a, b uint64) uint64 { return a | b })
}

func (s portSet) minus(o portSet) portSet {
	return s.combine(o, func(a, b uint64) uint64 { return a &^ b })
}

// parseAll parses several lists.
func parseAll(texts ...string) ([]portSet, error) {
	out := make([]portSet, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = parsePorts(text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ownPorts gives those of the wanted ports that are in a list.
func ownPorts(current, wanted string) string {
	sets, err := parseAll(current, wanted)
	if err != nil {
		return current
	}
	own := sets[0].and(sets[1])
	if own == sets[1] {
		return wanted // in whatever form it was written
	}
	return own.String()
}

// otherPorts gives a list without the ports that a record says we added to
// it.
func otherPorts(current string, r *sysctlRecord) (portSet, error) {
	if r == nil {
		return parsePorts(current)
	}
	sets, err := parseAll(current, r.Value, r.Before)
	if err != nil {
		return portSet{}, err
	}
	return sets[0].minus(sets[1].minus(sets[2])), nil
}

// setPorts adds ports to the list. The record's Before holds those of them
// that were there without us.
func (t *Target) setPorts(s reconciler.Sysctl, current string) error {
	others, err := otherPorts(current, t.sysctls.find(s.Key().(reconciler.SysctlKey)))
	if err != nil {
		return err
	}
	wanted, err := parsePorts(s.Value)
	if err != nil {
		return err
	}
	record := sysctlRecord{Name: s.Name, Netns: s.Netns, Value: s.Value, Before: others.and(wanted).String()}
	if err := t.sysctls.put(record); err != nil {
		return err
	}
	return writePorts(s.Name, others.or(wanted), current)
}

// takePorts takes the ports of a record out of the list again.
func takePorts(r sysctlRecord) error {
	current, err := readSysctl(r.Name)
	if err != nil {
		return err
	}
	others, err := otherPorts(current, &r)
	if err != nil {
		return err
	}
	return writePorts(r.Name, others, current)
}

func writePorts(name string, ports portSet, current string) error {
	if ports.String() == current {
		return nil
	}
	return writeSysctl(name, ports.String()+"\n") // nothing at all would change nothing
}
