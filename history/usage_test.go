package history_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

// failing is a store that refuses the writes it is told to.
type failing struct {
	store.Store
	mu   sync.Mutex
	want func(store.Change) bool
}

func (f *failing) refuse(want func(store.Change) bool) {
	f.mu.Lock()
	f.want = want
	f.mu.Unlock()
}

func (f *failing) Swap(ctx ctxT, c store.Change) error {
	f.mu.Lock()
	refused := f.want != nil && f.want(c)
	f.mu.Unlock()
	if refused {
		return fmt.Errorf("%w: told to", store.ErrUnavailable)
	}
	return f.Store.Swap(ctx, c)
}

func (f *failing) SwapMany(ctx ctxT, changes []store.Change) error {
	f.mu.Lock()
	refused := false
	for _, c := range changes {
		refused = refused || f.want != nil && f.want(c)
	}
	f.mu.Unlock()
	if refused {
		return fmt.Errorf("%w: told to", store.ErrUnavailable)
	}
	return f.Store.SwapMany(ctx, changes)
}

// holds checks that the ledger, the account and what is there agree.
func holds(t testing.TB, of history.Tenant, records int64) {
	t.Helper()
	there, bytes, orphans, err := of.Audit(ctx)
	want(t, err, nil)
	r, b := of.Account()
	if there != records || orphans != 0 || r != there || b != bytes {
		t.Fatalf("%d records of %d bytes, %d entries without; want %d records; the account says %d of %d", there, bytes, orphans, records, r, b)
	}
}

// The oldest give way to the newest, by number and by size, and nobody else's.
func TestCaps(t *testing.T) {
	onEach(t, history.Config{MaxRecords: 10, MaxBytes: 30_000}, func(t *testing.T, h *history.History) {
		a, b := h.Tenant("a"), h.Tenant("b")
		theirs := turn(t, b, "", "b", "b")
		var ids []string
		for i := range 25 {
			ids = append(ids, turn(t, a, "", n("q", i), n("a", i)))
			holds(t, a, int64(min(i+1, 10)))
		}
		for i, id := range ids {
			_, err := a.Response(ctx, id)
			if i < 15 {
				want(t, err, history.ErrNotFound)
				continue
			}
			want(t, err, nil)
		}
		equal(t, h.Stats().Evicted, 15)
		// A conversation in use is not old.
		c, err := a.CreateConversation(ctx, []responses.Item{user("", "c0")}, nil)
		want(t, err, nil)
		for i := range 12 {
			turn(t, a, "", "q", "a")
			_, err := a.AppendItems(ctx, c.ID, []responses.Item{user("", n("c", i+1))})
			want(t, err, nil)
		}
		thread, err := a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, len(thread.Items), 13)
		holds(t, a, 10)
		// Large ones push out several.
		for i := range 5 {
			big := completion(n("chatcmpl-", i), "m", "")
			big.Object = []byte(`{"text":"` + strings.Repeat("x", 9000) + `"}`)
			want(t, a.SaveCompletion(ctx, big), nil)
		}
		_, bytes, _, err := a.Audit(ctx)
		want(t, err, nil)
		if bytes > 30_000 || bytes < 18_000 {
			t.Fatalf("%d bytes", bytes)
		}
		_, err = a.Conversation(ctx, c.ID)
		want(t, err, history.ErrNotFound)
		_, err = a.Items(ctx, thread.Items[0].ID)
		want(t, err, history.ErrNotFound)
		err = a.Save(ctx, history.Turn{Response: response("resp_x", responses.Completed), Input: []responses.Item{user("", strings.Repeat("x", 30_000))}})
		want(t, err, history.ErrTooLarge)
		_, err = b.Response(ctx, theirs)
		want(t, err, nil)
	})
}

