package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Memory is a target that keeps its objects in memory. It is strict: adding
// what is there with another value, changing what is not as the plan says it
// is, or adding what needs something that is missing, is an error. It stands
// in for the kernel in tests of everything above it.
type Memory struct {
	kinds   []Kind
	changes chan struct{}

	mu      sync.Mutex
	objects map[Key]Object
	conf    []Conflict
	fail    map[Key]error
}

// NewMemory makes an empty target for the kinds.
func NewMemory(kinds ...Kind) *Memory {
	return &Memory{kinds: kinds, changes: make(chan struct{}, 1), objects: map[Key]Object{}, fail: map[Key]error{}}
}

// Kinds implements Observer.
func (m *Memory) Kinds() []Kind { return m.kinds }

// Changes implements Target.
func (m *Memory) Changes() <-chan struct{} { return m.changes }

// Observe implements Observer. All objects are in one group.
func (m *Memory) Observe(context.Context) (Observation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := &Group{Name: "memory"}
	for _, o := range m.objects {
		g.Objects = append(g.Objects, o)
	}
	return Observation{State: NewState(g), Conflicts: slices.Clone(m.conf)}, nil
}

// Apply implements Target.
func (m *Memory) Apply(ctx context.Context, plan Plan, _ State) error {
	return Each(ctx, plan, func(_ context.Context, op Op) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.apply(op)
	})
}

func (m *Memory) apply(op Op) error {
	key := op.Object().Key()
	if !slices.Contains(m.kinds, op.Object().Kind()) {
		return fmt.Errorf("kind %s is not of this target", op.Object().Kind())
	}
	if err := m.fail[key]; err != nil {
		return err
	}
	have := m.objects[key]
	switch {
	case op.Verb == Delete:
		delete(m.objects, key)
		return nil
	case op.Verb == Add && have != nil && have != op.After:
		return fmt.Errorf("there already: %s", have)
	case op.Verb == Change && have != op.Before:
		return errors.New("is not what the plan says it is")
	}
	for _, need := range op.After.Needs() {
		if _, ok := m.objects[need]; !ok && m.holds(need) {
			return fmt.Errorf("needs %v, which is missing", need)
		}
	}
	m.objects[key] = op.After
	return nil
}

// holds reports whether a key is of one of the target's kinds.
func (m *Memory) holds(key Key) bool {
	var kind Kind
	switch key.(type) {
	case NamespaceKey:
		kind = KindNamespace
	case LinkKey:
		kind = KindLink
	case TunnelKey:
		kind = KindTunnel
	case WireGuardKey:
		kind = KindWireGuard
	case TableKey:
		kind = KindTable
	}
	return slices.Contains(m.kinds, kind)
}

// Put plays somebody else who sets an object, and Remove one who removes it.
// Both signal a change.
func (m *Memory) Put(o Object) {
	m.mu.Lock()
	m.objects[o.Key()] = o
	m.mu.Unlock()
	signal(m.changes)
}

// Remove plays somebody else who removes the object of a key.
func (m *Memory) Remove(key Key) {
	m.mu.Lock()
	delete(m.objects, key)
	m.mu.Unlock()
	signal(m.changes)
}

// Fail makes every operation on the key fail with err, until err is nil.
func (m *Memory) Fail(key Key, err error) {
	m.mu.Lock()
	m.fail[key] = err
	m.mu.Unlock()
}

// Conflicts sets what Observe reports as conflicts.
func (m *Memory) Conflicts(c ...Conflict) {
	m.mu.Lock()
	m.conf = c
	m.mu.Unlock()
}

// signal puts a value into a channel of size one unless one is waiting.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
