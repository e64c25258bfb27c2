package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/store"
	"github.com/labiium/chat2response/store/storetest"
)

const childEnv = "CHAT2RESPONSE_HISTORY_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		runChild(path)
	}
	goleak.VerifyTestMain(m)
}

type ctxT = context.Context

var ctx = context.Background()

// oneByOne lets one write in at a time.
type oneByOne struct {
	store.Store
	mu sync.Mutex
}

func (o *oneByOne) Swap(ctx ctxT, c store.Change) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Store.Swap(ctx, c)
}

func (o *oneByOne) SwapMany(ctx ctxT, changes []store.Change) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Store.SwapMany(ctx, changes)
}

func openStore(t testing.TB, m interface {
	store.Module
	caddy.Provisioner
}) store.Store {
	t.Helper()
	want(t, m.Provision(caddy.Context{}), nil)
	s, err := m.Open(ctx)
	want(t, err, nil)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newMemory(t testing.TB) store.Store { return openStore(t, &store.Memory{Name: t.Name()}) }

// newBbolt is in memory where the system has a place for that: on a disk that others keep busy an fsync takes seconds.
// TestKill is on the disk.
func newBbolt(t testing.TB) store.Store {
	dir, err := os.MkdirTemp("/dev/shm", "history-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return openStore(t, &store.Bbolt{Path: filepath.Join(dir, "state.db")})
}

func newRedis(t testing.TB) store.Store { return onRedis(t, storetest.StartRedis(t), 16) }

// onRedis opens a store of its own for each pool size.
func onRedis(t testing.TB, server *storetest.Redis, poolSize int) store.Store {
	return &patient{openStore(t, &store.Redis{URL: server.URL() + "?read_timeout=950ms", PoolSize: poolSize}).(store.Remote)}
}

// patient is a store on a machine that is too busy to let Redis answer within a second: what was not answered is asked
// again. Every answer must be right all the same.
type patient struct{ store.Remote }

func again(f func() error) error {
	for {
		if err := f(); !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *patient) Get(ctx ctxT, space, id string) (v []byte, err error) {
	err = again(func() error { v, err = p.Remote.Get(ctx, space, id); return err })
	return v, err
}

func (p *patient) GetMany(ctx ctxT, space string, ids []string) (v [][]byte, err error) {
	err = again(func() error { v, err = p.Remote.GetMany(ctx, space, ids); return err })
	return v, err
}

func (p *patient) List(ctx ctxT, space string, page store.Page) (v []store.Entry, err error) {
	err = again(func() error { v, err = p.Remote.List(ctx, space, page); return err })
	return v, err
}

func (p *patient) Extend(ctx ctxT, space string, ids []string, until time.Time) error {
	return again(func() error { return p.Remote.Extend(ctx, space, ids, until) })
}

func (p *patient) Swap(ctx ctxT, c store.Change) error {
	var unanswered bool
	err := again(func() error {
		err := p.Remote.Swap(ctx, c)
		unanswered = unanswered || errors.Is(err, store.ErrUnavailable)
		return err
	})
	if unanswered && errors.Is(err, store.ErrConflict) && c.New != nil {
		if now, _ := p.Get(ctx, c.Space, c.ID); string(now) == string(c.New) {
			return nil // the first attempt was made after all
		}
	}
	return err
}

func (p *patient) SwapMany(ctx ctxT, changes []store.Change) error {
	var unanswered bool
	err := again(func() error {
		err := p.Remote.SwapMany(ctx, changes)
		unanswered = unanswered || errors.Is(err, store.ErrUnavailable)
		return err
	})
	if !unanswered || !errors.Is(err, store.ErrConflict) {
		return err
	}
	for _, c := range changes { // was the first attempt made after all?
		if now, _ := p.Get(ctx, c.Space, c.ID); string(now) != string(c.New) {
			return err
		}
	}
	return nil
}

// onEach runs a test on every store, and once encrypted.
func onEach(t *testing.T, c history.Config, test func(t *testing.T, h *history.History)) {
	for _, b := range []struct {
		name string
		open func(testing.TB) store.Store
		keys []history.Key
	}{
		{"memory", newMemory, nil},
		{"bbolt", newBbolt, nil},
		{"redis", newRedis, nil},
		{"encrypted", newMemory, testKeys},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			c := c
			c.Keys = b.keys
			test(t, newHistory(t, b.open(t), c))
		})
	}
}

var testKeys = []history.Key{{ID: 7, Secret: []byte("a secret of some length")}}

func newHistory(t testing.TB, s store.Store, c history.Config) *history.History {
	t.Helper()
	h, err := history.New(s, c)
	want(t, err, nil)
	return h
}

func want(t testing.TB, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) || (sentinel == nil && err != nil) {
		t.Fatalf("got error %v; want %v", err, sentinel)
	}
}

