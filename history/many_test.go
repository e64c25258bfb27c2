package history_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

// many are so many small items; own says that they come with ids.
func many(count int, own bool, name string) []responses.Item {
	items := make([]responses.Item, count)
	for i := range items {
		items[i] = responses.Item{Type: "message", Role: "user", Content: responses.Text("x")}
		if own {
			items[i].ID = fmt.Sprintf("own-%s-%d", name, i)
		}
	}
	return items
}

// H10, M8: a response is one write of the store, however many items it has, with all that belongs to it; it is removed by
// one; and when that write fails, nothing is left. Each item is found by its id.
func TestOneWrite(t *testing.T) {
	const count = 3000
	for name, own := range map[string]bool{"minted": false, "own": true} {
		t.Run(name, func(t *testing.T) {
			w := &acts{Store: newMemory(t)}
			s := &failing{Store: w}
			a := newHistory(t, s, history.Config{}).Tenant("a")
			thread, err := a.NamedThread(ctx, "chat")
			want(t, err, nil)
			r := response("resp_1", responses.Completed, answer("msg_1", "yes"))
			r.Echo = []byte(`{"instructions":"` + fmt.Sprintf("%04000d", 1) + `"}`)
			s.refuse(func(c store.Change) bool { return c.Space == a.Space("") })
			want(t, a.Save(ctx, history.Turn{Response: r, Input: many(count, own, "a"), Thread: thread}), history.ErrUnavailable)
			s.refuse(nil)
			if n := w.there(t); n != 0 {
				t.Fatalf("%d values are left of a write that failed", n)
			}
			holds(t, a, 0)
			w.writes = 0
			want(t, a.Save(ctx, history.Turn{Response: r, Input: many(count, own, "a"), Thread: thread}), nil)
			if w.writes != 1 {
				t.Fatalf("%d writes", w.writes)
			}
			holds(t, a, 2)
			list, err := a.InputItems(ctx, "resp_1", history.Page{Limit: 100, Order: "asc"})
			want(t, err, nil)
			for _, item := range list.Data {
				found, err := a.Items(ctx, item.ID)
				want(t, err, nil)
				equal(t, found[0].ID, item.ID)
			}
			// In the conversation they are found when the response is gone, and then in neither.
			w.writes = 0
			want(t, a.DeleteResponse(ctx, "resp_1"), nil)
			if w.writes != 1 {
				t.Fatalf("%d writes to remove it", w.writes)
			}
			_, err = a.Items(ctx, list.Data[7].ID)
			want(t, err, nil)
			want(t, a.DeleteConversation(ctx, "chat"), nil)
			_, err = a.Items(ctx, list.Data[7].ID)
			want(t, err, history.ErrNotFound)
			if n := w.there(t); n != 0 {
				t.Fatalf("%d values are left", n)
			}
			holds(t, a, 0)
		})
	}
}

// acts is a store that counts acts, not changes, and what is there after them.
type acts struct {
	store.Store
	mu     sync.Mutex
	writes int
	names  map[[2]string]bool
}

func (a *acts) note(changes []store.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes++
	if a.names == nil {
		a.names = map[[2]string]bool{}
	}
	for _, c := range changes {
		a.names[[2]string{c.Space, c.ID}] = true
	}
}

func (a *acts) Swap(ctx ctxT, c store.Change) error {
	a.note([]store.Change{c})
	return a.Store.Swap(ctx, c)
}

func (a *acts) SwapMany(ctx ctxT, changes []store.Change) error {
	a.note(changes)
	return a.Store.SwapMany(ctx, changes)
}

func (a *acts) Delete(ctx ctxT, space, id string) error {
	a.note(nil)
	return a.Store.Delete(ctx, space, id)
}

func (a *acts) there(t testing.TB) (n int) {
	for name := range a.names {
		if _, err := a.Get(ctx, name[0], name[1]); err == nil {
			n++
		}
	}
	return n
}

