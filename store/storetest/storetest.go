// Package storetest is what every store must do, written as tests. A new store runs it:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store { … })
//	}
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labiium/chat2response/store"
)

// Run runs the suite. open returns a store that nobody else writes to; it may hold values in other spaces than those
// that begin with "t.". The suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"create, replace, remove", testSwap},
		{"names and values", testNames},
		{"bytes are kept as they are", testBytes},
		{"big values", testBig},
		{"get many", testGetMany},
		{"delete", testDelete},
		{"expiry", testExpiry},
		{"extend", testExtend},
		{"order", testOrder},
		{"paging under writes", testPagingUnderWrites},
		{"one creator wins", testCreateRace},
		{"no update is lost", testUpdateRace},
		{"spaces are apart", testSpaces},
		{"many: all or none", testMany},
		{"many: thousands at once", testManyThousands},
		{"many: nothing is lost or made", testManyRace},
		{"many: one order explains all", testManyLinearizable},
		{"unlisted", testUnlisted},
		{"context", testContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test.run(t, s)
		})
	}
	t.Run("closed", func(t *testing.T) { testClosed(t, open(t)) })
}

var ctx = context.Background()

func want(t *testing.T, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Fatalf("got error %v; want %v", err, sentinel)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, s store.Store, space, id, value string) {
	t.Helper()
	got, err := s.Get(ctx, space, id)
	ok(t, err)
	if string(got) != value {
		t.Fatalf("%s/%s is %.80q; want %.80q", space, id, got, value)
	}
}

// create makes a value with a score.
func create(t *testing.T, s store.Store, space, id, value string, score int64) {
	t.Helper()
	ok(t, s.Swap(ctx, store.Change{Space: space, ID: id, New: []byte(value), Score: score}))
}

func testSwap(t *testing.T, s store.Store) {
	const space = "t.swap"
	_, err := s.Get(ctx, space, "a")
	want(t, err, store.ErrNotFound)

	c := store.Change{Space: space, ID: "a", Score: 1}
	swap := func(old, new string) error {
		c.Old, c.New = nil, nil
		if old != "" {
			c.Old = []byte(old)
		}
		if new != "" {
			c.New = []byte(new)
		}
		return s.Swap(ctx, c)
	}
	for _, step := range []struct {
		old, new string
		err      error
		then     string
	}{
		{"wrong", "x", store.ErrConflict, ""}, // replace of nothing
		{"wrong", "", store.ErrConflict, ""},  // removal of nothing
		{"", "one", nil, "one"},
		{"", "two", store.ErrConflict, "one"}, // create of what is there
		{"", "one", store.ErrConflict, "one"}, // also with the same value
		{"on", "two", store.ErrConflict, "one"},
		{"one ", "two", store.ErrConflict, "one"},
		{"ONE", "two", store.ErrConflict, "one"},
		{"one", "two", nil, "two"},
		{"one", "three", store.ErrConflict, "two"},
		{"one", "", store.ErrConflict, "two"},
		{"two", "two", nil, "two"},
		{"two", "", nil, ""},
		{"", "again", nil, "again"},
	} {
		err := swap(step.old, step.new)
		if !errors.Is(err, step.err) {
			t.Fatalf("swap %q → %q: %v; want %v", step.old, step.new, err, step.err)
		}
		got, _ := s.Get(ctx, space, "a")
		if string(got) != step.then {
			t.Fatalf("after swap %q → %q: %q; want %q", step.old, step.new, got, step.then)
		}
	}
}

