package history_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

var farAway = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

func TestSealedIDs(t *testing.T) {
	s := newMemory(t)
	h := newHistory(t, s, history.Config{})
	sealer, err := h.Sealer(ctx)
	want(t, err, nil)
	a, b := h.Tenant("a"), h.Tenant("b")
	form := regexp.MustCompile(`^(resp_|conv_|msg_|rs_|id_)[A-Za-z0-9_-]+$`)
	for _, id := range []string{
		"resp_68a1f2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607", "resp_ABC", "conv_1", "msg_0", "rs_", "chatcmpl-tool-77", "x", "", "Resp_1",
		"msg_68a1f", "odd id:ü", "toolongprefix_1", "_x", "id_", "id_1",
	} {
		sealed := sealer.Seal(a, id, farAway)
		if !form.MatchString(sealed) || len(id) > 8 && strings.Contains(sealed, id[5:]) {
			t.Errorf("%q is sealed as %q", id, sealed)
		}
		if len(id) == 53 && len(sealed) > 85 {
			t.Errorf("%q is sealed as %q, %d bytes", id, sealed, len(sealed))
		}
		equal(t, sealer.Seal(a, id, farAway), sealed)
		got, expires, err := sealer.Open(a, sealed)
		want(t, err, nil)
		equal(t, got, id)
		equal(t, expires.Equal(farAway), true)
		if sealer.Seal(b, id, farAway) == sealed || sealer.Seal(a, id, farAway.Add(time.Second)) == sealed {
			t.Error("tenant and expiry make no difference")
		}
		// Neither another tenant, nor a changed one, nor another prefix opens it.
		_, _, err = sealer.Open(b, sealed)
		want(t, err, history.ErrNotFound)
		_, _, err = sealer.Open(history.Tenant{}, sealed)
		want(t, err, history.ErrNotFound)
		for i := range sealed {
			changed := []byte(sealed)
			changed[i] ^= 1
			if got, _, err := sealer.Open(a, string(changed)); err == nil {
				t.Errorf("%q opens as %q", changed, got)
			}
		}
		_, rest, _ := strings.Cut(sealed, "_")
		_, _, err = sealer.Open(a, "item_"+rest)
		want(t, err, history.ErrNotFound)
		_, _, err = sealer.Open(a, sealer.Seal(a, id, time.Now().Add(-time.Second)))
		want(t, err, history.ErrNotFound)
	}
	for i := range 2000 { // whatever the random part looks like
		for _, id := range []string{"plain", "msg_1"} {
			got, _, err := sealer.Open(a, sealer.Seal(a, id, farAway.Add(time.Duration(i)*time.Second)))
			want(t, err, nil)
			equal(t, got, id)
		}
	}
	for _, id := range []string{"", "resp_", "resp_AAAA", "resp_" + strings.Repeat("A", 100_000), "resp_68a1f2c3d4e5f607", "\x00"} {
		_, _, err := sealer.Open(a, id)
		want(t, err, history.ErrNotFound)
		equal(t, err, error(history.ErrNotFound))
	}
	// Another gateway on the same store opens it; one on another store does not.
	sealed := sealer.Seal(a, "resp_1", farAway)
	other, err := newHistory(t, s, history.Config{}).Sealer(ctx)
	want(t, err, nil)
	_, _, err = other.Open(a, sealed)
	want(t, err, nil)
	stranger, err := newHistory(t, newBbolt(t), history.Config{}).Sealer(ctx)
	want(t, err, nil)
	_, _, err = stranger.Open(a, sealed)
	want(t, err, history.ErrNotFound)
}

// Gateways that start together agree on one secret.
func TestSecretIsMadeOnce(t *testing.T) {
	server := storetest.StartRedis(t)
	spaces := make([]string, 8)
	var wg sync.WaitGroup
	for i := range spaces {
		h := newHistory(t, onRedis(t, server, 2+i), history.Config{Keys: testKeys})
		wg.Go(func() {
			of, err := h.Keyless(ctx, "bearer")
			if err != nil {
				t.Error(err)
			}
			spaces[i] = of.Space("")
		})
	}
	wg.Wait()
	equal(t, len(slices.Compact(spaces)), 1)
	// Without its key it cannot be read, and no other takes its place.
	_, err := newHistory(t, onRedis(t, server, 16), history.Config{}).Keyless(ctx, "bearer")
	want(t, err, history.ErrUnreadable)
}

