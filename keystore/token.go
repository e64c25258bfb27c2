package keystore

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// A token is sk_ + id + . + secret: an id of 32 lower-case hex digits (a version 4 UUID without dashes, RFC 9562
// section 5.4) that is public, and a secret of 32 random bytes in 64 hex digits that is nowhere but in the token.
const (
	prefix     = "sk_"
	idLength   = 32
	secretSize = 32
	saltSize   = 16
	// TokenLength is the length of every token.
	TokenLength = len(prefix) + idLength + 1 + 2*secretSize
	// TokenPattern finds tokens in text, for secret scanners. The shape is so particular that no checksum is needed.
	TokenPattern = `\bsk_[0-9a-f]{32}\.[0-9a-f]{64}\b`
)

// parseToken takes a token apart. Hex digits may be of any case; the id comes out in lower case. Anything not exactly
// of the one shape, spaces included, is not a token. The length is looked at first, so a long text costs nothing.
func parseToken(token string) (id string, secret [secretSize]byte, ok bool) {
	if len(token) != TokenLength || token[:len(prefix)] != prefix || token[len(prefix)+idLength] != '.' {
		return "", secret, false
	}
	id = strings.ToLower(token[len(prefix) : len(prefix)+idLength])
	if !isID(id) {
		return "", secret, false
	}
	var text [2 * secretSize]byte
	copy(text[:], token[len(prefix)+idLength+1:])
	if _, err := hex.Decode(secret[:], text[:]); err != nil {
		return "", secret, false
	}
	return id, secret, true
}

// isID reports whether s is 32 lower-case hex digits. Nothing else is ever looked up in a store.
func isID(s string) bool {
	if len(s) != idLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// mint makes a new id and secret. crypto/rand.Read never fails.
func mint() (id string, secret [secretSize]byte, salt [saltSize]byte) {
	var uuid [16]byte
	_, _ = rand.Read(uuid[:])
	uuid[6] = uuid[6]&0x0f | 0x40
	uuid[8] = uuid[8]&0x3f | 0x80
	_, _ = rand.Read(secret[:])
	_, _ = rand.Read(salt[:])
	return hex.EncodeToString(uuid[:]), secret, salt
}

func formatToken(id string, secret [secretSize]byte) string {
	return prefix + id + "." + hex.EncodeToString(secret[:])
}

// digest is SHA-256 over the raw salt and the raw secret. One round is right for a secret of 256 random bits: nobody
// can guess it, and a slow hash would only let strangers spend our CPU.
func digest(salt [saltSize]byte, secret [secretSize]byte) [sha256.Size]byte {
	var b [saltSize + secretSize]byte
	copy(b[:], salt[:])
	copy(b[saltSize:], secret[:])
	return sha256.Sum256(b[:])
}

// nobody stands for a key that does not exist, so that an unknown id costs the same work as a wrong secret. Its hash
// is not the digest of anything known.
var nobody = func() *Key {
	k := &Key{}
	_, _ = rand.Read(k.salt[:])
	_, _ = rand.Read(k.hash[:])
	return k
}()

func (k *Key) hasSecret(secret [secretSize]byte) bool {
	sum := digest(k.salt, secret)
	return subtle.ConstantTimeCompare(sum[:], k.hash[:]) == 1
}
