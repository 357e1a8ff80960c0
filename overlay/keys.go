package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// keyLength is the length of a gossip key in bytes (AES-256).
const keyLength = 32

// ReadKeys reads a key file: one base64 key of 32 bytes a line, the first
// one encrypts, lines that start with # are comments. A file that everybody
// may read or write is refused.
func ReadKeys(path string) ([][]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets everybody read the key; run: chmod o= %s", path, mode, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != keyLength {
			return nil, fmt.Errorf("%s:%d: not a base64 key of %d bytes", path, i+1, keyLength)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no key in it", path)
	}
	return keys, nil
}

// KeyDigest names a key without telling it: 8 hexadecimal digits.
func KeyDigest(key []byte) string {
	sum := sha256.Sum256(append([]byte("poplin gossip key "), key...))
	return hex.EncodeToString(sum[:4])
}

func keyDigests(keys [][]byte) []string {
	out := make([]string, 0, len(keys))
	for _, key := range keys[:min(len(keys), maxReplaces)] {
		out = append(out, KeyDigest(key))
	}
	return out
}

// rotate gives a key ring in use the new keys: first those that are new, so
// that nothing is refused in between, then the one that encrypts, then out
// with the old.
func rotate(ring *memberlist.Keyring, keys [][]byte) error {
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return fmt.Errorf("key %s: %w", KeyDigest(key), err)
		}
	}
	// UseKey puts a key in front of all others, so this puts the new keys in
	// front, in order, and the old ones behind. RemoveKey of the last key
	// leaves slices alone that decrypting goroutines hold; of another it
	// would shift them in place.
	for _, key := range slices.Backward(keys) {
		if err := ring.UseKey(key); err != nil {
			return fmt.Errorf("key %s: %w", KeyDigest(key), err)
		}
	}
	for _, old := range slices.Backward(slices.Clone(ring.GetKeys())) {
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			break
		}
		if err := ring.RemoveKey(old); err != nil {
			return fmt.Errorf("key %s: %w", KeyDigest(old), err)
		}
	}
	return nil
}
