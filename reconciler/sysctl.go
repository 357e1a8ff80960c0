package reconciler

// Sysctl is a kernel setting below /proc/sys that poplin needs at a value.
type Sysctl struct {
	Netns string // "" for the host
	Link  string // the link that the setting belongs to, if any
	Name  string // path below /proc/sys: net/ipv4/ip_forward
	Value string
}

// SysctlKey identifies a Sysctl.
type SysctlKey struct{ Netns, Name string }

func (s Sysctl) Kind() Kind { return KindSysctl }
func (s Sysctl) Key() Key   { return SysctlKey{s.Netns, s.Name} }

func (s Sysctl) Needs() []Key {
	if s.Link != "" {
		return []Key{LinkKey{s.Netns, s.Link}}
	}
	if s.Netns != "" {
		return []Key{NamespaceKey{s.Netns}}
	}
	return nil
}

func (s Sysctl) String() string {
	text := "sysctl " + inNetns(s.Netns) + s.Name + "=" + s.Value
	if s.Link != "" {
		text += " dev " + s.Link
	}
	return text
}