func testNames(t *testing.T, s store.Store) {
	for _, c := range []store.Change{
		{Space: "", ID: "a", New: []byte("v")},
		{Space: "t.n", ID: "", New: []byte("v")},
		{Space: "t.n", ID: "a:b", New: []byte("v")},
		{Space: "t.n", ID: "a\x00b", New: []byte("v")},
		{Space: "t.n\x00", ID: "a", New: []byte("v")},
		{Space: "t.n", ID: "a b", New: []byte("v")},
		{Space: "t.n", ID: string(make([]byte, 300)), New: []byte("v")},
		{Space: "t.n", ID: "a"},
		{Space: "t.n", ID: "a", New: []byte{}},
		{Space: "t.n", ID: "a", Old: []byte{}, New: []byte("v")},
		{Space: "t.n", ID: "a", New: []byte("v"), Score: 1<<53 + 1},
		{Space: "t.n", ID: "a", New: make([]byte, store.MaxValue+1)},
	} {
		want(t, s.Swap(ctx, c), store.ErrName)
	}
	_, err := s.Get(ctx, "t.n", "a:b")
	want(t, err, store.ErrName)
	_, err = s.GetMany(ctx, "t.n", []string{"a", "b\n"})
	want(t, err, store.ErrName)
	want(t, s.Delete(ctx, "t.n", ""), store.ErrName)
	want(t, s.Extend(ctx, "t.n", []string{""}, time.Now()), store.ErrName)
	_, err = s.List(ctx, "", store.Page{})
	want(t, err, store.ErrName)
	create(t, s, "t.n:x{y}", "A-z_0.9*?[]\\~", "v", -1<<53)
	wantValue(t, s, "t.n:x{y}", "A-z_0.9*?[]\\~", "v")
}

func testBytes(t *testing.T, s store.Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	mine := slices.Clone(all)
	ok(t, s.Swap(ctx, store.Change{Space: "t.bytes", ID: "a", New: mine}))
	mine[0] = 'x' // the store must not have kept the caller's slice
	wantValue(t, s, "t.bytes", "a", string(all))
	ok(t, s.Swap(ctx, store.Change{Space: "t.bytes", ID: "a", Old: all, New: []byte("\xff\x00\r\n")}))
	wantValue(t, s, "t.bytes", "a", "\xff\x00\r\n")
}

func testBig(t *testing.T, s store.Store) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	ok(t, s.Swap(ctx, store.Change{Space: "t.big", ID: "a", New: big}))
	wantValue(t, s, "t.big", "a", string(big))
	changed := slices.Clone(big)
	changed[len(changed)-1] = '!'
	want(t, s.Swap(ctx, store.Change{Space: "t.big", ID: "a", Old: changed, New: big}), store.ErrConflict)
	ok(t, s.Swap(ctx, store.Change{Space: "t.big", ID: "a", Old: big, New: changed}))
	wantValue(t, s, "t.big", "a", string(changed))
}

func testGetMany(t *testing.T, s store.Store) {
	create(t, s, "t.many", "a", "A", 1)
	create(t, s, "t.many", "b", "B", 1)
	values, err := s.GetMany(ctx, "t.many", []string{"b", "none", "a", "b"})
	ok(t, err)
	if len(values) != 4 || string(values[0]) != "B" || values[1] != nil || string(values[2]) != "A" || string(values[3]) != "B" {
		t.Fatalf("got %q", values)
	}
	values, err = s.GetMany(ctx, "t.many", nil)
	ok(t, err)
	if len(values) != 0 {
		t.Fatalf("got %q for no ids", values)
	}
}

func testDelete(t *testing.T, s store.Store) {
	want(t, s.Delete(ctx, "t.del", "a"), store.ErrNotFound)
	create(t, s, "t.del", "a", "A", 1)
	ok(t, s.Delete(ctx, "t.del", "a"))
	want(t, s.Delete(ctx, "t.del", "a"), store.ErrNotFound)
	page, err := s.List(ctx, "t.del", store.Page{})
	ok(t, err)
	if len(page) != 0 {
		t.Fatalf("a deleted value is listed: %v", page)
	}
}

