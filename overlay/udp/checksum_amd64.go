package udp

import "golang.org/x/sys/cpu"

// blockSize is what sumWords adds up at a time, in bytes.
const blockSize = 64

// sumWords adds up words of 32 bits in so many blocks, at least one. It needs
// AVX2, and is twice as fast as additions with carry.
//
//go:noescape
func sumWords(p *byte, blocks int) uint64

// sumBlocks adds up the blocks at the start of data, and returns how many
// bytes they are: 0 where the processor cannot.
func sumBlocks(data []byte) (s uint64, n int) {
	if len(data) < blockSize || !cpu.X86.HasAVX2 {
		return 0, 0
	}
	blocks := len(data) / blockSize
	return sumWords(&data[0], blocks), blocks * blockSize
}
