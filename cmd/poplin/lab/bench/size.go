//go:build linux

package bench

import (
	"fmt"
	"strings"
)

// Size is how large a tree is.
type Size struct{ Services, Endpoints int }

// String gives the form that ParseSize reads.
func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Services, s.Endpoints) }

// maxServices is what the trees' service range has room for.
const maxServices = 60000

// ParseSize reads SERVICESxENDPOINTS, or SERVICES alone with one endpoint
// each.
func ParseSize(text string) (Size, error) {
	s := Size{Endpoints: 1}
	form := "%d"
	args := []any{&s.Services}
	if strings.Contains(text, "x") {
		form, args = "%dx%d", append(args, &s.Endpoints)
	}
	if _, err := fmt.Sscanf(text, form, args...); err != nil || s.Services < 4 || s.Services > maxServices || s.Endpoints < 1 || s.Endpoints > 100 {
		return s, fmt.Errorf("size %q: want SERVICESxENDPOINTS with 4 to %d services and 1 to 100 endpoints", text, maxServices)
	}
	return s, nil
}

// name is the lab's node for a size.
func (s Size) name() string { return "n-" + s.String() }
