package overlay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/poplin-net/poplin/overlay/durable"
)

// stateVersion is the format of every file in the state directory. Fields
// are only added; a greater version is refused, not guessed at.
const stateVersion = 1

// The files, below the state directory.
const (
	fileIdentity   = "node-id"
	fileGeneration = "generation"
	fileClaims     = "claims"
	fileLedger     = "ledger"
)

type identityFile struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Birth   Stamp  `json:"birth"`
	Node    string `json:"node"`
	Machine string `json:"machine"` // hash of the machine-id
}

type generationFile struct {
	Version    int    `json:"version"`
	Generation uint64 `json:"generation"`
}

type claimsFile struct {
	Version  int           `json:"version"`
	ID       string        `json:"id"`
	Claims   []ClaimStatus `json:"claims"`
	Replaces []string      `json:"replaces,omitempty"`
}

type ledgerFile struct {
	Version    int         `json:"version"`
	Entries    []Entry     `json:"entries,omitempty"`
	Tombstones []Tombstone `json:"tombstones,omitempty"`
	Records    []Record    `json:"records,omitempty"`
	// Roster is the one last seen, and Departed who left it: their claims
	// are buried wherever they turn up.
	Roster   []string `json:"roster,omitempty"`
	Departed []string `json:"departed,omitempty"`
	// Peers reports that somebody else was heard of once, so that --bootstrap
	// no longer counts.
	Peers  bool     `json:"peers,omitempty"`
	Failed []string `json:"failed,omitempty"` // peers that were silent when it was written
}

// disk is everything that the state directory holds of gossip.
type disk struct {
	identity   identityFile
	generation uint64
	claims     claimsFile
	ledger     ledgerFile
}

// readDisk reads the state directory. What is missing is empty; what cannot
// be read is an error that names the file.
func readDisk(dir string) (disk, error) {
	var d disk
	var generation generationFile
	for name, into := range map[string]any{
		fileIdentity: &d.identity, fileGeneration: &generation, fileClaims: &d.claims, fileLedger: &d.ledger,
	} {
		if err := readJSON(filepath.Join(dir, name), into); err != nil {
			return disk{}, err
		}
	}
	if d.identity.ID != "" && !validID(d.identity.ID) {
		return disk{}, fmt.Errorf("%s: not 32 hexadecimal digits", filepath.Join(dir, fileIdentity))
	}
	d.generation = generation.Generation
	return d, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var version struct{ Version int }
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("%s: %w (remove the file to start without it)", path, err)
	}
	if version.Version != stateVersion {
		return fmt.Errorf("%s: version %d, this release reads %d", path, version.Version, stateVersion)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w (remove the file to start without it)", path, err)
	}
	return nil
}

// writeJSON replaces a file durably.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return durable.Replace(path, append(data, '\n'))
}

// newID makes 16 random bytes, as hexadecimal digits.
func newID() string { return randomHex(idLength / 2) }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// machineHash hashes the machine-id, which must not leave the machine as it
// is (machine-id(5)); "" if there is none.
func machineHash(path string) string {
	data, err := os.ReadFile(path)
	id := strings.TrimSpace(string(data))
	if err != nil || id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("poplin " + id))
	return hex.EncodeToString(sum[:16])
}
