package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
)

// The turn of the figures: a question, a tool round trip and an answer, about 2.5 kB of items.
var prose = strings.Repeat("lorem ipsum dolor sit amet ", 20)

const costTurns = 200

func costInput(i int) []responses.Item {
	return []responses.Item{user("", n("q", i)+prose), {Type: "function_call_output", CallID: n("call_", i), Output: responses.String(prose)}}
}

func costOutput(i int) *responses.Response {
	return response(history.NewID("resp_"), responses.Completed,
		responses.Item{Type: "function_call", ID: history.NewID("fc_"), CallID: n("call_", i), Name: "f", Arguments: responses.String(`{"a":1}`), Status: "completed"},
		answer(history.NewID("msg_"), n("a", i)+prose))
}

// longChain makes a chain and reports each turn.
func longChain(t testing.TB, of history.Tenant, each func(i int)) (last string) {
	var chain *history.Chain
	for i := range costTurns {
		if i > 0 {
			var err error
			chain, err = of.Chain(ctx, last)
			want(t, err, nil)
		}
		r := costOutput(i)
		want(t, of.Save(ctx, history.Turn{Response: r, Input: costInput(i), Chain: chain}), nil)
		last = r.ID
		each(i)
	}
	return last
}

func longThread(t testing.TB, of history.Tenant, each func(i int)) string {
	c, err := of.CreateConversation(ctx, nil, nil)
	want(t, err, nil)
	for i := range costTurns {
		thread, err := of.Thread(ctx, c.ID)
		want(t, err, nil)
		want(t, of.Save(ctx, history.Turn{Response: costOutput(i), Input: costInput(i), Thread: thread}), nil)
		each(i)
	}
	return c.ID
}

// counted is a store that counts what is written to it.
type counted struct {
	store.Store
	bytes, writes int
}

func (c *counted) Swap(ctx ctxT, change store.Change) error {
	c.bytes += len(change.New) + len(change.ID) - len(change.Old)
	c.writes++
	return c.Store.Swap(ctx, change)
}

func (c *counted) SwapMany(ctx ctxT, changes []store.Change) error {
	for _, change := range changes {
		c.bytes += len(change.New) + len(change.ID) - len(change.Old)
		c.writes++
	}
	return c.Store.SwapMany(ctx, changes)
}

// A turn costs what it adds, in bytes and in writes, at any depth.
func TestCost(t *testing.T) {
	if raceEnabled {
		t.Skip("it measures, one thing at a time")
	}
	for name, run := range map[string]func(testing.TB, history.Tenant, func(int)) string{"chain": longChain, "conversation": longThread} {
		t.Run(name, func(t *testing.T) {
			s := &counted{Store: newMemory(t)}
			var bytes, writes []int
			// One at a time, or the counting would race.
			h := newHistory(t, &oneByOne{Store: s}, history.Config{})
			lastBytes, lastWrites := 0, 0
			run(t, h.Tenant("a"), func(int) {
				bytes, writes = append(bytes, s.bytes-lastBytes), append(writes, s.writes-lastWrites)
				lastBytes, lastWrites = s.bytes, s.writes
			})
			sum := func(v []int) (n int) {
				for _, x := range v {
					n += x
				}
				return n
			}
			early, late := sum(bytes[17:33])/16, sum(bytes[177:193])/16
			t.Logf("bytes per turn: %d at turn 25, %d at turn 185, most %d; writes: %d to %d",
				early, late, slices.Max(bytes[1:]), slices.Min(writes[1:]), slices.Max(writes[1:]))
			if late > early+early/25 {
				t.Errorf("a late turn is %d bytes, an early one %d; want the same", late, early)
			}
			if slices.Max(writes[1:]) > 8 {
				t.Errorf("a turn of 4 items took %d writes", slices.Max(writes[1:]))
			}
		})
	}
}

