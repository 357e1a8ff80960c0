package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/poplin-net/poplin/cmd/poplin/api"
	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// revision is an accepted state of the documents.
type revision struct {
	Config   *schema.Config
	ID       string // for people: main@4f2c9e1
	Digest   string
	Accepted time.Time
	// Offered is when the source handed its snapshot over; zero where none did.
	Offered time.Time
}

// documents decides which revision the node follows: the last one that was
// valid, that no guard holds back, and that is of the cluster we are in.
type documents struct {
	log    *slog.Logger
	parser *schema.Parser
	store  source.Store

	mu       sync.Mutex
	current  *revision
	rejected *api.Rejected
	refused  string // digest of what rejected is about
	held     *heldRevision
	source   source.Snapshot
	problem  string // of the last good copy
	unsaved  *source.Tree

	keeping sync.Mutex   // while the copy is written; before mu
	kept    *source.Tree // what this process wrote last; with keeping
}

// heldRevision waits for an acknowledgement.
type heldRevision struct {
	next   *revision
	tree   source.Tree
	reason string
}

func newDocuments(log *slog.Logger, stateDir string) (*documents, error) {
	parser, err := schema.NewParser()
	if err != nil {
		return nil, err
	}
	return &documents{log: log, parser: parser, store: source.Store{Dir: stateDir}, source: source.Snapshot{State: source.StateWaiting}}, nil
}

// restore goes on with the last good copy, if there is one.
func (d *documents) restore() {
	tree, ok, err := d.store.Load()
	if err == nil && !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.problem = fmt.Sprintf("the last good copy of the documents cannot be read: %v", err)
		d.log.Error("last good copy", "error", err)
		return
	}
	config, diagnostics := d.parser.Parse(tree.Files)
	if config == nil {
		d.problem = fmt.Sprintf("the last good copy of the documents is not valid any more: %d errors", diagnostics.Errors())
		return
	}
	d.current = &revision{Config: config, ID: tree.Label(), Digest: tree.Digest, Accepted: time.Now()}
	d.log.Info("revision restored", "revision", d.current.ID)
}

// offer takes what the source found, and reports whether anything that a
// round depends on changed. One goroutine calls it.
func (d *documents) offer(s source.Snapshot) bool {
	started := time.Now()
	tree := s.Tree
	known, changed := d.recognise(s)
	if known {
		return changed
	}
	// Parsing a large tree takes seconds, in which status must answer.
	config, diagnostics := d.parser.Parse(tree.Files)
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.State == source.StateOK && d.parser.Counts().Documents == 0 && !placed(diagnostics) {
		d.source.State = source.StateEmpty
		d.source.Problem = fmt.Sprintf("%v: the files in %s hold no documents", source.ErrEmpty, tree.Resolved)
		return false
	}
	if config != nil && d.current != nil {
		diagnostics = append(diagnostics, otherCluster(d.current.Config, config)...)
	}
	if diagnostics.Errors() > 0 {
		return d.reject(tree, diagnostics)
	}
	next := &revision{Config: config, ID: tree.Label(), Digest: tree.Digest, Accepted: time.Now(), Offered: started}
	if d.current != nil {
		if reason := guard(d.current.Config, config); reason != "" {
			d.held, d.rejected = &heldRevision{next, tree, reason}, nil
			d.log.Warn("guard holding", "revision", next.ID, "reason", reason)
			return true
		}
	}
	d.accept(next, tree)
	return true
}

// recognise handles a tree that was seen before, or none.
func (d *documents) recognise(s source.Snapshot) (known, changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.source = s
	switch digest := s.Tree.Digest; {
	case digest == "":
		return true, false
	case d.current != nil && d.current.Digest == digest:
		return true, d.relabel(s.Tree)
	case d.held != nil && d.held.next.Digest == digest:
		return true, false
	case d.rejected != nil && d.refused == digest:
		return true, false
	}
	return false, false
}

