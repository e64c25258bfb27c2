package keystore_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/keystore"
	"github.com/labiium/chat2response/store"
)

// A key is a register of two values, one of which only ever rises. Whatever several gateways do to it at once, there
// must be an order of their acts that explains every answer, and that respects what was over before what began
// (Herlihy and Wing, 1990). Porcupine looks for it. A write whose answer was "unavailable" may have been made or not,
// and any time after.

var historyOps = flag.Int("history", 0, "operations per client of the history tests; 0: enough for every run (10000 is the figure to hold)")

var outage = flag.Duration("outage", 3*time.Second, "how long each fault of TestRedisFaults lasts (60s is the figure to hold)")

var million = flag.Bool("million", false, "run the test with a million keys")

type act struct {
	kind    string // verify, read, revoke, set
	expires uint64 // of set
}

type answer struct {
	unknown bool
	revoked bool   // verify, read: it is; revoke: it was not before
	expires uint64 // of read
}

type register struct {
	revoked bool
	expires uint64
}

var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{register{}} },
	Step: func(s, in, out any) []any {
		r, do, got := s.(register), in.(act), out.(answer)
		next := r
		switch do.kind {
		case "set":
			next.expires = do.expires
		case "revoke":
			next.revoked = true
			if !got.unknown && got.revoked == r.revoked {
				return nil
			}
		case "verify":
			if got.revoked != r.revoked {
				return nil
			}
		case "read":
			if got.revoked != r.revoked || (r.expires != 0 && got.expires != r.expires) {
				return nil
			}
		}
		if got.unknown {
			return []any{r, next}
		}
		return []any{next}
	},
	Equal: func(a, b any) bool { return a == b },
}

const historyClients = 8

// checkHistory lets 8 clients, spread over nodes, do random acts on random keys while disturb runs, and checks every
// key's history. It returns how many acts were answered and how many were not.
func checkHistory(t *testing.T, nodes []*keystore.Keys, s store.Store, each int, disturb func(stop <-chan struct{})) (answered, unknown int) {
	t.Helper()
	n := max(20, each*historyClients/100)
	keys := make([]keystore.Created, n)
	for i := range keys {
		keys[i] = mint(t, nodes[0], keystore.GenerateRequest{})
	}
	begun := time.Now()
	now := func() int64 { return int64(time.Since(begun)) }
	var mu sync.Mutex
	histories := make([][]porcupine.Operation, n)
	stop := make(chan struct{})
	var clients, disturber sync.WaitGroup
	disturber.Go(func() { disturb(stop) })
	for c := range historyClients {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(c), 1))
			node := nodes[c%len(nodes)]
			for i := range each {
				k := min(random.IntN(n), random.IntN(n)) // some keys are busier
				do := act{kind: []string{"verify", "verify", "read", "read", "set", "set", "set", "revoke"}[random.IntN(8)]}
				if do.kind == "revoke" && random.IntN(4) != 0 {
					do.kind = "verify"
				}
				do.expires = uint64(time.Now().Unix()) + 100_000 + uint64(c*each+i)
				op := porcupine.Operation{ClientId: c, Input: do, Call: now()}
				got, err := perform(node, s, keys[k], do)
				op.Output, op.Return = got, now()
				switch {
				case errors.Is(err, keystore.ErrContended):
					continue // certainly not done
				case errors.Is(err, keystore.ErrRevoked):
					continue
				case err != nil && !errors.Is(err, keystore.ErrStoreUnavailable) && !errors.Is(err, store.ErrUnavailable):
					t.Errorf("%s: %v", do.kind, err)
					return
				case err != nil:
					time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
					if do.kind == "verify" || do.kind == "read" {
						mu.Lock()
						unknown++
						mu.Unlock()
						continue // no answer, no harm
					}
				}
				mu.Lock()
				if got.unknown {
					unknown++
					op.Return = 1 << 62
				} else {
					answered++
				}
				histories[k] = append(histories[k], op)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	close(stop)
	disturber.Wait()
	for k, history := range histories {
		if result := porcupine.CheckOperationsTimeout(model.ToModel(), history, 20*time.Second); result != porcupine.Ok {
			t.Fatalf("key %d: no order explains these %d acts (%s)", k, len(history), result)
		}
	}
	return answered, unknown
}