func testExpiry(t *testing.T, s store.Store) {
	soon := time.Now().Add(300 * time.Millisecond)
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "soon", New: []byte("v"), Score: 1, Expires: soon}))
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "kept", New: []byte("v"), Score: 2, Expires: soon}))
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "kept", Old: []byte("v"), New: []byte("w"), Score: 2})) // no expiry now
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "late", New: []byte("v"), Score: 3}))
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "late", Old: []byte("v"), New: []byte("v"), Score: 3, Expires: soon})) // expiry now
	if time.Now().Before(soon.Add(-50 * time.Millisecond)) {
		wantValue(t, s, "t.exp", "soon", "v")
	}
	time.Sleep(time.Until(soon) + 50*time.Millisecond)

	for _, id := range []string{"soon", "late"} {
		_, err := s.Get(ctx, "t.exp", id)
		want(t, err, store.ErrNotFound)
		want(t, s.Delete(ctx, "t.exp", id), store.ErrNotFound)
		want(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: id, Old: []byte("v"), New: []byte("x")}), store.ErrConflict)
	}
	values, err := s.GetMany(ctx, "t.exp", []string{"soon", "kept", "late"})
	ok(t, err)
	if values[0] != nil || string(values[1]) != "w" || values[2] != nil {
		t.Fatalf("got %q", values)
	}
	page, err := s.List(ctx, "t.exp", store.Page{})
	ok(t, err)
	if len(page) != 1 || page[0].ID != "kept" {
		t.Fatalf("listed %v; want kept only", page)
	}
	create(t, s, "t.exp", "soon", "new", 4) // the expired one is not in the way
	wantValue(t, s, "t.exp", "soon", "new")

	// A change whose expiry is past is a removal.
	ok(t, s.Swap(ctx, store.Change{Space: "t.exp", ID: "soon", Old: []byte("new"), New: []byte("x"), Expires: time.Now().Add(-time.Hour)}))
	_, err = s.Get(ctx, "t.exp", "soon")
	want(t, err, store.ErrNotFound)
}

func testExtend(t *testing.T, s store.Store) {
	soon := time.Now().Add(300 * time.Millisecond)
	for _, id := range []string{"short", "extended", "shortened"} {
		ok(t, s.Swap(ctx, store.Change{Space: "t.ext", ID: id, New: []byte(id), Score: 7, Expires: soon}))
	}
	create(t, s, "t.ext", "forever", "forever", 7)
	ok(t, s.Extend(ctx, "t.ext", []string{"extended", "none", "forever", "shortened"}, time.Now().Add(time.Hour)))
	ok(t, s.Extend(ctx, "t.ext", []string{"shortened"}, time.Now().Add(time.Millisecond))) // never to an earlier time
	time.Sleep(time.Until(soon) + 50*time.Millisecond)
	values, err := s.GetMany(ctx, "t.ext", []string{"short", "extended", "none", "forever", "shortened"})
	ok(t, err)
	if got := fmt.Sprintf("%s", values); got != "[ extended  forever shortened]" {
		t.Fatalf("got %s", got)
	}
	page, err := s.List(ctx, "t.ext", store.Page{})
	ok(t, err)
	if len(page) != 3 || page[0].Score != 7 {
		t.Fatalf("listed %v", page)
	}
}

func ids(page []store.Entry) (ids []string) {
	for _, e := range page {
		ids = append(ids, e.ID)
	}
	return ids
}

