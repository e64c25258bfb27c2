package history

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/labiium/chat2response/store"
)

// secret is what a gateway knows and its clients do not. It is made once and kept in the store, so that all gateways
// on one store have the same, and tenants and sealed ids outlive a restart.
type secret struct {
	tenants []byte // names keyless clients
	nonces  []byte // of sealed ids
	ids     cipher.AEAD
}

const secretSize = 32

// keep returns the secret, reading or making it at first.
func (h *History) keep(ctx context.Context) (*secret, error) {
	h.mu.Lock()
	known := h.secret
	h.mu.Unlock()
	if known != nil {
		return known, nil
	}
	raw, err := h.store.Get(ctx, rootSpace, secretID)
	for errors.Is(err, store.ErrNotFound) {
		fresh := make([]byte, secretSize)
		rand.Read(fresh) // never fails since Go 1.24
		raw = h.box.seal(rootSpace, secretID, fresh)
		err = h.store.Swap(ctx, store.Change{Space: rootSpace, ID: secretID, New: raw})
		if errors.Is(err, store.ErrConflict) {
			raw, err = h.store.Get(ctx, rootSpace, secretID)
		}
	}
	if err = h.failed(err); err != nil {
		return nil, err
	}
	plain, err := h.box.open(rootSpace, secretID, raw)
	if err != nil {
		return nil, err
	}
	if len(plain) != secretSize {
		return nil, fmt.Errorf("%s/%s is %w: %d bytes, not %d", rootSpace, secretID, ErrUnreadable, len(plain), secretSize)
	}
	s := newSecret(plain)
	h.mu.Lock()
	h.secret = s
	h.mu.Unlock()
	return s, nil
}

// newSecret makes the keys of one secret.
func newSecret(plain []byte) *secret {
	s := &secret{tenants: derive(plain, "chat2response/tenant/1"), nonces: derive(plain, "chat2response/id-nonce/1")}
	s.ids = gcm(derive(plain, "chat2response/id/1"))
	return s
}

// anonymousName is the tenant of all who send no token. + is in no name that Tenant makes.
const anonymousName = "+anonymous"

// Keyless returns the part of a client that has no key of this gateway: whoever sends the same bearer token is the
// same tenant, and all who send none are one, "anonymous". The token itself is not kept, only its HMAC under the
// gateway's secret.
//
// Since anybody can invent tokens, all tenants that have one share [Config.MaxKeylessBytes] and MaxKeylessRecords.
func (h *History) Keyless(ctx context.Context, bearer string) (Tenant, error) {
	if bearer == "" {
		return Tenant{h: h, name: anonymousName}, nil
	}
	s, err := h.keep(ctx)
	if err != nil {
		return Tenant{}, err
	}
	mac := hmac.New(sha256.New, s.tenants)
	mac.Write([]byte(bearer))
	return Tenant{h: h, name: "+" + hex.EncodeToString(mac.Sum(nil))}, nil
}

// Sealer makes ids for clients out of an upstream's, where the upstream keeps the state. Such an id says nothing but
// its prefix, opens for one tenant only, and ends at a set time.
type Sealer struct{ s *secret }

// Sealer returns the sealer of all gateways on this store.
func (h *History) Sealer(ctx context.Context) (*Sealer, error) {
	s, err := h.keep(ctx)
	if err != nil {
		return nil, err
	}
	return &Sealer{s}, nil
}

// Of a sealed id: its prefix as the upstream has it, and then in base64url: nonce (12 bytes), sealed: expiry in Unix
// seconds (4), form (1), the rest of the upstream's id. Space and prefix are bound to it. An id without a prefix gets
// one, or what is random in it might look like one.
const (
	idNonce = 12
	// The forms, which can be combined.
	isHex      = 1 // half as long, and nearly every id is hexadecimal
	prefixless = 2
	noPrefix   = "id_"
	maxIDBytes = 1024
)

// Seal returns the id that a client gets for an upstream's, until expires, to the second. It is always the same for the
// same three, so that an id is one throughout a stream and when it is read again: for all ids of a response, take the
// expiry that was sealed into the response's own.
func (s *Sealer) Seal(t Tenant, upstream string, expires time.Time) string {
	prefix, rest := cutPrefix(upstream)
	var form byte
	if prefix == "" {
		prefix, form = noPrefix, prefixless
	}
	if digits, err := hex.DecodeString(rest); err == nil && hex.EncodeToString(digits) == rest {
		rest, form = string(digits), form|isHex
	}
	plain := binary.BigEndian.AppendUint32(nil, uint32(min(max(0, expires.Unix()), math.MaxUint32)))
	plain = append(append(plain, form), rest...)
	bound := []byte(t.space("") + "\x00" + prefix)
	// The nonce is made of all that is sealed: two different texts have different ones, the same text the same.
	mac := hmac.New(sha256.New, s.s.nonces)
	_, _ = mac.Write(append(binary.AppendUvarint(nil, uint64(len(bound))), bound...))
	_, _ = mac.Write(plain)
	nonce := mac.Sum(nil)[:idNonce]
	return prefix + base64.RawURLEncoding.EncodeToString(s.s.ids.Seal(nonce, nonce, plain, bound))
}

// Open returns the upstream's id and the expiry of one that the client has sent. One that does not open, belongs to
// another tenant or has expired is ErrNotFound, without OpenAI's text: the caller knows what it stands for.
func (s *Sealer) Open(t Tenant, id string) (upstream string, expires time.Time, err error) {
	prefix, rest := cutPrefix(id)
	if len(rest) > 2*maxIDBytes || t.h == nil {
		return "", time.Time{}, ErrNotFound
	}
	// Go's decoder skips line ends, and an id has one spelling.
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(sealed) < idNonce || strings.ContainsAny(rest, "\r\n") {
		return "", time.Time{}, ErrNotFound
	}
	plain, err := s.s.ids.Open(nil, sealed[:idNonce], sealed[idNonce:], []byte(t.space("")+"\x00"+prefix))
	if err != nil || len(plain) < 5 {
		return "", time.Time{}, ErrNotFound
	}
	expires = time.Unix(int64(binary.BigEndian.Uint32(plain)), 0)
	if !time.Now().Before(expires) {
		return "", time.Time{}, ErrNotFound
	}
	upstream = string(plain[5:])
	if plain[4]&isHex != 0 {
		upstream = hex.EncodeToString(plain[5:])
	}
	if plain[4]&prefixless == 0 {
		upstream = prefix + upstream
	}
	return upstream, expires, nil
}

// cutPrefix divides an id behind the underscore that ends its kind: a few small letters, as in resp_, conv_, msg_.
func cutPrefix(id string) (prefix, rest string) {
	i := strings.IndexByte(id, '_')
	if i < 1 || i > 8 {
		return "", id
	}
	for _, c := range []byte(id[:i]) {
		if c < 'a' || c > 'z' {
			return "", id
		}
	}
	return id[:i+1], id[i+1:]
}
