package linux

import (
	"maps"
	"sync"
)

// marks say what of the last observation may be out of date.
type marks struct {
	host     bool // links, addresses, routes of the host
	dir      bool // the directory of namespaces
	sysctls  bool // the host's
	proxies  bool // proxy neighbours
	underlay bool
	files    bool
	allPods  bool
	pods     map[string]bool
}

func (m *marks) everything() {
	m.host, m.dir, m.sysctls, m.proxies, m.underlay, m.files, m.allPods = true, true, true, true, true, true, true
}

// pod marks a pod's namespace; "" is none.
func (m *marks) pod(name string) {
	if name == "" {
		return
	}
	if m.pods == nil {
		m.pods = map[string]bool{}
	}
	m.pods[name] = true
}

func (m *marks) add(o marks) {
	m.host = m.host || o.host
	m.dir = m.dir || o.dir
	m.sysctls = m.sysctls || o.sysctls
	m.proxies = m.proxies || o.proxies
	m.underlay = m.underlay || o.underlay
	m.files = m.files || o.files
	m.allPods = m.allPods || o.allPods
	for name := range maps.Keys(o.pods) {
		m.pod(name)
	}
}

func (m marks) empty() bool {
	return !m.host && !m.dir && !m.sysctls && !m.proxies && !m.underlay && !m.files && !m.allPods && len(m.pods) == 0
}

// dirt collects marks from several goroutines.
type dirt struct {
	mu    sync.Mutex
	marks marks
}

func (d *dirt) put(m marks) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marks.add(m)
}

// take returns the marks and clears them.
func (d *dirt) take() marks {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.marks
	d.marks = marks{}
	return m
}

// underlay reports whether the mark of the underlay is set.
func (d *dirt) underlay() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marks.underlay
}

// takeUnderlay clears the mark of the underlay alone and reports whether it
// was set.
func (d *dirt) takeUnderlay() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	set := d.marks.underlay
	d.marks.underlay = false
	return set
}