// The figures: a chain and a conversation of 200 turns are rebuilt within 5 ms on bbolt and 10 ms on Redis. The test
// allows for a busy machine; BenchmarkRebuild is the measurement.
func TestRebuildTime(t *testing.T) {
	if raceEnabled {
		t.Skip("it measures")
	}
	for name, b := range map[string]struct {
		open func(testing.TB) store.Store
		most time.Duration
	}{"bbolt": {newBbolt, 5 * time.Millisecond}, "redis": {newRedis, 10 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			a := newHistory(t, b.open(t), history.Config{}).Tenant("a")
			chain, thread := longChain(t, a, func(int) {}), longThread(t, a, func(int) {})
			best := func(f func() error) time.Duration {
				least := time.Hour
				for waited := time.Now(); least > b.most && time.Since(waited) < patience; {
					begun := time.Now()
					want(t, f(), nil)
					least = min(least, time.Since(begun))
				}
				return least
			}
			byChain := best(func() error { _, err := a.Chain(ctx, chain); return err })
			byThread := best(func() error { _, err := a.Thread(ctx, thread); return err })
			t.Logf("200 turns: chain %s, conversation %s", byChain, byThread)
			if byChain > b.most || byThread > b.most {
				t.Errorf("chain %s, conversation %s; want at most %s", byChain, byThread, b.most)
			}
		})
	}
}

var backends = []struct {
	name string
	open func(testing.TB) store.Store
	keys []history.Key
}{{"memory", newMemory, nil}, {"bbolt", newBbolt, nil}, {"redis", newRedis, nil}, {"bbolt-encrypted", newBbolt, testKeys}, {"redis-encrypted", newRedis, testKeys}}

func BenchmarkRebuild(b *testing.B) {
	for _, on := range backends {
		a := newHistory(b, on.open(b), history.Config{Keys: on.keys}).Tenant("a")
		chain, thread := longChain(b, a, func(int) {}), longThread(b, a, func(int) {})
		b.Run(on.name+"/chain200", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := a.Chain(ctx, chain)
				want(b, err, nil)
			}
		})
		b.Run(on.name+"/conversation200", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := a.Thread(ctx, thread)
				want(b, err, nil)
			}
		})
	}
}

func BenchmarkSave(b *testing.B) {
	for _, on := range backends {
		a := newHistory(b, on.open(b), history.Config{Keys: on.keys}).Tenant("a")
		b.Run(on.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				want(b, a.Save(ctx, history.Turn{Response: costOutput(1), Input: costInput(1)}), nil)
			}
		})
	}
}

// BenchmarkThread compares what a conversation could be made of: one value for each append, or one for each item.
func BenchmarkThread(b *testing.B) {
	items := append(costInput(1), costOutput(1).Output...)
	whole, err := json.Marshal(items)
	want(b, err, nil)
	var each [][]byte
	for i := range items {
		one, err := json.Marshal(&items[i])
		want(b, err, nil)
		each = append(each, one)
	}
	for _, on := range backends[1:3] {
		s := on.open(b)
		for _, form := range []struct {
			name   string
			values [][]byte
		}{{"chunks", [][]byte{whole}}, {"items", each}} {
			number := 0
			add := func(space string) {
				for _, v := range form.values {
					number++
					want(b, s.Swap(ctx, store.Change{Space: space, ID: fmt.Sprintf("%012d", number), New: v, Score: int64(number)}), nil)
				}
			}
			b.Run(on.name+"/append/"+form.name, func(b *testing.B) {
				for b.Loop() {
					add("append-" + form.name)
				}
			})
			for range costTurns {
				add("read-" + form.name)
			}
			b.Run(on.name+"/rebuild/"+form.name, func(b *testing.B) {
				for b.Loop() {
					page, err := s.List(ctx, "read-"+form.name, store.Page{Limit: store.MaxPage})
					want(b, err, nil)
					equal(b, len(page), costTurns*len(form.values))
					for _, e := range page {
						if len(form.values) == 1 {
							var items []responses.Item
							want(b, json.Unmarshal(e.Value, &items), nil)
							continue
						}
						var item responses.Item
						want(b, json.Unmarshal(e.Value, &item), nil)
					}
				}
			})
		}
	}
}
