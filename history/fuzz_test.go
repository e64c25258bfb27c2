package history

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/labiium/chat2response/convert/responses"
)

// Whatever stands in the store, reading it is a value or ErrUnreadable, and never more memory than its size allows.
func FuzzDecode(f *testing.F) {
	r := &record{meta: meta{Status: responses.Completed, Inputs: 1, Near: []string{"resp_0"}, Depth: 1},
		response: responses.Response{ID: "resp_1", Status: responses.Completed},
		items:    []responses.Item{{Type: "message", ID: "msg_1", Role: "user"}, {Type: "message", ID: "msg_2"}}}
	items, _ := encode(r.items)
	good, _ := encodeRecord(r, items)
	f.Add(good)
	c := &chunk{items: r.items}
	good, _ = c.encode()
	f.Add(good)
	f.Add([]byte("\x01\x00\x02{}"))
	f.Add([]byte("\x02{}\x02{}[]"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(what string, err error) {
			if err != nil && !errors.Is(err, ErrUnreadable) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		r, err := decodeRecord(b, true)
		check("record", err)
		if err == nil {
			_, _ = r.input(), r.output()
			items, err := encode(r.items)
			if err != nil {
				t.Fatal(err)
			}
			again, err := encodeRecord(r, items)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeRecord(again, true); err != nil {
				t.Fatalf("what was written again is not read: %v", err)
			}
		}
		_, err = decodeChunk(b)
		check("chunk", err)
		_, _, err = decodeEvents(b)
		check("events", err)
	})
}

// No value opens but the one that was sealed for its place.
func FuzzBox(f *testing.F) {
	keys, err := newBox([]Key{{1, bytes.Repeat([]byte("k"), 16)}})
	if err != nil {
		f.Fatal(err)
	}
	plain := &box{}
	f.Add(keys.seal("space", "id", []byte("content")))
	f.Add(plain.seal("space", "id", []byte("content")))
	f.Add([]byte{2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, box := range []*box{keys, plain} {
			content, err := box.open("space", "id", b)
			if err != nil && !errors.Is(err, ErrUnreadable) {
				t.Fatal(err)
			}
			if err == nil && b[0] == sealedValue && string(content) != "content" {
				t.Fatalf("forged: %q", content)
			}
			if _, err := box.open("space", "other", b); err == nil && len(b) > 0 && b[0] == sealedValue {
				t.Fatal("it opens elsewhere")
			}
		}
	})
}

// Whatever a client sends as an id is another's or nobody's, unless it was sealed for it.
func FuzzSealedID(f *testing.F) {
	h := &History{}
	h.secret = newSecret(bytes.Repeat([]byte("s"), secretSize))
	s := &Sealer{h.secret}
	a, b := h.Tenant("a"), h.Tenant("b")
	at := time.Now().Add(24 * time.Hour)
	f.Add(s.Seal(a, "resp_00ff", at), "resp_00ff")
	f.Add(s.Seal(a, "msg_text", at), "msg_text")
	f.Add("resp_", "")
	f.Fuzz(func(t *testing.T, id, upstream string) {
		if got, _, err := s.Open(b, id); err == nil {
			t.Fatalf("%q opens as %q for b", id, got)
		}
		if got, expires, err := s.Open(a, id); err == nil && s.Seal(a, got, expires) != id {
			t.Fatalf("%q opens as %q, which was never sealed so", id, got)
		}
		if len(upstream) > maxIDBytes/2 {
			return
		}
		got, _, err := s.Open(a, s.Seal(a, upstream, at))
		if err != nil || got != upstream {
			t.Fatalf("%q comes back as %q: %v", upstream, got, err)
		}
	})
}