func perform(k *keystore.Keys, s store.Store, key keystore.Created, do act) (got answer, err error) {
	switch do.kind {
	case "verify":
		_, err = k.Verify(ctx, *key.Token)
		if errors.Is(err, keystore.ErrRevoked) {
			if k.Holds(key.ID) { // here only, on the word of a revocation that had no answer: it says nothing of the store
				return got, err
			}
			return answer{revoked: true}, nil
		}
		return got, err
	case "read":
		raw, err := s.Get(ctx, keystore.Space, key.ID)
		if err != nil {
			return got, err
		}
		var r keystore.Record
		if err := json.Unmarshal(raw, &r); err != nil {
			return got, err
		}
		return answer{revoked: r.RevokedAt != nil, expires: *r.ExpiresAt}, nil
	case "revoke":
		r, err := k.Revoke(ctx, key.ID, me)
		return answer{unknown: err != nil, revoked: r.Revoked}, err
	}
	_, err = k.SetExpiration(ctx, keystore.SetExpirationRequest{ID: key.ID, ExpiresAt: &do.expires}, me)
	return answer{unknown: err != nil}, err
}

func opsPerClient(byDefault int) int {
	if *historyOps > 0 {
		return *historyOps
	}
	if testing.Short() {
		return byDefault / 10
	}
	return byDefault
}

func TestHistory(t *testing.T) {
	for name, each := range map[string]int{"memory": 10_000, "bbolt": 3_000} {
		t.Run(name, func(t *testing.T) {
			s := backends[name](t)
			c := keystore.Config{Policy: keystore.DefaultPolicy()}
			nodes := []*keystore.Keys{newKeys(t, s, c), newKeys(t, s, c)}
			begun := time.Now()
			answered, unknown := checkHistory(t, nodes, s, opsPerClient(each), func(<-chan struct{}) {})
			t.Logf("%d acts answered, %d not, all in order (%s)", answered, unknown, time.Since(begun).Round(time.Millisecond))
		})
	}
}

// The checker finds what it is there to find: a revocation that is taken back, a lost update.
func TestHistoryCheckerFinds(t *testing.T) {
	op := func(call, ret int64, kind string, expires uint64, got answer) porcupine.Operation {
		return porcupine.Operation{Input: act{kind, expires}, Call: call, Output: got, Return: ret}
	}
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"in order":           {[]porcupine.Operation{op(1, 2, "revoke", 0, answer{revoked: true}), op(3, 4, "verify", 0, answer{revoked: true})}, true},
		"taken back":         {[]porcupine.Operation{op(1, 2, "revoke", 0, answer{revoked: true}), op(3, 4, "verify", 0, answer{})}, false},
		"at once":            {[]porcupine.Operation{op(1, 5, "revoke", 0, answer{revoked: true}), op(2, 3, "verify", 0, answer{})}, true},
		"revoked twice":      {[]porcupine.Operation{op(1, 2, "revoke", 0, answer{revoked: true}), op(3, 4, "revoke", 0, answer{revoked: true})}, false},
		"lost update":        {[]porcupine.Operation{op(1, 2, "set", 7, answer{}), op(3, 4, "set", 8, answer{}), op(5, 6, "read", 0, answer{expires: 7})}, false},
		"unknown, made":      {[]porcupine.Operation{op(1, 1<<62, "revoke", 0, answer{unknown: true}), op(3, 4, "verify", 0, answer{revoked: true})}, true},
		"unknown, not made":  {[]porcupine.Operation{op(1, 1<<62, "revoke", 0, answer{unknown: true}), op(3, 4, "verify", 0, answer{})}, true},
		"unknown, then back": {[]porcupine.Operation{op(1, 1<<62, "revoke", 0, answer{unknown: true}), op(3, 4, "verify", 0, answer{revoked: true}), op(5, 6, "verify", 0, answer{})}, false},
	} {
		if got := porcupine.CheckOperations(model.ToModel(), test.history); got != test.want {
			t.Errorf("%s: %v; want %v", name, got, test.want)
		}
	}
}