func testOrder(t *testing.T, s store.Store) {
	positions := []store.Position{
		{Score: -5, ID: "neg"}, {Score: 0, ID: "zero"}, {Score: 1, ID: "a"}, {Score: 1, ID: "aa"}, {Score: 1, ID: "b"},
		{Score: 9, ID: "x"}, {Score: 10, ID: "B"}, {Score: 1000, ID: "A"}, {Score: 1 << 53, ID: "last"},
	}
	for _, i := range rand.Perm(len(positions)) {
		create(t, s, "t.order", positions[i].ID, "v-"+positions[i].ID, positions[i].Score)
	}
	create(t, s, "t.order.", "other", "v", 1)
	create(t, s, "t.orde", "other", "v", 1)
	for _, reverse := range []bool{false, true} {
		all := slices.Clone(positions)
		if reverse {
			slices.Reverse(all)
		}
		for limit := 1; limit <= len(all)+1; limit++ {
			var got []store.Position
			for p := (store.Page{Limit: limit, Reverse: reverse}); ; {
				page, err := s.List(ctx, "t.order", p)
				ok(t, err)
				for _, e := range page {
					got = append(got, e.Position)
					if string(e.Value) != "v-"+e.ID {
						t.Fatalf("%s has the value %q", e.ID, e.Value)
					}
				}
				if len(page) < limit {
					break
				}
				p.After = page[len(page)-1].Position
			}
			if !slices.Equal(got, all) {
				t.Fatalf("limit %d, reverse %v:\n got %v\nwant %v", limit, reverse, got, all)
			}
		}
	}
	// A position that is gone, or never was, is as good as any other to go on from.
	ok(t, s.Delete(ctx, "t.order", "aa"))
	for _, after := range []store.Position{{Score: 1, ID: "aa"}, {Score: 1, ID: "aZ"}} {
		page, err := s.List(ctx, "t.order", store.Page{After: after, Limit: 2})
		ok(t, err)
		if got := ids(page); !slices.Equal(got, []string{"b", "x"}) {
			t.Fatalf("after %v: %v", after, got)
		}
		page, err = s.List(ctx, "t.order", store.Page{After: after, Limit: 2, Reverse: true})
		ok(t, err)
		if got := ids(page); !slices.Equal(got, []string{"a", "zero"}) {
			t.Fatalf("before %v: %v", after, got)
		}
	}
	// Replacing with another score moves.
	ok(t, s.Swap(ctx, store.Change{Space: "t.order", ID: "a", Old: []byte("v-a"), New: []byte("v-a"), Score: 9999}))
	page, err := s.List(ctx, "t.order", store.Page{Limit: 2, Reverse: true})
	ok(t, err)
	if got := ids(page); !slices.Equal(got, []string{"last", "a"}) {
		t.Fatalf("moved: %v", got)
	}
	page, err = s.List(ctx, "t.nobody", store.Page{})
	ok(t, err)
	if len(page) != 0 {
		t.Fatalf("an empty space lists %v", page)
	}
}

