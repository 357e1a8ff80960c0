package nft

import (
	"encoding/binary"
	"math/bits"
)

// jhash is the kernel's hash of bytes (include/linux/jhash.h): lookup3 of Bob
// Jenkins, as published into the public domain in 2006.
func jhash(b []byte, seed uint32) uint32 {
	const start = 0xdeadbeef
	x := start + uint32(len(b)) + seed
	y, z := x, x
	for ; len(b) > 12; b = b[12:] {
		x += binary.NativeEndian.Uint32(b)
		y += binary.NativeEndian.Uint32(b[4:])
		z += binary.NativeEndian.Uint32(b[8:])
		for i, r := range [6]int{4, 6, 8, 16, 19, 4} {
			switch i % 3 {
			case 0:
				x = (x - z) ^ bits.RotateLeft32(z, r)
				z += y
			case 1:
				y = (y - x) ^ bits.RotateLeft32(x, r)
				x += z
			case 2:
				z = (z - y) ^ bits.RotateLeft32(y, r)
				y += x
			}
		}
	}
	if len(b) == 0 {
		return z
	}
	var last [12]byte
	copy(last[:], b)
	x += binary.LittleEndian.Uint32(last[:])
	y += binary.LittleEndian.Uint32(last[4:])
	z += binary.LittleEndian.Uint32(last[8:])
	for i, r := range [7]int{14, 11, 25, 16, 4, 14, 24} {
		switch i % 3 {
		case 0:
			z = (z ^ y) - bits.RotateLeft32(y, r)
		case 1:
			x = (x ^ z) - bits.RotateLeft32(z, r)
		case 2:
			y = (y ^ x) - bits.RotateLeft32(x, r)
		}
	}
	return z
}
