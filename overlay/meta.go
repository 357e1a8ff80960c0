package overlay

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// meta is what memberlist carries with each alive message: who it is, not
// how it is. It is constant for one start of the daemon and far below the
// 512 bytes beyond which memberlist panics.
type meta struct {
	id         string
	birth      Stamp
	generation uint64
	boot       string
}

const (
	metaVersion = 1
	metaLength  = 1 + 16 + 8 + 8 + bootLength
	bootLength  = 4 // bytes
)

func (m meta) encode() []byte {
	id, err := hex.DecodeString(m.id)
	boot, err2 := hex.DecodeString(m.boot)
	if err != nil || err2 != nil || len(id) != idLength/2 || len(boot) != bootLength {
		return nil // decode refuses it
	}
	out := append([]byte{metaVersion}, id...)
	out = binary.BigEndian.AppendUint64(out, uint64(m.birth))
	out = binary.BigEndian.AppendUint64(out, m.generation)
	return append(out, boot...)
}

// decodeMeta accepts longer ones than ours: a later release may add to it.
func decodeMeta(data []byte) (meta, error) {
	if len(data) < metaLength || data[0] != metaVersion {
		return meta{}, errors.New("meta")
	}
	return meta{
		id:         hex.EncodeToString(data[1:17]),
		birth:      Stamp(binary.BigEndian.Uint64(data[17:])),
		generation: binary.BigEndian.Uint64(data[25:]),
		boot:       hex.EncodeToString(data[33:37]),
	}, nil
}

// encodeVersion is what a node adds to its answer to a probe: the version of
// its record. So a change whose every message was lost is noticed within a
// round of probes.
func encodeVersion(generation, version uint64) []byte {
	out := binary.BigEndian.AppendUint64([]byte{wireVersion}, generation)
	return binary.BigEndian.AppendUint64(out, version)
}

func decodeVersion(data []byte) (generation, version uint64, ok bool) {
	if len(data) < 17 || data[0] != wireVersion {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(data[1:]), binary.BigEndian.Uint64(data[9:]), true
}
