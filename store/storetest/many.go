package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/labiium/chat2response/store"
)

// The spaces of one owner, which share a node of a cluster.
const manyA, manyB = "t.m:{o}", "t.m:{o}:x"

func change(space, id, old, new string, score int64) store.Change {
	c := store.Change{Space: space, ID: id, Score: score}
	if old != "" {
		c.Old = []byte(old)
	}
	if new != "" {
		c.New = []byte(new)
	}
	return c
}

// lost is what a SwapMany says that has lost.
func lost(t *testing.T, err error) []int {
	t.Helper()
	want(t, err, store.ErrConflict)
	var e *store.ConflictError
	if !errors.As(err, &e) || len(e.Lost) == 0 {
		t.Fatalf("the error %v does not say which have lost", err)
	}
	return e.Lost
}

func wantIDs(t *testing.T, s store.Store, space string, wanted ...string) {
	t.Helper()
	page, err := s.List(ctx, space, store.Page{})
	ok(t, err)
	if got := ids(page); !slices.Equal(got, wanted) {
		t.Fatalf("%s lists %q; want %q", space, got, wanted)
	}
}

func testMany(t *testing.T, s store.Store) {
	ok(t, s.SwapMany(ctx, nil))
	ok(t, s.SwapMany(ctx, []store.Change{
		change(manyA, "a", "", "A", 2), change(manyA, "b", "", "B", 1), change(manyB, "a", "", "other", 7),
	}))
	wantIDs(t, s, manyA, "b", "a")
	wantIDs(t, s, manyB, "a")
	wantValue(t, s, manyB, "a", "other")

	// One that loses is enough, and all that do are named.
	err := s.SwapMany(ctx, []store.Change{
		change(manyA, "new", "", "N", 3), change(manyA, "a", "wrong", "x", 2), change(manyA, "b", "B", "", 0), change(manyB, "a", "", "y", 7),
		change(manyB, "none", "z", "", 7),
	})
	if got := lost(t, err); !slices.Equal(got, []int{1, 3, 4}) {
		t.Fatalf("the losers are %v", got)
	}
	wantIDs(t, s, manyA, "b", "a")
	wantValue(t, s, manyA, "a", "A")
	wantValue(t, s, manyB, "a", "other")

	// Replace, move, remove, drop what is there and what is not, and check by writing the same: at once.
	ok(t, s.SwapMany(ctx, []store.Change{
		change(manyA, "a", "A", "A2", 9), change(manyA, "b", "B", "", 0), change(manyA, "c", "", "C", 10), change(manyB, "a", "other", "other", 7),
		{Space: manyB, ID: "never", Drop: true},
	}))
	wantIDs(t, s, manyA, "a", "c")
	ok(t, s.SwapMany(ctx, []store.Change{{Space: manyA, ID: "a", Drop: true}, {Space: manyB, ID: "a", Drop: true}}))
	wantIDs(t, s, manyA, "c")
	wantIDs(t, s, manyB)
	ok(t, s.Swap(ctx, store.Change{Space: manyA, ID: "c", Drop: true}))
	ok(t, s.Swap(ctx, store.Change{Space: "t.untagged", ID: "c", Drop: true}))
	wantIDs(t, s, manyA)

	// A list of one is a swap, whatever its space.
	ok(t, s.SwapMany(ctx, []store.Change{change("t.one", "a", "", "A", 1)}))
	if got := lost(t, s.SwapMany(ctx, []store.Change{change("t.one", "a", "", "B", 1)})); !slices.Equal(got, []int{0}) {
		t.Fatalf("the losers are %v", got)
	}
	wantIDs(t, s, "t.one", "a")

	// Expiry: of values, and as a removal.
	soon := time.Now().Add(300 * time.Millisecond)
	short, gone := change(manyA, "short", "", "v", 1), change(manyA, "gone", "", "v", 1)
	short.Expires, gone.Expires = soon, time.Now().Add(-time.Hour)
	ok(t, s.SwapMany(ctx, []store.Change{short, gone, change(manyA, "long", "", "v", 2)}))
	time.Sleep(time.Until(soon) + 50*time.Millisecond)
	wantIDs(t, s, manyA, "long")
	short.Expires = time.Time{}
	ok(t, s.SwapMany(ctx, []store.Change{short, {Space: manyA, ID: "long", Drop: true}})) // an expired value is nothing
	wantIDs(t, s, manyA, "short")

	// What no store could do.
	for _, bad := range [][]store.Change{
		{change(manyA, "x", "", "1", 1), change(manyA, "x", "", "2", 1)},
		{change(manyA, "x", "", "1", 1), change("t.m:{p}", "x", "", "2", 1)},
		{change("t.m", "x", "", "1", 1), change("t.m", "y", "", "2", 1)},
		{change(manyA, "x", "", "1", 1), {Space: manyA, ID: "y"}},
		{change(manyA, "x", "", "1", 1), {Space: manyA, ID: "y", Drop: true, New: []byte("v")}},
		{change(manyA, "x", "", "1", 1), {Space: manyA, ID: "y", Drop: true, Old: []byte("v")}},
		make([]store.Change, store.MaxChanges+1),
	} {
		want(t, s.SwapMany(ctx, bad), store.ErrName)
	}
	_, err = s.Get(ctx, manyA, "x")
	want(t, err, store.ErrNotFound)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	want(t, s.SwapMany(ended, []store.Change{change(manyA, "x", "", "1", 1)}), context.Canceled)
	_, err = s.Get(ctx, manyA, "x")
	want(t, err, store.ErrNotFound)
}