// fill writes something of every kind, with the canary in all of it.
func fill(t *testing.T, a history.Tenant, canary string) {
	say := []responses.Item{user("", canary)}
	r := response("resp_1", responses.Completed, answer("msg_1", canary))
	r.Echo = jsontext.Value(`{"instructions":"` + strings.Repeat(canary, 1000) + `"}`)
	want(t, a.Save(ctx, history.Turn{Response: r, Input: say}), nil)
	chain, err := a.Chain(ctx, "resp_1")
	want(t, err, nil)
	want(t, a.Save(ctx, history.Turn{Response: response("resp_2", responses.Incomplete, answer("msg_2", canary)), Input: say, Chain: chain}), nil)
	_, err = a.CreateConversation(ctx, say, jsontext.Value(`{"k":"`+canary+`"}`))
	want(t, err, nil)
	thread, err := a.NamedThread(ctx, canary)
	want(t, err, nil)
	_, err = said(a, thread, canary, canary)
	want(t, err, nil)
	want(t, a.SaveCompletion(ctx, completion("chatcmpl-1", canary, `{"k":"`+canary+`"}`)), nil)
	j, err := a.Start(ctx, history.Turn{Response: response("resp_3", responses.Queued), Input: say}, true)
	want(t, err, nil)
	want(t, j.Log(ctx, history.Event{Sequence: 0, Data: []byte(canary)}), nil)
	want(t, j.Finish(ctx, response("resp_3", responses.Completed, answer("msg_3", canary)), history.Event{Sequence: 1, Data: []byte(canary)}), nil)
}

// With a key, what was said is nowhere in the file; without, the same search finds it.
func TestCanary(t *testing.T) {
	const canary = "CANARY-b1f7c2"
	for _, keys := range [][]history.Key{nil, testKeys} {
		dir := t.TempDir()
		s, err := (&store.Bbolt{Path: filepath.Join(dir, "state.db")}).Open(ctx)
		want(t, err, nil)
		h := newHistory(t, s, history.Config{Keys: keys})
		fill(t, h.Tenant("a"), canary)
		keyless, err := h.Keyless(ctx, canary)
		want(t, err, nil)
		turn(t, keyless, "", "q", "a")
		want(t, s.Close(), nil)
		files, err := os.ReadDir(dir)
		want(t, err, nil)
		found := 0
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			want(t, err, nil)
			found += bytes.Count(b, []byte(canary))
			found += bytes.Count(b, []byte("b1f7c2"))
		}
		if (found > 0) != (keys == nil) {
			t.Errorf("with %d keys the canary is there %d times", len(keys), found)
		}
	}
}