func equal[T comparable](t testing.TB, got, wanted T) {
	t.Helper()
	if got != wanted {
		t.Fatalf("got %v; want %v", got, wanted)
	}
}

// user and answer are messages; an empty id is left to be minted.
func user(id, text string) responses.Item {
	return responses.Item{ID: id, Role: "user", Content: responses.Text(text)}
}

func answer(id, text string) responses.Item {
	return responses.Item{Type: "message", ID: id, Role: "assistant", Status: "completed", Content: responses.Parts(responses.OutputText(text))}
}

func ref(id string) responses.Item { return responses.Item{Type: "item_reference", ID: id} }

// response is a finished one.
func response(id, status string, output ...responses.Item) *responses.Response {
	r := &responses.Response{
		ID: id, Object: "response", CreatedAt: 1_800_000_000, Status: status, Model: "m", Output: output,
		Echo: []byte(`{"instructions":"be kind","store":true,"metadata":{}}`),
	}
	switch status {
	case responses.Completed:
		at := responses.Seconds(1_800_000_001)
		r.CompletedAt = &at
	case responses.Failed:
		r.Error = &responses.ResponseError{Code: "server_error", Message: "broken"}
	case responses.Incomplete:
		r.IncompleteDetails = &responses.IncompleteDetails{Reason: "max_output_tokens"}
	}
	return r
}

// text is what an item says, whatever its form.
func text(i responses.Item) string {
	if i.Type == "item_reference" {
		return "@" + i.ID
	}
	s := i.Content.Text + i.Output.JSON() + i.Arguments.JSON()
	for _, p := range i.Content.Parts {
		s += p.Str()
	}
	return s
}

func texts(items []responses.Item) string {
	var all []string
	for _, i := range items {
		all = append(all, text(i))
	}
	return strings.Join(all, " ")
}

// turn saves a response that continues previous ("": nothing), and returns its id.
func turn(t testing.TB, of history.Tenant, previous, question, reply string) string {
	t.Helper()
	id, err := tryTurn(of, previous, question, reply)
	want(t, err, nil)
	return id
}

func tryTurn(of history.Tenant, previous, question, reply string) (string, error) {
	var chain *history.Chain
	if previous != "" {
		var err error
		if chain, err = of.Chain(ctx, previous); err != nil {
			return "", err
		}
	}
	id := history.NewID("resp_")
	return id, of.Save(ctx, history.Turn{
		Response: response(id, responses.Completed, answer(history.NewID("msg_"), reply)),
		Input:    []responses.Item{user("", question)}, Chain: chain,
	})
}

// said appends a turn to a conversation.
func said(of history.Tenant, thread *history.Thread, question, reply string) (string, error) {
	id := history.NewID("resp_")
	return id, of.Save(ctx, history.Turn{
		Response: response(id, responses.Completed, answer(history.NewID("msg_"), reply)),
		Input:    []responses.Item{user("", question)}, Thread: thread,
	})
}

// once checks that no item is there twice, and returns the texts.
func once(t testing.TB, items []responses.Item) string {
	t.Helper()
	ids := map[string]bool{"": true}
	for _, i := range items {
		if ids[i.ID] {
			t.Fatalf("item %q is there twice, or has no id", i.ID)
		}
		ids[i.ID] = true
	}
	return texts(items)
}

// n is a text for turn i.
func n(prefix string, i int) string { return fmt.Sprintf("%s%d", prefix, i) }
