package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/poplin-net/poplin/reconciler"
)

// procSys is where settings are. What lies below net shows the network
// namespace of the thread that looks.
const procSys = "/proc/sys"

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(procSys, name))
	return strings.Join(strings.Fields(string(data)), " "), err
}

func writeSysctl(name, value string) error {
	return os.WriteFile(filepath.Join(procSys, name), []byte(value), 0o644)
}

// inNetns runs fn in the namespace of a pod, "" for the host's.
func (t *Target) inNetns(netns string, fn func() error) error {
	if netns == "" {
		return fn()
	}
	p := t.pods[netns]
	if p == nil {
		return fmt.Errorf("netns %s is missing: %w", netns, os.ErrNotExist)
	}
	return inNetwork(p.file, fn)
}

// readSysctls reads the settings of a namespace that are recorded as ours. A
// setting that cannot be read (its link is gone) is missing.
func (t *Target) readSysctls(netns string) []reconciler.Object {
	var mine []sysctlRecord
	for _, r := range t.sysctls.Sysctls {
		if r.Netns == netns && !r.Released {
			mine = append(mine, r)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	var out []reconciler.Object
	_ = t.inNetns(netns, func() error {
		for _, r := range mine {
			if value, err := readSysctl(r.Name); err == nil {
				if r.Name == reservedPorts {
					value = ownPorts(value, r.Value)
				}
				out = append(out, reconciler.Sysctl{Netns: netns, Link: r.Link, Name: r.Name, Value: value})
			}
		}
		return nil
	})
	return out
}

// setSysctl sets a value, after it recorded what was there.
func (t *Target) setSysctl(s reconciler.Sysctl) error {
	return t.inNetns(s.Netns, func() error {
		current, err := readSysctl(s.Name)
		if err != nil {
			return err
		}
		if s.Name == reservedPorts {
			return t.setPorts(s, current)
		}
		record := sysctlRecord{Name: s.Name, Netns: s.Netns, Before: current, Already: current == s.Value}
		old := t.sysctls.find(record.key())
		if old != nil {
			record = *old
		} else if !record.Already {
			record.Sides = readSides(s.Name)
		}
		record.Link, record.Value, record.Released = s.Link, s.Value, false
		if old == nil || old.Link != s.Link || old.Value != s.Value || old.Released {
			if err := t.sysctls.put(record); err != nil {
				return err
			}
		}
		if current == s.Value {
			return nil
		}
		if err := writeSysctl(s.Name, s.Value); err != nil {
			return err
		}
		return t.noteSides(record)
	})
}

// forwards reports whether a setting is a switch that changes the forwarding
// of every interface with it, and for IPv4 accept_redirects as well
// (inet_forward_change in net/ipv4/devinet.c).
func forwards(name string) bool {
	switch name {
	case "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding":
		return true
	}
	return false
}

// readSides reads what the write of a setting is going to change besides.
func readSides(name string) []sideEffect {
	if !forwards(name) {
		return nil
	}
	family := strings.Split(name, "/")[1]
	paths, _ := filepath.Glob(filepath.Join(procSys, "net", family, "conf/*/forwarding"))
	if family == "ipv4" {
		paths = append(paths, filepath.Join(procSys, "net/ipv4/conf/all/accept_redirects"))
	}
	var sides []sideEffect
	for _, path := range paths {
		side := strings.TrimPrefix(path, procSys+"/")
		// conf/all/forwarding is the switch itself.
		if side == "net/"+family+"/conf/all/forwarding" {
			continue
		}
		if value, err := readSysctl(side); err == nil {
			sides = append(sides, sideEffect{Name: side, Before: value})
		}
	}
	return sides
}

// noteSides records the values that the side effects have after the first
// write of their setting.
func (t *Target) noteSides(r sysctlRecord) error {
	if len(r.Sides) == 0 || r.Sides[0].After != "" {
		return nil
	}
	sides := append([]sideEffect(nil), r.Sides...)
	for i := range sides {
		if value, err := readSysctl(sides[i].Name); err == nil {
			sides[i].After = value
		}
	}
	r.Sides = sides
	return t.sysctls.put(r)
}

// dropSysctl puts a setting back and forgets it. A forwarding switch is left
// on unless switches is set: others (a container engine) may rely on it.
func (t *Target) dropSysctl(key reconciler.SysctlKey, switches bool) error {
	found := t.sysctls.find(key)
	if found == nil {
		return nil
	}
	r := *found
	if forwards(r.Name) && !r.Already && !switches && r.Netns == "" {
		r.Released = true
		return t.sysctls.put(r)
	}
	if !r.Already {
		err := t.inNetns(r.Netns, func() error { return putBack(r) })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return t.sysctls.remove(func(s sysctlRecord) bool { return s.key() == key })
}

// putBack writes the values before us, but not over what somebody else set
// since.
func putBack(r sysctlRecord) error {
	if r.Name == reservedPorts {
		return takePorts(r)
	}
	current, err := readSysctl(r.Name)
	if err != nil || current != r.Value {
		return err
	}
	// What the switch is about to change once more, as it is now.
	now := map[string]string{}
	for _, side := range r.Sides {
		if value, err := readSysctl(side.Name); err == nil {
			now[side.Name] = value
		}
	}
	errs := []error{writeSysctl(r.Name, r.Before)}
	for _, side := range r.Sides {
		value, there := now[side.Name]
		if !there {
			continue // its interface is gone
		}
		if value == side.After {
			value = side.Before
		}
		if left, err := readSysctl(side.Name); err == nil && left != value {
			errs = append(errs, writeSysctl(side.Name, value))
		}
	}
	return errors.Join(errs...)
}

// pruneSysctls forgets settings of links that are gone and that nothing asks
// for any more.
func (t *Target) pruneSysctls(desired reconciler.State) error {
	wanted := map[reconciler.SysctlKey]bool{}
	for _, o := range desired.Objects() {
		if s, ok := o.(reconciler.Sysctl); ok {
			wanted[s.Key().(reconciler.SysctlKey)] = true
		}
	}
	return t.sysctls.remove(func(r sysctlRecord) bool {
		if r.Link == "" || r.Netns != "" || wanted[r.key()] {
			return false
		}
		_, err := readSysctl(r.Name)
		return errors.Is(err, os.ErrNotExist)
	})
}
