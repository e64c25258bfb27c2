package convert

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// Sealer makes and reads the opaque encrypted_content of reasoning items: a
// client that has its turns stored nowhere carries the model's reasoning in it,
// without being able to read or to forge it.
//
// A Sealer is safe for concurrent use. A nil one seals nothing and opens nothing.
type Sealer struct {
	aead cipher.AEAD
}

// NewSealer returns a Sealer under a secret of at least 16 bytes. Gateways that
// share clients need the same secret.
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < 16 {
		return nil, errors.New("a key for sealing reasoning needs at least 16 bytes")
	}
	// Any length becomes a key of 256 bits, of its own for this use.
	key := sha256.Sum256(append([]byte("chat2response/reasoning/1\x00"), secret...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Sealer{aead}, err
}

// sealedPrefix tells our blobs from those of other servers, and names the format.
const sealedPrefix = "c2r1."

// sealed is what an encrypted_content holds.
type sealed struct {
	// Text is the reasoning as the model gave it.
	Text string `json:"t,omitzero"`
	// Calls is what the upstream wants to see again in its tool calls, by call id.
	Calls map[string]jsontext.Value `json:"c,omitzero"`
}

// maxSealed bounds what a blob may unpack to.
const maxSealed = 8 << 20

var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSealed))
)

func (s *Sealer) seal(v sealed) string {
	plain, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return ""
	}
	box := s.aead.Seal(nil, nil, packer.EncodeAll(plain, nil), nil)
	return sealedPrefix + base64.RawURLEncoding.EncodeToString(box)
}

// open reads a blob. One that another server made, or that was sealed under
// another key, is not an error: the client may have changed servers.
func (s *Sealer) open(blob string) (sealed, bool) {
	text, ours := strings.CutPrefix(blob, sealedPrefix)
	if s == nil || !ours {
		return sealed{}, false
	}
	box, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return sealed{}, false
	}
	packed, err := s.aead.Open(nil, nil, box, nil)
	if err != nil {
		return sealed{}, false
	}
	plain, err := unpacker.DecodeAll(packed, nil)
	if err != nil {
		return sealed{}, false
	}
	var v sealed
	if json.Unmarshal(plain, &v) != nil {
		return sealed{}, false
	}
	return v, true
}

// NewSecret makes a secret for [NewSealer].
func NewSecret() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails since Go 1.24
	return b
}
