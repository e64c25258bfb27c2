package history_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

func keyless(t testing.TB, h *history.History, bearer string) history.Tenant {
	t.Helper()
	of, err := h.Keyless(ctx, bearer)
	want(t, err, nil)
	return of
}

// big is a conversation of some 3000 bytes.
func big(of history.Tenant) error {
	_, err := of.CreateConversation(ctx, []responses.Item{user("", strings.Repeat("x", 3000))}, nil)
	return err
}

// H6: tokens can be invented, and all of them have one cap in common. Who reaches it gives up its own; who has nothing to
// give is refused; nobody else loses anything. Key owners and the machine's own user have no part in it.
func TestKeylessCap(t *testing.T) {
	onEach(t, history.Config{MaxBytes: 40_000, MaxKeylessBytes: 60_000, MaxKeylessRecords: 40}, func(t *testing.T, h *history.History) {
		victim := keyless(t, h, "victim")
		want(t, big(victim), nil)
		mine := turn(t, victim, "", "q", "a")
		stored, refused := 0, 0
		var first history.Tenant
		for i := range 60 {
			of := keyless(t, h, n("invented-", i))
			known, err := of.Known(ctx)
			want(t, err, nil)
			equal(t, known, false)
			err = big(of)
			if err == nil {
				stored++
			} else {
				want(t, err, history.ErrFull)
				refused++
			}
			if stored == 1 && refused == 0 {
				first = of
			}
			is, knownErr := of.Known(ctx)
			want(t, knownErr, nil)
			equal(t, is, err == nil)
		}
		if stored < 6 || stored > 18 || refused < 40 {
			t.Fatalf("%d were stored and %d refused", stored, refused)
		}
		_, err := victim.Response(ctx, mine)
		want(t, err, nil)
		// Who is in goes on, by its own oldest.
		for range 5 {
			want(t, big(first), nil)
		}
		_, err = victim.Response(ctx, mine)
		want(t, err, nil)
		// Others are not concerned.
		for range 5 {
			want(t, big(h.Tenant("owner")), nil)
			want(t, big(keyless(t, h, "")), nil)
		}
	})
}

// The sum survives a restart, and other gateways see it.
func TestKeylessCapIsStored(t *testing.T) {
	server := storetest.StartRedis(t)
	c := history.Config{MaxBytes: 40_000, MaxKeylessBytes: 30_000}
	fillUp := func(h *history.History, name string) (stored int) {
		for i := range 20 {
			switch err := big(keyless(t, h, n(name, i))); {
			case err == nil:
				stored++
			case !errors.Is(err, history.ErrFull):
				t.Fatal(err)
			}
		}
		return stored
	}
	if got := fillUp(newHistory(t, onRedis(t, server, 16), c), "a"); got < 4 || got > 9 {
		t.Fatalf("%d were stored", got)
	}
	equal(t, fillUp(newHistory(t, onRedis(t, server, 17), c), "b"), 0)
}

// What is deleted is free for others.
func TestKeylessCapIsGivenBack(t *testing.T) {
	h := newHistory(t, newMemory(t), history.Config{MaxKeylessBytes: 1 << 20, MaxKeylessRecords: 8})
	for round := range 5 {
		var ids []string
		for i := range 8 {
			ids = append(ids, turn(t, keyless(t, h, n("t", round*8+i)), "", "q", "a"))
		}
		want(t, big(keyless(t, h, "late")), history.ErrFull)
		for i, id := range ids {
			want(t, keyless(t, h, n("t", round*8+i)).DeleteResponse(ctx, id), nil)
		}
	}
}

// H6: in a full memory store, a stranger pushes out nobody, and everybody else pushes out strangers first.
func TestStrangersPushOutNobody(t *testing.T) {
	s := openStore(t, &store.Memory{Name: t.Name(), MaxBytes: 1 << 20})
	h := newHistory(t, s, history.Config{MaxBytes: 1 << 20, MaxKeylessBytes: 1 << 20})
	owner, local := h.Tenant("owner"), keyless(t, h, "")
	var theirs, ours []string
	for range 20 {
		theirs = append(theirs, turn(t, owner, "", strings.Repeat("x", 3000), strings.Repeat("y", 3000)))
		ours = append(ours, turn(t, local, "", strings.Repeat("x", 3000), strings.Repeat("y", 3000)))
	}
	refused := 0
	for i := range 400 {
		err := big(keyless(t, h, n("stranger-", i)))
		if err != nil {
			want(t, err, history.ErrFull)
			refused++
		}
	}
	if refused < 50 || refused > 350 {
		t.Fatalf("%d of 400 were refused", refused)
	}
	check := func() {
		t.Helper()
		for i := range theirs {
			_, err := owner.Response(ctx, theirs[i])
			want(t, err, nil)
			_, err = local.Response(ctx, ours[i])
			want(t, err, nil)
		}
	}
	check()
	for range 20 {
		turn(t, h.Tenant("another"), "", strings.Repeat("x", 3000), strings.Repeat("y", 3000))
	}
	check()
}