// relabel handles a tree whose content is the one that is followed already:
// another commit of it, or the way back from a bad one.
func (d *documents) relabel(tree source.Tree) bool {
	changed := d.rejected != nil || d.held != nil || d.current.ID != tree.Label()
	d.rejected, d.held = nil, nil
	if changed {
		next := *d.current
		next.ID = tree.Label()
		d.current = &next
	}
	d.problem, d.unsaved = "", &tree
	return changed
}

func (d *documents) reject(tree source.Tree, diagnostics schema.Diagnostics) bool {
	d.refused = tree.Digest
	d.rejected, d.held = &api.Rejected{Revision: tree.Label(), Diagnostics: diagnostics}, nil
	d.log.Warn("revision rejected", "revision", tree.Label(), "errors", diagnostics.Errors(), "first", firstError(diagnostics))
	return true
}

func (d *documents) accept(next *revision, tree source.Tree) {
	d.current, d.rejected, d.held = next, nil, nil
	d.problem, d.unsaved = "", &tree
	d.log.Info("revision accepted", "revision", next.ID, "digest", next.Digest, "files", next.Config.Files, "documents", next.Config.Documents)
}

// keep writes the last good copy, if what is followed is not in it yet. That
// takes as long as the tree is large, so the host matches it first. A disk
// that is full does not keep the node from following the documents; status
// says so.
func (d *documents) keep() {
	d.keeping.Lock()
	defer d.keeping.Unlock()
	d.mu.Lock()
	tree := d.unsaved
	d.mu.Unlock()
	if tree == nil {
		return
	}
	err := d.write(tree)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unsaved != tree {
		return // by now another one is to be kept
	}
	if err != nil {
		d.problem = fmt.Sprintf("the last good copy of the documents cannot be kept: %v", err)
		d.log.Error("last good copy", "error", err)
		return
	}
	d.unsaved, d.problem = nil, ""
}

// write writes a tree over the copy, unless that is it already.
func (d *documents) write(tree *source.Tree) error {
	before := d.kept
	d.kept = nil
	var err error
	switch {
	case before == nil:
		err = d.store.Save(*tree)
	case !before.SameVersion(*tree):
		err = d.store.Replace(*tree)
	}
	if err == nil {
		d.kept = tree
	}
	return err
}

// toKeep reports whether there is something for keep to do.
func (d *documents) toKeep() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unsaved != nil
}

// ack lets the held-back revision through, named by its identifier or digest.
func (d *documents) ack(id string) error {
	if err := d.letThrough(id); err != nil {
		return err
	}
	d.keep() // so that nobody is asked again
	return nil
}

func (d *documents) letThrough(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.held == nil:
		return fmt.Errorf("no revision is held back")
	case id != d.held.next.ID && id != d.held.next.Digest && id != d.held.tree.Revision:
		return fmt.Errorf("revision %s is held back, not %s", d.held.next.ID, id)
	}
	d.accept(d.held.next, d.held.tree)
	return nil
}

// now returns the revision that is followed, or nil.
func (d *documents) now() *revision {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// documentsState is what status says of the documents.
type documentsState struct {
	current  *revision
	rejected *api.Rejected
	held     *api.HeldBack
	source   source.Snapshot
	problem  string
}

func (d *documents) state() documentsState {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := documentsState{current: d.current, rejected: d.rejected, source: d.source, problem: d.problem}
	if d.held != nil {
		s.held = &api.HeldBack{Revision: d.held.next.ID, Reason: d.held.reason}
	}
	return s
}

// placed reports whether any of the diagnostics is about something in a file.
func placed(diagnostics []schema.Diagnostic) bool {
	return slices.ContainsFunc(diagnostics, func(d schema.Diagnostic) bool { return d.File != "" })
}

// firstError formats the first error of a list as FILE:LINE: MESSAGE, or as
// MESSAGE if it is about the tree as a whole.
func firstError(diagnostics []schema.Diagnostic) string {
	for _, d := range diagnostics {
		if d.Severity == schema.Error && d.File == "" {
			return d.Message
		}
		if d.Severity == schema.Error {
			return fmt.Sprintf("%s:%d: %s", d.File, d.Line, d.Message)
		}
	}
	return ""
}