// More than the stack and the argument lists of a scripting language have room for, which is 8000 values of Lua's. A slow
// machine's database that does not answer in time is asked again.
func testManyThousands(t *testing.T, s store.Store) {
	const n = 2500
	swap := func(changes []store.Change) error {
		for {
			if err := s.SwapMany(ctx, changes); !errors.Is(err, store.ErrUnavailable) {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	var create, remove []store.Change
	for i := range n {
		c := change(manyA, fmt.Sprintf("id%05d", i), "", "v", int64(i))
		c.Unlisted = true
		create = append(create, c)
		remove = append(remove, store.Change{Space: manyA, ID: c.ID, Drop: true, Unlisted: true})
	}
	if err := swap(create); err != nil {
		want(t, err, store.ErrConflict) // the first attempt was made after all
	}
	if got := lost(t, swap(create)); len(got) != n || got[n-1] != n-1 {
		t.Fatalf("%d of %d have lost", len(got), n)
	}
	wantValue(t, s, manyA, "id02499", "v")
	ok(t, swap(remove))
	_, err := s.Get(ctx, manyA, "id02499")
	want(t, err, store.ErrNotFound)
}

// Money moves between accounts, each time from one to another at once: none is lost and none is made.
func testManyRace(t *testing.T, s store.Store) {
	const accounts, writers, each = 5, 6, 20
	for i := range accounts {
		create(t, s, manyA, strconv.Itoa(i), "100", 0)
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				from, to := rand.IntN(accounts), rand.IntN(accounts-1)
				if to >= from {
					to++
				}
				values, err := s.GetMany(ctx, manyA, []string{strconv.Itoa(from), strconv.Itoa(to)})
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				a, _ := strconv.Atoi(string(values[0]))
				b, _ := strconv.Atoi(string(values[1]))
				err = s.SwapMany(ctx, []store.Change{
					change(manyA, strconv.Itoa(from), string(values[0]), strconv.Itoa(a-1), 0),
					change(manyA, strconv.Itoa(to), string(values[1]), strconv.Itoa(b+1), 0),
				})
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
	sum := 0
	page, err := s.List(ctx, manyA, store.Page{})
	ok(t, err)
	for _, e := range page {
		n, _ := strconv.Atoi(string(e.Value))
		sum += n
	}
	if len(page) != accounts || sum != accounts*100 {
		t.Fatalf("%d accounts hold %d; want %d and %d", len(page), sum, accounts, accounts*100)
	}
}

// Three registers, read one at a time and changed any number at once. There must be one order of all acts that explains
// every answer and respects what was over before what began (Herlihy and Wing, 1990); porcupine looks for it.
const registers = 3

type manyAct struct {
	read     int // which; -1: none
	old, new [registers]int
	touched  [registers]bool
}

type manyAnswer struct {
	value int
	lost  [registers]bool
	won   bool
}

var manyModel = porcupine.Model{
	Init: func() any { return [registers]int{} },
	Step: func(state, in, out any) (bool, any) {
		now, do, got := state.([registers]int), in.(manyAct), out.(manyAnswer)
		if do.read >= 0 {
			return got.value == now[do.read], now
		}
		next, won := now, true
		for i := range registers {
			if !do.touched[i] {
				continue
			}
			loses := now[i] != do.old[i]
			if loses != got.lost[i] {
				return false, now
			}
			won = won && !loses
			next[i] = do.new[i]
		}
		if won != got.won {
			return false, now
		}
		if !won {
			next = now
		}
		return true, next
	},
	Equal: func(a, b any) bool { return a == b },
}

func testManyLinearizable(t *testing.T, s store.Store) {
	const clients, each = 4, 40
	begun := time.Now()
	now := func() int64 { return int64(time.Since(begun)) }
	text := func(n int) string { // 0 is nothing
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 7))
			var seen [registers]int
			for range each {
				do := manyAct{read: random.IntN(2*registers) - registers}
				op := porcupine.Operation{ClientId: client}
				var got manyAnswer
				if do.read >= 0 {
					op.Call = now()
					v, err := s.Get(ctx, manyB, strconv.Itoa(do.read))
					op.Return = now()
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Errorf("get: %v", err)
						return
					}
					got.value, _ = strconv.Atoi(string(v))
					seen[do.read] = got.value
				} else {
					do.read = -1
					var changes []store.Change
					var at []int
					for i := range registers {
						if random.IntN(3) == 0 {
							continue
						}
						do.touched[i], do.old[i], do.new[i] = true, seen[i], random.IntN(4)
						if do.old[i] == 0 && do.new[i] == 0 {
							do.new[i] = 1
						}
						changes, at = append(changes, change(manyB, strconv.Itoa(i), text(do.old[i]), text(do.new[i]), 1)), append(at, i)
					}
					op.Call = now()
					err := s.SwapMany(ctx, changes)
					op.Return = now()
					var e *store.ConflictError
					switch {
					case err == nil:
						got.won = true
						for _, i := range at {
							seen[i] = do.new[i]
						}
					case errors.As(err, &e):
						for _, i := range e.Lost {
							got.lost[at[i]] = true
						}
					default:
						t.Errorf("swap: %v", err)
						return
					}
				}
				op.Input, op.Output = do, got
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if !porcupine.CheckOperations(manyModel, history) {
		t.Fatalf("no order explains these %d acts", len(history))
	}
}

// What is unlisted is everything but listed.
func testUnlisted(t *testing.T, s store.Store) {
	c := change("t.un:{o}", "a", "", "A", 5)
	c.Unlisted = true
	ok(t, s.Swap(ctx, c))
	wantValue(t, s, c.Space, "a", "A")
	wantIDs(t, s, c.Space)
	c.Old, c.New, c.Expires = []byte("A"), []byte("B"), time.Now().Add(300*time.Millisecond)
	soon := c.Expires
	ok(t, s.Swap(ctx, c))
	ok(t, s.Extend(ctx, c.Space, []string{"a"}, time.Now().Add(time.Hour)))
	time.Sleep(time.Until(soon) + 50*time.Millisecond)
	wantValue(t, s, c.Space, "a", "B")
	wantIDs(t, s, c.Space)
	ok(t, s.Delete(ctx, c.Space, "a"))
	ok(t, s.Swap(ctx, store.Change{Space: c.Space, ID: "a", New: []byte("C"), Unlisted: true}))
	ok(t, s.SwapMany(ctx, []store.Change{{Space: c.Space, ID: "a", Old: []byte("C"), Unlisted: true}}))
	_, err := s.Get(ctx, c.Space, "a")
	want(t, err, store.ErrNotFound)
}