// Whatever is moved to another tenant, id or kind does not open, with a key and without; with a key, nothing that was
// changed does.
func TestMoved(t *testing.T) {
	for _, keys := range [][]history.Key{nil, testKeys} {
		s := newMemory(t)
		h := newHistory(t, s, history.Config{Keys: keys})
		a, b := h.Tenant("a"+n("", len(keys))), h.Tenant("b"+n("", len(keys)))
		fill(t, a, "text")
		move := func(from, id, to, newID string, change func([]byte)) {
			value, err := s.Get(ctx, from, id)
			want(t, err, nil)
			value = slices.Clone(value)
			change(value)
			_ = s.Delete(ctx, to, newID)
			want(t, s.Swap(ctx, store.Change{Space: to, ID: newID, New: value}), nil)
		}
		as := func([]byte) {}
		move(a.Space(""), "resp_1", b.Space(""), "resp_1", as)
		_, err := b.Response(ctx, "resp_1")
		want(t, err, history.ErrUnreadable)
		move(a.Space(""), "resp_1", a.Space(""), "resp_9", as)
		_, err = a.Response(ctx, "resp_9")
		want(t, err, history.ErrUnreadable)
		_, err = a.Chain(ctx, "resp_9")
		want(t, err, history.ErrUnreadable)
		move(a.Space(":h"), "chatcmpl-1", b.Space(":h"), "chatcmpl-1", as)
		_, err = b.Completion(ctx, "chatcmpl-1")
		want(t, err, history.ErrUnreadable)
		if errors.Is(err, history.ErrNotFound) {
			t.Error("what cannot be read is said not to be there")
		}
		move(a.Space(":e"), "resp_1", a.Space(":e"), "resp_2", as)
		want(t, a.DeleteResponse(ctx, "resp_9"), nil) // it can be got rid of
		_, err = a.Response(ctx, "resp_9")
		want(t, err, history.ErrNotFound)
		if keys != nil {
			whole, err := s.Get(ctx, a.Space(""), "resp_2")
			want(t, err, nil)
			for i := range whole {
				move(a.Space(""), "resp_2", b.Space(""), "resp_2", func(v []byte) {})
				move(a.Space(""), "resp_2", a.Space(""), "resp_2", func(v []byte) { v[i] ^= 1 })
				_, err := a.Response(ctx, "resp_2")
				want(t, err, history.ErrUnreadable)
				_ = s.Delete(ctx, a.Space(""), "resp_2")
				want(t, s.Swap(ctx, store.Change{Space: a.Space(""), ID: "resp_2", New: whole}), nil)
			}
		}
		if h.Stats().Unreadable < 4 {
			t.Error("it was not counted")
		}
	}
}

func TestKeys(t *testing.T) {
	s := newMemory(t)
	old, next := history.Key{ID: 1, Secret: []byte("an old secret of 16+")}, history.Key{ID: 2, Secret: []byte("a new secret of 16+")}
	say := func(id string, keys ...history.Key) {
		want(t, newHistory(t, s, history.Config{Keys: keys}).Tenant("a").Save(ctx, history.Turn{Response: response(id, responses.Completed)}), nil)
	}
	say("resp_plain")
	say("resp_old", old)
	say("resp_new", next, old)
	for _, test := range []struct {
		keys     []history.Key
		readable string
	}{
		{nil, "resp_plain"},
		{[]history.Key{old}, "resp_plain resp_old"},
		{[]history.Key{next, old}, "resp_plain resp_old resp_new"},
		{[]history.Key{next}, "resp_plain resp_new"},
		{[]history.Key{{ID: 1, Secret: next.Secret}}, "resp_plain"},
	} {
		a := newHistory(t, s, history.Config{Keys: test.keys}).Tenant("a")
		for _, id := range []string{"resp_plain", "resp_old", "resp_new"} {
			var sentinel error
			if !strings.Contains(test.readable, id) {
				sentinel = history.ErrUnreadable
			}
			_, err := a.Response(ctx, id)
			want(t, err, sentinel)
		}
	}
	for _, keys := range [][]history.Key{{{ID: 1, Secret: []byte("short")}}, {old, old}} {
		_, err := history.New(s, history.Config{Keys: keys})
		want(t, err, history.ErrInvalid)
	}
	for _, c := range []history.Config{{TTL: -1}, {MaxResponse: 17 << 20}, {MaxChain: 1 << 40}, {MaxRecords: -1}, {MaxBytes: -1}} {
		_, err := history.New(s, c)
		want(t, err, history.ErrInvalid)
	}
}

// What is sealed is compressed first.
func TestPacked(t *testing.T) {
	s := &counted{Store: newMemory(t)}
	a := newHistory(t, &oneByOne{Store: s}, history.Config{Keys: testKeys}).Tenant("a")
	words := strings.Repeat("the same words again and again ", 3000)
	want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: []responses.Item{user("", words)}}), nil)
	if s.bytes > len(words)/10 {
		t.Fatalf("%d bytes of text are %d in the store", len(words), s.bytes)
	}
}