func testPagingUnderWrites(t *testing.T, s store.Store) {
	const stay = 120
	for i := range stay {
		create(t, s, "t.paging", fmt.Sprintf("stay%04d", i), "v", int64(i/7))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("go%d-%d", w, i%10)
				err := s.Swap(ctx, store.Change{Space: "t.paging", ID: id, New: []byte("v"), Score: int64(rand.N(stay / 7))})
				if err == nil {
					err = s.Delete(ctx, "t.paging", id)
				}
				if err != nil {
					t.Errorf("writer: %v", err)
					return
				}
			}
		})
	}
	for round := range 12 {
		seen := map[string]int{}
		p := store.Page{Limit: 1 + round, Reverse: round%2 == 1}
		for {
			page, err := s.List(ctx, "t.paging", p)
			ok(t, err)
			for _, e := range page {
				if e.ID[0] == 's' {
					seen[e.ID]++
				}
			}
			if len(page) < p.Limit {
				break
			}
			p.After = page[len(page)-1].Position
		}
		if len(seen) != stay {
			t.Fatalf("round %d saw %d of %d entries that were always there", round, len(seen), stay)
		}
		for id, n := range seen {
			if n != 1 {
				t.Fatalf("round %d saw %s %d times", round, id, n)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func testCreateRace(t *testing.T, s store.Store) {
	for round := range 20 {
		var winners, losers atomic.Int32
		var value atomic.Value
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				mine := "writer" + strconv.Itoa(w)
				err := s.Swap(ctx, store.Change{Space: "t.create", ID: strconv.Itoa(round), New: []byte(mine)})
				switch {
				case err == nil:
					winners.Add(1)
					value.Store(mine)
				case errors.Is(err, store.ErrConflict):
					losers.Add(1)
				default:
					t.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		if winners.Load() != 1 || losers.Load() != 7 {
			t.Fatalf("%d creators won, %d lost; want 1 and 7", winners.Load(), losers.Load())
		}
		wantValue(t, s, "t.create", strconv.Itoa(round), value.Load().(string))
	}
}

func testUpdateRace(t *testing.T, s store.Store) {
	const writers, each = 8, 25
	create(t, s, "t.count", "n", "0", 0)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				old, err := s.Get(ctx, "t.count", "n")
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(old))
				err = s.Swap(ctx, store.Change{Space: "t.count", ID: "n", Old: old, New: []byte(strconv.Itoa(n + 1))})
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Errorf("swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	wantValue(t, s, "t.count", "n", strconv.Itoa(writers*each))
}

func testSpaces(t *testing.T, s store.Store) {
	create(t, s, "t.s:{a}", "x", "in a", 1)
	create(t, s, "t.s:{b}", "x", "in b", 1)
	create(t, s, "t.s", "x", "above", 1)
	wantValue(t, s, "t.s:{a}", "x", "in a")
	ok(t, s.Delete(ctx, "t.s:{a}", "x"))
	wantValue(t, s, "t.s:{b}", "x", "in b")
	for space, n := range map[string]int{"t.s": 1, "t.s:{a}": 0, "t.s:{b}": 1} {
		page, err := s.List(ctx, space, store.Page{})
		ok(t, err)
		if len(page) != n {
			t.Fatalf("%s lists %d; want %d", space, len(page), n)
		}
	}
}

func testContext(t *testing.T, s store.Store) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Get(ended, "t.ctx", "a")
	want(t, err, context.Canceled)
	want(t, s.Swap(ended, store.Change{Space: "t.ctx", ID: "a", New: []byte("v")}), context.Canceled)
	_, err = s.Get(ctx, "t.ctx", "a")
	want(t, err, store.ErrNotFound)
	ok(t, s.Ping(ctx))
}

func testClosed(t *testing.T, s store.Store) {
	create(t, s, "t.closed", "a", "v", 1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 { // in-flight users outlive the store and get an answer, not a panic
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Get(ctx, "t.closed", "a"); err != nil && !errors.Is(err, store.ErrClosed) {
					t.Errorf("get while closing: %v", err)
					return
				}
				_, _ = s.List(ctx, "t.closed", store.Page{})
				err := s.Swap(ctx, store.Change{Space: "t.closed", ID: "a", Old: []byte("v"), New: []byte("v")})
				if err != nil && !errors.Is(err, store.ErrClosed) && !errors.Is(err, store.ErrConflict) {
					t.Errorf("swap while closing: %v", err)
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	ok(t, s.Close())
	ok(t, s.Close())
	time.Sleep(20 * time.Millisecond)
	close(stop)
	wg.Wait()
	_, err := s.Get(ctx, "t.closed", "a")
	want(t, err, store.ErrClosed)
	_, err = s.GetMany(ctx, "t.closed", []string{"a"})
	want(t, err, store.ErrClosed)
	want(t, s.Swap(ctx, store.Change{Space: "t.closed", ID: "b", New: []byte("v")}), store.ErrClosed)
	want(t, s.SwapMany(ctx, []store.Change{{Space: "t.closed", ID: "b", New: []byte("v")}}), store.ErrClosed)
	want(t, s.Delete(ctx, "t.closed", "a"), store.ErrClosed)
	want(t, s.Extend(ctx, "t.closed", []string{"a"}, time.Now()), store.ErrClosed)
	_, err = s.List(ctx, "t.closed", store.Page{})
	want(t, err, store.ErrClosed)
	want(t, s.Ping(ctx), store.ErrClosed)
}
