package overlay

import (
	"maps"
	"slices"
	"time"
)

// How often the ledger file is written at most: when claims changed, and
// when only what peers say of themselves did.
const (
	saveClaimsEvery  = time.Second
	saveRecordsEvery = time.Minute
)

func (c *core) saveIdentity() error {
	c.identity.Version = stateVersion
	c.identity.Birth = c.claimer.birth
	return writeJSON(c.path(fileIdentity), c.identity)
}

// saveClaims writes what the claimer decided: nothing of it is announced
// before this has succeeded.
func (c *core) saveClaims() error {
	if c.claimer.birth != c.identity.Birth {
		if err := c.saveIdentity(); err != nil {
			return err
		}
	}
	return writeJSON(c.path(fileClaims), claimsFile{stateVersion, c.identity.ID, c.claimer.claims, c.claimer.replaces})
}

func (c *core) saveLedger() error {
	f := ledgerFile{
		Version: stateVersion, Tombstones: c.ledger.tombstones(), Roster: c.roster,
		Departed: slices.Sorted(maps.Keys(c.departed)), Peers: c.heardOf,
	}
	for _, key := range slices.SortedFunc(maps.Keys(c.ledger.entries), compareKeys) {
		f.Entries = append(f.Entries, c.ledger.entries[key])
	}
	f.Records = c.records.sorted()
	for name := range c.peerNames() {
		if state, _ := c.liveness(name, c.now()); state == PeerFailed {
			f.Failed = append(f.Failed, name)
		}
	}
	slices.Sort(f.Failed)
	return writeJSON(c.path(fileLedger), f)
}

// save writes the ledger if it is due. A failure is a problem to show, and
// is tried again.
func (c *core) save(now time.Time) {
	since := now.Sub(c.saved)
	if !(c.unsaved && since >= saveClaimsEvery) && !(c.unsavedPod && since >= saveRecordsEvery) {
		return
	}
	c.saved = now
	c.diskError = c.saveLedger()
	if c.diskError == nil {
		c.unsaved, c.unsavedPod = false, false
	}
}