// In a store that all owners together fill before any of them reaches its own bound, the oldest of whoever has the most
// give way, and everybody can go on.
func TestFullStore(t *testing.T) {
	s := openStore(t, &store.Memory{Name: t.Name(), MaxBytes: 1 << 20})
	h := newHistory(t, s, history.Config{MaxBytes: 1 << 20})
	small := h.Tenant("small")
	kept := turn(t, small, "", "mine", "mine")
	last := map[int]string{}
	for i := range 300 { // some 6 KB each, twice what fits
		owner := i % 7
		last[owner] = turn(t, h.Tenant(n("t", owner)), last[owner], strings.Repeat("x", 3000), strings.Repeat("y", 3000))
		if i%100 == 0 { // or their chains grow longer than what may be kept
			clear(last)
		}
	}
	for owner, id := range last {
		_, err := h.Tenant(n("t", owner)).Response(ctx, id)
		want(t, err, nil)
	}
	_, err := small.Response(ctx, kept)
	want(t, err, nil)
	turn(t, h.Tenant("new"), "", "a", "b")
	if h.Stats().Evicted < 100 {
		t.Errorf("%d evicted", h.Stats().Evicted)
	}
	for owner := range 7 {
		a := h.Tenant(n("t", owner))
		there, bytes, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		if r, b := a.Account(); r != there || b != bytes || orphans != 0 {
			t.Errorf("%d records of %d bytes, %d entries without; the account says %d of %d", there, bytes, orphans, r, b)
		}
	}
	// At once.
	var wg sync.WaitGroup
	for owner := range 8 {
		wg.Go(func() {
			for range 100 {
				turn(t, h.Tenant(n("t", owner)), "", strings.Repeat("x", 2000), strings.Repeat("y", 2000))
			}
		})
	}
	wg.Wait()
}

// At its cap, a tenant does not lose what it is continuing, however old that is.
func TestCapsSpare(t *testing.T) {
	h := newHistory(t, newMemory(t), history.Config{MaxRecords: 4})
	a := h.Tenant("a")
	last := turn(t, a, "", "q", "a")
	for range 3 {
		turn(t, a, "", "other", "other")
	}
	for i := range 8 {
		chain, err := a.Chain(ctx, last)
		if i < 4 {
			want(t, err, nil)
			equal(t, len(chain.Items), 2*(i+1))
		} else if err != nil { // there was nothing else to give way
			want(t, err, history.ErrNotFound)
			break
		}
		last = turn(t, a, last, "q", "a")
		holds(t, a, 4)
	}
	b := h.Tenant("b")
	thread, err := b.NamedThread(ctx, "chat")
	for i := range 4 {
		want(t, err, nil)
		equal(t, len(thread.Items), 2*i)
		_, err = said(b, thread, "q", "a")
		want(t, err, nil)
		for range 2 {
			turn(t, b, "", "other", "other")
		}
		thread, err = b.Thread(ctx, "chat")
	}
	holds(t, b, 4)
}

// Writers of all kinds at once: the cap holds at every moment, and the account is right to the byte at the end.
func TestAccountUnderConcurrency(t *testing.T) {
	onEach(t, history.Config{MaxRecords: 60}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 25 {
					id := fmt.Sprintf("w%d-%d", w, i)
					var err error
					switch i % 5 {
					case 0:
						_, err = a.CreateConversation(ctx, []responses.Item{user("", "x")}, nil)
					case 1:
						err = a.SaveCompletion(ctx, completion("chatcmpl-"+id, "m", ""))
					case 2:
						var gone string
						if gone, err = tryTurn(a, "", "q", "a"); err == nil {
							if err = a.DeleteResponse(ctx, gone); errors.Is(err, history.ErrNotFound) {
								err = nil // it had to give way
							}
						}
					case 3:
						var thread *history.Thread
						if thread, err = a.NamedThread(ctx, n("chat-", w)); err == nil {
							_, err = said(a, thread, "q", "a")
						}
						if errors.Is(err, history.ErrNotFound) {
							err = nil
						}
					default:
						_, err = tryTurn(a, "", "q", "a")
					}
					if err != nil {
						t.Error(err)
					}
					if records, _ := a.Account(); records > 60 {
						t.Errorf("%d records", records)
					}
				}
			})
		}
		wg.Wait()
		there, _, _, err := a.Audit(ctx)
		want(t, err, nil)
		if there > 60 || there < 50 {
			t.Errorf("%d records", there)
		}
		holds(t, a, there)
	})
}

