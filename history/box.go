package history

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// A value in the store begins with what it is:
//
//	1, hash of its place (8 bytes), content           as it is
//	2, key id, nonce (24 bytes), AES-256-GCM of zstd of content
//
// Both are bound to their place, the space (which names the tenant) and the id: a value that was moved does not open.
const (
	plainValue  = 1
	sealedValue = 2

	hashSize  = 8
	saltSize  = 12 // of the nonce; the rest is GCM's own
	nonceSize = saltSize + 12
)

// maxUnpacked bounds what a value may unpack to: the largest response with room to spare.
const maxUnpacked = 48 << 20

// Neither starts goroutines as it is used here.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxUnpacked))
)

// box closes and opens values.
type box struct{ keys []Key }

func newBox(keys []Key) (*box, error) {
	b := &box{}
	for i, k := range keys {
		if len(k.Secret) < 16 {
			return nil, fmt.Errorf("%w: key %d is %d bytes; give 16 random bytes or more", ErrInvalid, k.ID, len(k.Secret))
		}
		for _, other := range keys[:i] {
			if other.ID == k.ID {
				return nil, fmt.Errorf("%w: two keys have the id %d; each needs its own", ErrInvalid, k.ID)
			}
		}
		b.keys = append(b.keys, Key{k.ID, derive(k.Secret, "chat2response/state/1")})
	}
	return b, nil
}

// derive makes a key of 256 bits for one use out of a secret.
func derive(secret []byte, use string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(use))
	return h.Sum(nil)
}

// whereHash is FNV-1a of where a value belongs. It finds what was misplaced, not what was forged: only a key can do that.
func whereHash(space, id string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{space, "\x00", id} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return h
}

func (b *box) seal(space, id string, content []byte) []byte {
	if len(b.keys) == 0 {
		out := append(make([]byte, 0, 1+hashSize+len(content)), plainValue)
		return append(binary.BigEndian.AppendUint64(out, whereHash(space, id)), content...)
	}
	key := b.keys[0]
	out := make([]byte, 2+nonceSize, 2+nonceSize+len(content)/2+64)
	out[0], out[1] = sealedValue, key.ID
	nonce := out[2:]
	rand.Read(nonce) // never fails since Go 1.24
	return aead(key.Secret, nonce).Seal(out, nonce[saltSize:], packer.EncodeAll(content, nil), []byte(space+"\x00"+id))
}

// aead is AES-256-GCM under a key of this value's own, made of half its nonce: with one key for all values, random
// nonces of GCM's 96 bits would be spent after 2^32 values (NIST SP 800-38D, 8.3).
func aead(secret, nonce []byte) cipher.AEAD { return gcm(derive(secret, string(nonce[:saltSize]))) }

// gcm is AES-256-GCM under a key of 32 bytes.
func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCM(block); err == nil {
			return aead
		}
	}
	panic(err) // the key or the block is not of its size: impossible
}

func (b *box) open(space, id string, value []byte) ([]byte, error) {
	bad := func(why string) ([]byte, error) {
		return nil, fmt.Errorf("%s/%s is %w: %s", space, id, ErrUnreadable, why)
	}
	switch {
	case len(value) > hashSize && value[0] == plainValue:
		if binary.BigEndian.Uint64(value[1:]) != whereHash(space, id) {
			return bad("it belongs elsewhere")
		}
		return value[1+hashSize:], nil
	case len(value) < 2+nonceSize || value[0] != sealedValue:
		return bad("it is not in a form that this version knows")
	}
	for _, key := range b.keys {
		if key.ID != value[1] {
			continue
		}
		nonce := value[2 : 2+nonceSize]
		packed, err := aead(key.Secret, nonce).Open(nil, nonce[saltSize:], value[2+nonceSize:], []byte(space+"\x00"+id))
		if err != nil {
			return bad(fmt.Sprintf("key %d does not open it here; it was moved or damaged, or the key's secret is another", key.ID))
		}
		content, err := unpacker.DecodeAll(packed, nil)
		if err != nil {
			return bad(err.Error())
		}
		return content, nil
	}
	return bad(fmt.Sprintf("it needs key %d, which is not configured", value[1]))
}
