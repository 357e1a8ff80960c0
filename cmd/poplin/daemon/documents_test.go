package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// shelf is a synced directory and what a daemon makes of it.
type shelf struct {
	t         *testing.T
	dir       string
	state     string
	documents *documents
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t, dir: t.TempDir(), state: t.TempDir()}
	s.restart()
	return s
}

// restart makes the documents anew, as a daemon does at its start.
func (s *shelf) restart() {
	s.t.Helper()
	d, err := newDocuments(slog.New(slog.NewTextHandler(s.t.Output(), nil)), s.state)
	if err != nil {
		s.t.Fatal(err)
	}
	d.restore()
	s.documents = d
}

// put replaces the directory's content.
func (s *shelf) put(files map[string]string) {
	s.t.Helper()
	old, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// offer reads the directory and offers what is there.
func (s *shelf) offer(revision string) bool {
	s.t.Helper()
	tree, err := source.Read(s.dir)
	if err != nil && !errors.Is(err, source.ErrEmpty) {
		s.t.Fatal(err)
	}
	tree.Revision = revision
	changed := s.documents.offer(source.Snapshot{Tree: tree, State: source.StateOK})
	s.documents.keep()
	return changed
}

// want checks what is followed, rejected and held back, each by its name.
func (s *shelf) want(current, rejected, held string) {
	s.t.Helper()
	state := s.documents.state()
	got := [3]string{}
	if state.current != nil {
		got[0] = state.current.ID
	}
	if state.rejected != nil {
		got[1] = state.rejected.Revision
	}
	if state.held != nil {
		got[2] = state.held.Revision
	}
	if want := [3]string{current, rejected, held}; got != want {
		s.t.Errorf("current, rejected, held: %q, want %q", got, want)
	}
}

const clusterText = `apiVersion: poplin/v1alpha1
kind: Cluster
metadata: {name: c%s}
spec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]}
`

// files is a tree with a Cluster and some pods.
func files(pods int) map[string]string {
	out := map[string]string{"cluster.yaml": fmt.Sprintf(clusterText, "")}
	for i := range pods {
		out[fmt.Sprintf("pod-%d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {nodeName: node-1}\n", i)
	}
	return out
}

func TestARevisionIsAcceptedOnce(t *testing.T) {
	s := newShelf(t)
	s.want("", "", "")
	s.put(files(2))
	if !s.offer("r1") {
		t.Error("nothing changed, with the first revision")
	}
	s.want("r1", "", "")
	config := s.documents.now().Config
	if s.offer("r1") || s.documents.now().Config != config {
		t.Error("the same revision changed something")
	}
	s.put(files(3))
	if !s.offer("r2") || len(s.documents.now().Config.Pods) != 3 {
		t.Error("the second revision changed nothing")
	}
	s.want("r2", "", "")
}

func TestABadRevisionKeepsTheCurrentOne(t *testing.T) {
	s := newShelf(t)
	s.put(files(2))
	s.offer("r1")
	bad := files(2)
	bad["pod-0.yaml"] = "apiVersion: v1\nkind: Pod\nmetadata: {name: p0}\nspec: {nodeName: node-1, frob: 1}\n"
	s.put(bad)
	if !s.offer("r2") {
		t.Error("a rejection is a change: status must say it")
	}
	s.want("r1", "r2", "")
	if got := firstError(s.documents.state().rejected.Diagnostics); !strings.HasPrefix(got, "pod-0.yaml:4: ") {
		t.Errorf("first error: %q", got)
	}
	if s.offer("r2") {
		t.Error("the same rejection twice is no change")
	}
	s.restart()
	s.want("r1", "", "") // the last good copy, until the directory is read
	s.offer("r2")
	s.want("r1", "r2", "")

	s.put(files(2))
	if !s.offer("r3") {
		t.Error("the way back from a bad revision is a change")
	}
	s.want("r3", "", "")
	s.put(bad)
	if !s.offer("r4") {
		t.Error("the same bad content again was not rejected again")
	}
	s.want("r3", "r4", "")
}

func TestNothingToReadKeepsTheCurrentRevision(t *testing.T) {
	s := newShelf(t)
	s.put(files(2))
	s.offer("r1")
	if s.documents.offer(source.Snapshot{State: source.StateMissing, Problem: "gone"}) {
		t.Error("a directory that is missing changed something")
	}
	s.want("r1", "", "")
	if got := s.documents.state().source.State; got != source.StateMissing {
		t.Errorf("state of the source: %v", got)
	}
}

func TestFilesWithoutDocumentsAreAnEmptySource(t *testing.T) {
	s := newShelf(t)
	s.put(files(2))
	s.offer("r1")
	s.put(map[string]string{"notes.yaml": "# later\n---\n"})
	if s.offer("r2") {
		t.Error("something changed")
	}
	s.want("r1", "", "")
	if got := s.documents.state().source; got.State != source.StateEmpty || !strings.Contains(got.Problem, "no documents") {
		t.Errorf("state %s, problem %q", got.State, got.Problem)
	}
	pods := files(2)
	delete(pods, "cluster.yaml")
	s.put(pods)
	s.offer("r3")
	s.want("r1", "r3", "")
	if got := firstError(s.documents.state().rejected.Diagnostics); !strings.HasPrefix(got, "no document of kind Cluster") {
		t.Errorf("first error: %q", got)
	}
}

func TestAnotherNameForTheSameContentIsNoNewConfig(t *testing.T) {
	s := newShelf(t)
	s.put(files(2))
	s.offer("r1")
	config := s.documents.now().Config
	if !s.offer("r2") || s.documents.now().Config != config {
		t.Error("another commit of the same content: a change of the name, and of nothing else")
	}
	s.want("r2", "", "")
	s.restart()
	s.want("r2", "", "")
}

func TestARevisionThatRemovesMuchIsHeldBack(t *testing.T) {
	s := newShelf(t)
	s.put(files(20))
	s.offer("r1")
	s.put(files(5))
	if !s.offer("r2") {
		t.Error("holding back is a change: status must say it")
	}
	s.want("r1", "", "r2")
	if s.offer("r2") {
		t.Error("the same revision held back twice is no change")
	}
	if err := s.documents.ack("r9"); err == nil || !strings.Contains(err.Error(), "r2") {
		t.Errorf("ack of another revision: %v", err)
	}
	s.restart()
	s.want("r1", "", "")
	s.offer("r2")
	s.want("r1", "", "r2")
	if err := s.documents.ack("r2"); err != nil {
		t.Fatal(err)
	}
	s.want("r2", "", "")
	if err := s.documents.ack("r2"); err == nil {
		t.Error("ack with nothing held back")
	}
	s.restart()
	s.want("r2", "", "")
}

func TestWhatIsHeldBackGivesWay(t *testing.T) {
	s := newShelf(t)
	s.put(files(20))
	s.offer("r1")
	s.put(files(5))
	s.offer("r2")
	s.put(files(20))
	s.offer("r3")
	s.want("r3", "", "") // back to what it was
	s.put(files(5))
	s.offer("r4")
	bad := files(5)
	bad["cluster.yaml"] = "kind: Cluster\n"
	s.put(bad)
	s.offer("r5")
	s.want("r3", "r5", "") // invalid now
	s.put(files(19))
	s.offer("r6")
	s.want("r6", "", "")
}

func TestAnotherClusterIsRejected(t *testing.T) {
	s := newShelf(t)
	s.put(files(1))
	s.offer("r1")
	other := files(1)
	other["cluster.yaml"] = fmt.Sprintf(clusterText, "-other")
	s.put(other)
	s.offer("r2")
	s.want("r1", "r2", "")
	if got := firstError(s.documents.state().rejected.Diagnostics); !strings.Contains(got, "poplin cleanup") {
		t.Errorf("no way out is named: %q", got)
	}
}

func TestACorruptCopyIsReported(t *testing.T) {
	s := newShelf(t)
	s.put(files(1))
	s.offer("r1")
	copies, err := filepath.Glob(filepath.Join(s.state, "*", "*.tar"))
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: %v %v", copies, err)
	}
	if err := os.WriteFile(copies[0], []byte("no tar"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.want("", "", "")
	if s.documents.state().problem == "" {
		t.Error("no problem is reported")
	}
	s.offer("r1")
	s.want("r1", "", "")
	if problem := s.documents.state().problem; problem != "" {
		t.Errorf("still: %s", problem)
	}
}

func TestGuard(t *testing.T) {
	parse := func(count int, spec, annotation string) *schema.Config {
		tree := files(count)
		tree["cluster.yaml"] = fmt.Sprintf("apiVersion: poplin/v1alpha1\nkind: Cluster\nmetadata: {name: c, annotations: {%s}}\nspec: {podCIDRs: [10.244.0.0/16], serviceCIDRs: [10.96.0.0/16]%s}\n", annotation, spec)
		return configOf(t, tree)
	}
	for _, c := range []struct {
		name          string
		before, after int
		spec          string
		annotation    string // of the revision after
		held          bool
	}{
		{"nothing goes", 20, 20, "", "", false},
		{"documents come", 5, 20, "", "", false},
		{"half may go", 20, 10, "", "", false},
		{"more may not", 20, 9, "", "", true},
		{"five always may", 5, 0, "", "", false},
		{"also where the limit is lower", 20, 15, ", removalLimit: 0", "", false},
		{"six may not", 20, 14, ", removalLimit: 0", "", true},
		{"a number", 20, 13, ", removalLimit: 7", "", false},
		{"one more than the number", 20, 12, ", removalLimit: 7", "", true},
		{"a percentage", 20, 4, ", removalLimit: 80%", "", false},
		{"allowed by annotation", 20, 1, "", `poplin/allow-removal: "19"`, false},
		{"too few allowed", 20, 1, "", `poplin/allow-removal: "18"`, true},
	} {
		reason := guard(parse(c.before, c.spec, ""), parse(c.after, c.spec, c.annotation))
		if (reason != "") != c.held {
			t.Errorf("%s: %q", c.name, reason)
		}
	}
	same := `poplin/allow-removal: "19"`
	if guard(parse(20, "", same), parse(1, "", same)) == "" {
		t.Error("an allowance counts in the revision that brings it, not for ever")
	}
}

func TestGuardCountsEveryKind(t *testing.T) {
	before := configOf(t, map[string]string{"all.yaml": fmt.Sprintf(clusterText, "") + `---
apiVersion: poplin/v1alpha1
kind: Node
metadata: {name: a}
spec: {addresses: [192.0.2.1]}
---
apiVersion: poplin/v1alpha1
kind: Subnet
metadata: {name: a}
spec: {cidrs: [10.244.1.0/24], node: a}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: a}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [198.51.100.1]}]
`})
	gone, total := removed(before, configOf(t, map[string]string{"all.yaml": fmt.Sprintf(clusterText, "")}))
	if gone != 5 || total != 5 {
		t.Errorf("%d of %d documents", gone, total)
	}
}

func configOf(t *testing.T, files map[string]string) *schema.Config {
	t.Helper()
	parser, err := schema.NewParser()
	if err != nil {
		t.Fatal(err)
	}
	var list []schema.File
	for path, content := range files {
		list = append(list, schema.File{Path: path, Content: []byte(content)})
	}
	slices.SortFunc(list, func(a, b schema.File) int { return strings.Compare(a.Path, b.Path) })
	config, diagnostics := parser.Parse(list)
	if config == nil {
		t.Fatalf("%+v", diagnostics)
	}
	return config
}
