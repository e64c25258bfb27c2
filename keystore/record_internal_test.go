package keystore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/labiium/chat2response/store"
)

// Whatever a record is, reading and writing it twice is the same as once, and nothing that is not one is read.
func FuzzRecord(f *testing.F) {
	const head = `{"id":"0123456789abcdef0123456789abcdef","label":null,"created_at":1,"expires_at":null,"revoked_at":null,` +
		`"salt_hex":"000102030405060708090a0b0c0d0e0f","hash_hex":"95e66ce408bcb45134e08d159c51e1f4f3432cba4204228e3473e5648bb4408e","scopes":`
	for _, tail := range []string{`null}`, `[]}`, `["a"],"x":{"b":1,"a":"A"}}`, `null, "models":[], "y" : 1e400}`, `null,"meta":{},"":{}}`} {
		f.Add([]byte(head + tail))
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := decode("0123456789abcdef0123456789abcdef", raw)
		if err != nil {
			return
		}
		once, err := k.encode()
		if err != nil {
			t.Fatalf("%s was read and cannot be written: %v", raw, err)
		}
		again, err := decode(k.ID, once)
		if err != nil {
			t.Fatalf("%s\nwas written as\n%s\nwhich is not a record: %v", raw, once, err)
		}
		if again.hash != k.hash || again.salt != k.salt || !bytes.Equal(again.Unknown, k.Unknown) {
			t.Fatalf("%s\nbecame\n%s", raw, once)
		}
		if twice, _ := again.encode(); !bytes.Equal(once, twice) {
			t.Fatalf("%s\nthen\n%s", once, twice)
		}
	})
}

// Nothing that changes a record gives a revoked key back, not even by mistake.
func TestChangeKeepsRevocation(t *testing.T) {
	m := &store.Memory{Name: t.Name(), MaxBytes: 1 << 20}
	s, err := m.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k, err := New(s, Config{Policy: DefaultPolicy()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Generate(t.Context(), GenerateRequest{}, Actor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Revoke(t.Context(), c.ID, Actor{}); err != nil {
		t.Fatal(err)
	}
	now, changed, _, err := k.change(t.Context(), c.ID, func(r *Record) (bool, error) {
		r.RevokedAt = nil
		return true, nil
	})
	if err != nil || !changed || now.RevokedAt == nil || now.Rev != 2 {
		t.Fatalf("%+v, %v", now, err)
	}
	if _, err := k.Verify(t.Context(), *c.Token); !errors.Is(err, ErrRevoked) {
		t.Fatal(err)
	}
}
