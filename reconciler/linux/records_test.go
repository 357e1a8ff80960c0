package linux_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/reconciler/linux"
)

func TestRecordsThatCannotBeRead(t *testing.T) {
	for _, file := range []string{"sysctls.json", "namespaces.json"} {
		for content, want := range map[string]string{
			`{"version": 2}`:                  "newer release",
			`{"version": 1, "sysctls": [{}, `: "unexpected end",
		} {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
			_, err := linux.New(linux.Options{Cluster: "test", StateDir: dir})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s with %s: %v", file, content, err)
			}
		}
	}
}
