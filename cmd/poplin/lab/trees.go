//go:build linux

package lab

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/poplin-net/poplin/schema"
	"github.com/poplin-net/poplin/schema/source"
)

// treeQuiet is how long a tree must be quiet before the servers follow it:
// less than the daemons wait, so that servers are there first.
const treeQuiet = 200 * time.Millisecond

// trees follows the directories of documents for the servers. Like the
// daemons it keeps the last good version of each.
type trees struct {
	log *slog.Logger

	mu      sync.Mutex
	configs map[string]*schema.Config // by directory; nil: none yet
	readers []chan struct{}
}

func newTrees(hosts []Host, log *slog.Logger) *trees {
	t := &trees{log: log, configs: map[string]*schema.Config{}}
	for _, h := range hosts {
		if h.Tree != "" {
			t.configs[h.Tree] = nil
		}
	}
	return t
}

// subscribe gives a channel of size one that is kicked at every change.
func (t *trees) subscribe() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := make(chan struct{}, 1)
	t.readers = append(t.readers, c)
	return c
}

// config gives the last good version of a directory; nil if there is none.
func (t *trees) config(dir string) *schema.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.configs[dir]
}

// run follows all directories until the context ends.
func (t *trees) run(ctx context.Context) error {
	var following sync.WaitGroup
	t.mu.Lock()
	for dir := range t.configs {
		following.Go(func() { t.follow(ctx, dir) })
	}
	t.mu.Unlock()
	<-ctx.Done()
	following.Wait()
	return nil
}

func (t *trees) follow(ctx context.Context, dir string) {
	parser, err := schema.NewParser()
	if err != nil {
		t.log.Error("servers", "tree", dir, "error", err)
		return
	}
	watcher := source.New(source.Options{Root: dir, Quiet: treeQuiet, Log: t.log})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = watcher.Run(ctx) // returns nil only
	}()
	defer func() { <-done }()
	digest := ""
	for {
		if tree := watcher.Latest().Tree; tree.Digest != digest {
			digest = tree.Digest
			if config, _ := parser.Parse(tree.Files); config != nil {
				t.publish(dir, config)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-watcher.Changes():
		}
	}
}

func (t *trees) publish(dir string, config *schema.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.configs[dir] = config
	for _, c := range t.readers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
