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
// What it seals belongs to one owner ([Sealer.For]), who alone can bring it back: to
// anybody else it is a blob of another server.
//
// A Sealer is safe for concurrent use. A nil one seals nothing and opens nothing.
type Sealer struct {
	aead  cipher.AEAD
	mark  []byte // the key of Mark, for the owner ""
	owner string
}

// NewSealer returns a Sealer under a secret of at least 16 bytes, for the owner "".
// Gateways that share clients need the same secret.
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
	return &Sealer{aead, mark[:], ""}, err
}

// For returns a Sealer under the same secret for what belongs to owner, such as the
// name of a tenant: it opens, and knows by [Sealer.Marked], only what was made for the
// same owner. Whose s itself was does not count. Of a nil Sealer it is nil.
func (s *Sealer) For(owner string) *Sealer {
	if s == nil {
		return nil
	}
	return &Sealer{s.aead, s.mark, owner}
}

// Mark returns a text that nobody without the secret can make, of 48 hexadecimal
// digits, another each time: whoever brings it back with the same data was given
// it for them. A nil Sealer gives "".
func (s *Sealer) Mark(data string) string {
	if s == nil {
		return ""
	}
	nonce := make([]byte, 8)
	rand.Read(nonce) // never fails since Go 1.24
	return hex.EncodeToString(nonce) + s.markOf(nonce, data)
}

// Marked reports whether mark was made by [Sealer.Mark] for data, and for the same
// owner.
func (s *Sealer) Marked(mark, data string) bool {
	if s == nil || len(mark) < 16 {
		return false
	}
	nonce, err := hex.DecodeString(mark[:16])
	return err == nil && hmac.Equal([]byte(mark[16:]), []byte(s.markOf(nonce, data)))
}

func (s *Sealer) markOf(nonce []byte, data string) string {
	key := s.mark
	if s.owner != "" {
		// A key of its own: no data of one owner is that of another with something before it.
		h := hmac.New(sha256.New, s.mark)
		h.Write([]byte("owner\x00" + s.owner))
		key = h.Sum(nil)
	}
	h := hmac.New(sha256.New, key)
	h.Write(nonce)
	h.Write([]byte(data))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// The prefixes tell our blobs from those of other servers, and name the format.
const (
	sealedPrefix = "c2r2."
	// ownerless is of blobs from before they had an owner. Whoever holds one could
	// read it, so none is opened any more.
	ownerless = "c2r1."
)

// isOurs reports whether a blob is one of this program, whether or not it can be opened.
func isOurs(blob string) bool {
	return strings.HasPrefix(blob, sealedPrefix) || strings.HasPrefix(blob, ownerless)
}

// sealed is what an encrypted_content holds.
type sealed struct {
	// Text is the reasoning as the model gave it.
	Text string `json:"t,omitzero"`
	// Calls is what the upstream wants to see again in its tool calls, by call id.
	Calls map[string]jsontext.Value `json:"c,omitzero"`
	// Summary is what a compaction item stands for.
	Summary string `json:"s,omitzero"`
}

const (
	// maxSealed bounds what a blob may unpack to, in bytes.
	maxSealed = 8 << 20
	// maxUnpacked bounds what all blobs of a request may, where nobody keeps account.
	maxUnpacked = 32 << 20
	// unpackedWeight is how many bytes of memory a request takes for each byte that it
	// unpacks, until its body is sent: the JSON that was packed, the text in it, that of
	// its message where it is joined with others', and the upstream's body.
	// BenchmarkUnpacking measures 3.0 to 4.0 that are allocated in all, and 1.0 that is
	// left while the upstream is asked.
	unpackedWeight = 4
)

// packer writes the size of what it packs, unless that is less than 256 bytes; unpacker
// does not go beyond what it is given room for.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxSealed), zstd.WithDecodeAllCapLimit(true))
)

// seal makes a blob. What is too long to be opened again has none: "".
func (s *Sealer) seal(v sealed) string {
	plain, err := json.Marshal(v, json.Deterministic(true))
	if err != nil || len(plain) > maxSealed {
		return ""
	}
	box := s.aead.Seal(nil, nil, packer.EncodeAll(plain, nil), []byte(s.owner))
	return sealedPrefix + base64.RawURLEncoding.EncodeToString(box)
}

// open reads a blob. One that another server made, or that was sealed under another
// key or for another owner, is not an error: the client may have changed servers.
// unpack is asked before anything is unpacked, with its size in bytes, and its error
// is the only one.
func (s *Sealer) open(blob string, unpack func(bytes int64) error) (v sealed, ok bool, err error) {
	text, ours := strings.CutPrefix(blob, sealedPrefix)
	if s == nil || !ours {
		return v, false, nil
	}
	box, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return v, false, nil
	}
	packed, err := s.aead.Open(nil, nil, box, []byte(s.owner))
	if err != nil {
		return v, false, nil
	}
	size, ok := unpackedSize(packed)
	if !ok {
		return v, false, nil
	}
	if err := unpack(size); err != nil {
		return v, false, err
	}
	plain, err := unpacker.DecodeAll(packed, make([]byte, 0, size))
	if err != nil || json.Unmarshal(plain, &v) != nil {
		return sealed{}, false, nil
	}
	return v, true, nil
}

// unpackedSize is how many bytes a frame says that it holds: what is more is not
// unpacked. One that does not say holds few.
func unpackedSize(packed []byte) (int64, bool) {
	var h zstd.Header
	switch {
	case h.Decode(packed) != nil || h.Skippable:
		return 0, false
	case !h.HasFCS:
		return 256, true
	}
	return int64(min(h.FrameContentSize, maxSealed+1)), h.FrameContentSize <= maxSealed
}

// open reads a blob on the request's account.
func (o *Options) open(blob string) (sealed, bool, error) { return o.Sealer.open(blob, o.unpack) }

// unpack takes bytes of opened content on the account.
func (o *Options) unpack(bytes int64) error {
	if o.Unpack != nil {
		return o.Unpack(bytes * unpackedWeight)
	}
	if o.unpacked += bytes; o.unpacked > maxUnpacked {
		return &Error{
			Status: 413, Type: "invalid_request_error", Code: "request_too_large", Param: "input",
			Message: "The encrypted_content of the request's items unpacks to more than 32 MiB. Send fewer of them.",
		}
	}
	return nil
}

// NewSecret makes a secret for [NewSealer].
func NewSecret() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails since Go 1.24
	return b
}