// H10: whatever a tenant sends, and whether or not it is stored, the number of names in Redis is bounded by its caps.
func TestNamesAreBounded(t *testing.T) {
	count, turns := 24_000, 15
	if raceEnabled || testing.Short() {
		count, turns = 4000, 4
	}
	for name, own := range map[string]bool{"minted": false, "own": true} {
		t.Run(name, func(t *testing.T) {
			server := storetest.StartRedis(t)
			const most = 8 << 20
			a := newHistory(t, onRedis(t, server, 16), history.Config{MaxBytes: most, MaxRecords: 10}).Tenant("a")
			if own && !server.Real() {
				count, turns = 2000, 12 // the substitute is some thirty times slower
			}
			for i := range turns {
				want(t, a.Save(ctx, history.Turn{Response: response(n("resp_", i), responses.Completed), Input: many(count, own, n("", i))}), nil)
			}
			_, err := a.Response(ctx, n("resp_", turns-1))
			want(t, err, nil)
			names, err := server.Client.DBSize(ctx).Result()
			want(t, err, nil)
			records, bytes, orphans, err := a.Audit(ctx)
			want(t, err, nil)
			t.Logf("%d names, %d records of %d bytes", names, records, bytes)
			// Of a record: itself, its entry, its echo, one tag; of the tenant: the orders of four spaces; a pointer is 200 bytes.
			if bound := 10*4 + 4 + bytes/200; names > bound || bytes > most || records > 10 || orphans != 0 {
				t.Fatalf("%d names; want at most %d", names, bound)
			}
			if !own && names > 10*4+4 {
				t.Fatalf("%d names; want no pointer of each item", names)
			}
		})
	}
}

// What earlier versions have written is found: an item whose id looks minted, and has a pointer of its own.
func TestOldPointers(t *testing.T) {
	s := newMemory(t)
	a := newHistory(t, s, history.Config{}).Tenant("a")
	old := history.NewID("msg_")
	want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: []responses.Item{user(old, "x")}}), nil)
	raw, err := s.Get(ctx, a.Space(":i"), old)
	want(t, err, nil)
	want(t, s.Delete(ctx, a.Space(":i"), old), nil)
	want(t, s.Swap(ctx, store.Change{Space: a.Space(":i"), ID: old, New: raw, Score: 1_700_000_000_000_000}), nil) // listed, as it was
	_, err = a.Items(ctx, old)
	want(t, err, nil)
	// It is sent again, and is in two places; then in one; then in none.
	want(t, a.Save(ctx, history.Turn{Response: response("resp_2", responses.Completed), Input: []responses.Item{user(old, "x")}}), nil)
	want(t, a.DeleteResponse(ctx, "resp_2"), nil)
	_, err = a.Items(ctx, old)
	want(t, err, nil)
	want(t, a.DeleteResponse(ctx, "resp_1"), nil)
	_, err = a.Items(ctx, old)
	want(t, err, history.ErrNotFound)
	page, err := s.List(ctx, a.Space(":i"), store.Page{})
	want(t, err, nil)
	equal(t, len(page), 0)
}

// M8: the time to save a response by the number of its items.
func BenchmarkSaveMany(b *testing.B) {
	for _, on := range []struct {
		name string
		open func(testing.TB) store.Store
	}{{"memory", newMemory}, {"bbolt", newBbolt}, {"bbolt on the disk", newBboltOnDisk("")}, {"redis", newRedis}} {
		for _, count := range []int{1, 100, 1000, 24_000} {
			for name, own := range map[string]bool{"minted": false, "own": true} {
				b.Run(fmt.Sprintf("%s/%d %s", on.name, count, name), func(b *testing.B) {
					h := newHistory(b, on.open(b), history.Config{MaxBytes: 1 << 30})
					for i := 0; b.Loop(); i++ {
						b.StopTimer()
						a, items := h.Tenant(n("t", i)), many(count, own, "a")
						b.StartTimer()
						want(b, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: items}), nil)
					}
				})
			}
		}
	}
}

// newBboltOnDisk is on the disk, whatever its fsync costs.
func newBboltOnDisk(sync string) func(testing.TB) store.Store {
	return func(t testing.TB) store.Store {
		return openStore(t, &store.Bbolt{Path: t.TempDir() + "/state.db", Sync: sync})
	}
}

// The throughput of 64 clients, each a tenant that saves turns, on memory and on a disk in each of bbolt's modes.
func BenchmarkSaveBy64(b *testing.B) {
	for _, on := range []struct {
		name string
		open func(testing.TB) store.Store
	}{
		{"memory", newMemory}, {"bbolt always", newBboltOnDisk(store.SyncAlways)},
		{"bbolt interval", newBboltOnDisk(store.SyncInterval)}, {"bbolt never", newBboltOnDisk(store.SyncNever)},
	} {
		b.Run(on.name, func(b *testing.B) {
			h := newHistory(b, on.open(b), history.Config{MaxBytes: 1 << 20})
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			var mu sync.Mutex
			number := 0
			b.RunParallel(func(pb *testing.PB) {
				mu.Lock()
				number++
				a := h.Tenant(n("t", number))
				mu.Unlock()
				for pb.Next() {
					want(b, a.Save(ctx, history.Turn{Response: costOutput(1), Input: costInput(1)}), nil)
				}
			})
		})
	}
}
