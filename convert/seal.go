package convert

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// Sealer makes and reads the opaque encrypted_content of reasoning and compaction
// items: a client that has its turns stored nowhere carries the model's reasoning,
// or the summary of a conversation, in it, without being able to read or to forge it.
//
// A Sealer is safe for concurrent use. A nil one seals nothing and opens nothing.
type Sealer struct {
	aead cipher.AEAD
	mark []byte // the key of Mark
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
	mark := sha256.Sum256(append([]byte("chat2response/mark/1\x00"), secret...))
	return &Sealer{aead, mark[:]}, err
}

// Mark returns a text that nobody without the secret can make, of 48 hexadecimal
// digits, another each time: whoever brings it back with the same data was given
// it for them.
func (s *Sealer) Mark(data string) string {
	nonce := make([]byte, 8)
	rand.Read(nonce) // never fails since Go 1.24
	return hex.EncodeToString(nonce) + s.markOf(nonce, data)
}

// Marked tells whether mark was made by [Sealer.Mark] for data.
func (s *Sealer) Marked(mark, data string) bool {
	if len(mark) < 16 {
		return false
	}
	nonce, err := hex.DecodeString(mark[:16])
	return err == nil && hmac.Equal([]byte(mark[16:]), []byte(s.markOf(nonce, data)))
}

func (s *Sealer) markOf(nonce []byte, data string) string {
	h := hmac.New(sha256.New, s.mark)
	h.Write(nonce)
	h.Write([]byte(data))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sealedPrefix tells our blobs from those of other servers, and names the format.
const sealedPrefix = "c2r1."

// sealed is what an encrypted_content holds.
type sealed struct {
	// Text is the reasoning as the model gave it.
	Text string `json:"t,omitzero"`
	// Calls is what the upstream wants to see again in its tool calls, by call id.
	Calls map[string]jsontext.Value `json:"c,omitzero"`
	// Summary is what a compaction item stands for.
	Summary string `json:"s,omitzero"`
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
