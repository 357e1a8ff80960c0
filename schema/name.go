package schema

import (
	"fmt"
	"strings"
)

// MarshalText writes the name as NAMESPACE/NAME, so that it can be a key of a
// JSON object.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (n *Name) UnmarshalText(text []byte) error {
	parsed, err := ParseName(string(text))
	*n = parsed
	return err
}

// ParseName reads NAMESPACE/NAME, or NAME alone for the namespace default.
func ParseName(text string) (Name, error) {
	namespace, name, found := strings.Cut(text, "/")
	if !found {
		namespace, name = "default", text
	}
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return Name{}, fmt.Errorf("%q is not a name: NAMESPACE/NAME", text)
	}
	return Name{namespace, name}, nil
}
