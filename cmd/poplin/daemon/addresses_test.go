package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/poplin-net/poplin/schema"
)

func TestAddressBookSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	book, err := openAddressBook(dir)
	if err != nil || len(book.pods) != 0 {
		t.Fatalf("a new one: %v %v", book, err)
	}
	name := schema.Name{Namespace: "default", Name: "web.1"}
	if err := book.write(map[schema.Name][]netip.Addr{name: addrs("10.244.1.2", "fd00::2")}); err != nil {
		t.Fatal(err)
	}
	again, err := openAddressBook(dir)
	if err != nil || !sameAddresses(book.pods, again.pods) {
		t.Errorf("%v and %v: %v", book.pods, again.pods, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// A book that cannot be read must not be replaced by an empty one: that
// would renumber every pod.
func TestABadAddressBookIsAnError(t *testing.T) {
	for _, text := range []string{"", "{", `{"version": 2}`, `{"version": 1, "pods": {"default/web": ["10.244.1"]}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "pods.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if book, err := openAddressBook(dir); err == nil {
			t.Errorf("%q is read as %v", text, book.pods)
		}
	}
}

func TestSameAddresses(t *testing.T) {
	name := schema.Name{Namespace: "default", Name: "web"}
	of := func(list ...string) map[schema.Name][]netip.Addr {
		return map[schema.Name][]netip.Addr{name: addrs(list...)}
	}
	if !sameAddresses(of("10.0.0.1"), of("10.0.0.1")) || sameAddresses(of("10.0.0.1"), of("10.0.0.2")) ||
		sameAddresses(of("10.0.0.1"), of("10.0.0.1", "fd00::1")) || sameAddresses(of("10.0.0.1"), nil) {
		t.Error("wrong")
	}
}