// A process that dies at any write of any operation leaves at least what there is on the account, and the next process
// holds the cap.
func TestAccountAfterCrash(t *testing.T) {
	operations := map[string]func(a history.Tenant, i int) error{
		"save": func(a history.Tenant, i int) error { _, err := tryTurn(a, "", "q", "a"); return err },
		"conversation": func(a history.Tenant, i int) error {
			_, err := a.CreateConversation(ctx, []responses.Item{user("", "x")}, nil)
			return err
		},
		"turn": func(a history.Tenant, i int) error {
			thread, err := a.NamedThread(ctx, "chat")
			if err == nil {
				_, err = said(a, thread, "q", "a")
			}
			return err
		},
		"completion": func(a history.Tenant, i int) error { return a.SaveCompletion(ctx, completion(n("c", i), "m", "")) },
	}
	for name, operate := range operations {
		t.Run(name, func(t *testing.T) {
			s := &failing{Store: newMemory(t)}
			for at := range 12 {
				writes := 0
				s.refuse(func(store.Change) bool { writes++; return writes > at })
				_ = operate(newHistory(t, s, history.Config{}).Tenant("a"), at)
				s.refuse(nil)
			}
			all := newHistory(t, s, history.Config{}).Tenant("a")
			listed, _, _, err := all.Audit(ctx)
			want(t, err, nil)
			page, err := s.List(ctx, all.Space(""), store.Page{Limit: store.MaxPage})
			want(t, err, nil)
			conversations, err := s.List(ctx, all.Space(":k"), store.Page{})
			want(t, err, nil)
			chats, err := s.List(ctx, all.Space(":h"), store.Page{})
			want(t, err, nil)
			if there := len(page) + len(conversations) + len(chats); int64(there) > listed {
				t.Fatalf("%d records are there and %d on the account", there, listed)
			}
			capped := newHistory(t, s, history.Config{MaxRecords: 3}).Tenant("a")
			for range 8 {
				_, _ = tryTurn(capped, "", "q", "a")
			}
			there, _, _, err := capped.Audit(ctx)
			want(t, err, nil)
			if there > 3 {
				t.Fatalf("%d records under a cap of 3", there)
			}
		})
	}
}

// Next turn on another gateway, the moment the first has stored: it always finds its parent.
func TestNextTurnElsewhere(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	var nodes [2]history.Tenant
	for i := range nodes {
		nodes[i] = newHistory(t, onRedis(t, server, 10+i), history.Config{}).Tenant("a")
	}
	var found atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := ""
			for i := range 130 {
				node := nodes[i%2]
				if i%26 > 0 {
					chain, err := node.Chain(ctx, last)
					if err != nil || len(chain.Items) != 2*(i%26) {
						t.Errorf("turn %d: %v", i, err)
						return
					}
					found.Add(1)
				}
				previous := last
				if i%26 == 0 {
					previous = ""
				}
				var err error
				if last, err = tryTurn(node, previous, "q", "a"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	equal(t, found.Load(), 1000)
}

func TestUnavailable(t *testing.T) {
	server := storetest.StartRedis(t)
	h := newHistory(t, openStore(t, &store.Redis{URL: server.URL()}), history.Config{})
	a := h.Tenant("a")
	id := turn(t, a, "", "q", "a")
	server.Kill()
	_, err := a.Response(ctx, id)
	want(t, err, history.ErrUnavailable)
	_, err = a.Chain(ctx, id)
	want(t, err, history.ErrUnavailable)
	if errors.Is(err, history.ErrNotFound) {
		t.Fatal("a store that is down has said that something is not there")
	}
	_, err = tryTurn(a, "", "q", "a")
	want(t, err, history.ErrUnavailable)
	_, err = a.NamedThread(ctx, "chat-1")
	want(t, err, history.ErrUnavailable)
	_, err = a.Items(ctx, "msg_1")
	want(t, err, history.ErrUnavailable)
	_, err = h.Keyless(ctx, "bearer")
	want(t, err, history.ErrUnavailable)
	_, err = h.Keyless(ctx, "")
	want(t, err, nil)
	want(t, a.DeleteResponse(ctx, id), history.ErrUnavailable)
	if h.Stats().Unavailable < 5 {
		t.Fatal("it was not counted")
	}
}
