package linux

import (
	"math/rand/v2"
	"testing"
)

func TestPortsSurviveTheirText(t *testing.T) {
	for _, text := range []string{"", "0", "65535", "0-65535", "1,3-4,6", "8080,30000-32767"} {
		s, err := parsePorts(text)
		if err != nil || s.String() != text {
			t.Errorf("%q became %q, %v", text, s, err)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var s portSet
		for range 40 {
			s[r.IntN(len(s))] = r.Uint64()
		}
		again, err := parsePorts(s.String())
		if err != nil || again != s {
			t.Fatalf("%s became %s, %v", s, again, err)
		}
	}
	for _, text := range []string{"x", "1-", "-1", "70000", "1-70000"} {
		if _, err := parsePorts(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
