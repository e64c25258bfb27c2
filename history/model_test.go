package history_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// The model: what chains and conversations are, in plain maps. A program, which is a string of bytes, does the same to
// the model and to the real thing, and both must say the same. FuzzModel looks for programs, and shortens one that
// fails; TestModel runs random ones on every store.
type model struct {
	t    testing.TB
	real history.Tenant
	code []byte

	next          int
	responses     []*modelResponse
	conversations []*modelConversation
	items         []string // ids, in the order they were made; an item's text is its id
}

type modelResponse struct {
	id      string
	status  string
	parent  *modelResponse
	base    []string // the conversation's items when it was made in one
	in      *modelConversation
	own     []string // ids of its items; "@id" for those it refers to
	deleted bool
}

type modelConversation struct {
	id      string
	items   []string
	deleted bool
}

func (m *model) byte() int {
	if len(m.code) == 0 {
		return 0
	}
	b := m.code[0]
	m.code = m.code[1:]
	return int(b)
}

func pick[T any](m *model, from []T) (v T) {
	if len(from) == 0 {
		return v
	}
	return from[m.byte()%len(from)]
}

// mint makes a new item of the model, and its real form.
func (m *model) mint(role string) responses.Item {
	m.next++
	id := n("msg_", m.next)
	m.items = append(m.items, id)
	if role == "assistant" {
		return answer(id, id)
	}
	return user(id, id)
}

// stored tells whether an item can be found by its id.
func (m *model) stored(id string) bool {
	for _, r := range m.responses {
		if !r.deleted && slices.Contains(r.own, id) {
			return true
		}
	}
	for _, c := range m.conversations {
		if !c.deleted && slices.Contains(c.items, id) {
			return true
		}
	}
	return false
}

// chain is what Chain should say of r.
func (m *model) chain(r *modelResponse) ([]string, error) {
	if r == nil || r.deleted {
		return nil, history.ErrNotFound
	}
	if r.status != responses.Completed && r.status != responses.Incomplete {
		return nil, history.ErrUnfinished
	}
	var path []*modelResponse
	for at := r; at != nil; at = at.parent {
		if at.deleted {
			return nil, history.ErrNotFound
		}
		path = append([]*modelResponse{at}, path...)
	}
	var all []string
	if root := path[0]; len(root.base) > 0 {
		if root.in.deleted {
			return nil, history.ErrNotFound
		}
		for _, id := range root.base {
			if slices.Contains(root.in.items, id) { // not those deleted since
				all = append(all, id)
			}
		}
	}
	var lists []string
	for _, r := range path {
		lists = append(lists, r.own...)
	}
	for _, id := range lists {
		referred := strings.TrimPrefix(id, "@")
		if slices.Contains(all, referred) || referred != id && slices.Contains(lists, referred) {
			continue
		}
		if referred != id && !m.stored(referred) {
			return nil, history.ErrNotFound
		}
		all = append(all, referred)
	}
	return all, nil
}

func (m *model) same(what string, items []responses.Item, err error, wanted []string, sentinel error) {
	m.t.Helper()
	if !errors.Is(err, sentinel) || (sentinel == nil && err != nil) {
		m.t.Fatalf("%s: got error %v; want %v", what, err, sentinel)
	}
	if got := texts(items); sentinel == nil && got != strings.Join(wanted, " ") {
		m.t.Fatalf("%s:\n got %s\nwant %s", what, got, strings.Join(wanted, " "))
	}
}

// input makes the input of a turn: new items, and old ones sent again whole (if the past has them) or by reference.
// want are the ids that the new response has of its own.
func (m *model) input(past []string) (input []responses.Item, own []string) {
	for range 1 + m.byte()%3 {
		old := pick(m, m.items)
		switch m.byte() % 4 {
		case 0:
			if slices.Contains(past, old) {
				input, own = append(input, user(old, old)), append(own, "@"+old)
				continue
			}
		case 1:
			if slices.Contains(past, old) || old != "" && m.stored(old) && !slices.Contains(own, "@"+old) {
				input, own = append(input, ref(old)), append(own, "@"+old)
				continue
			}
		}
		item := m.mint("user")
		input, own = append(input, item), append(own, item.ID)
	}
	return input, own
}

var modelStatuses = []string{responses.Completed, responses.Completed, responses.Completed, responses.Completed, responses.Incomplete, responses.Failed, responses.Cancelled}

func (m *model) turn() {
	parent := pick(m, append([]*modelResponse{nil}, m.responses...))
	var chain *history.Chain
	var past []string
	if parent != nil {
		var err, sentinel error
		past, sentinel = m.chain(parent)
		chain, err = m.real.Chain(ctx, parent.id)
		var items []responses.Item
		if chain != nil {
			items = chain.Items
		}
		m.same("chain of "+parent.id, items, err, past, sentinel)
		if err != nil {
			return
		}
	}
	m.save(&modelResponse{parent: parent}, history.Turn{Chain: chain}, past)
}

func (m *model) save(r *modelResponse, turn history.Turn, past []string) {
	turn.Input, r.own = m.input(past)
	reply := m.mint("assistant")
	r.own = append(r.own, reply.ID)
	m.next++
	r.id, r.status = n("resp_", m.next), pick(m, modelStatuses)
	turn.Response = response(r.id, r.status, reply)
	want(m.t, m.real.Save(ctx, turn), nil)
	m.responses = append(m.responses, r)
	if r.in == nil || r.status == responses.Failed || r.status == responses.Cancelled {
		return
	}
	for _, id := range r.own {
		if id = strings.TrimPrefix(id, "@"); !slices.Contains(r.in.items, id) {
			r.in.items = append(r.in.items, id)
		}
	}
}

func (m *model) deleteResponse() {
	r := pick(m, m.responses)
	if r == nil {
		return
	}
	err := m.real.DeleteResponse(ctx, r.id)
	if r.deleted {
		want(m.t, err, history.ErrNotFound)
		return
	}
	want(m.t, err, nil)
	r.deleted = true
}

func (m *model) begin() {
	var items []responses.Item
	c := &modelConversation{}
	for range m.byte() % 3 {
		item := m.mint("user")
		items, c.items = append(items, item), append(c.items, item.ID)
	}
	made, err := m.real.CreateConversation(ctx, items, nil)
	want(m.t, err, nil)
	c.id = made.ID
	m.conversations = append(m.conversations, c)
}

func (m *model) thread() *history.Thread {
	c := pick(m, m.conversations)
	if c == nil {
		return nil
	}
	thread, err := m.real.Thread(ctx, c.id)
	if c.deleted {
		want(m.t, err, history.ErrNotFound)
		return nil
	}
	m.same("thread", thread.Items, err, c.items, nil)
	return thread
}

func (m *model) say() {
	thread := m.thread()
	if thread == nil {
		return
	}
	c := m.conversations[slices.IndexFunc(m.conversations, func(c *modelConversation) bool { return c.id == thread.ID })]
	m.save(&modelResponse{in: c, base: slices.Clone(c.items)}, history.Turn{Thread: thread}, c.items)
}

func (m *model) add() {
	c := pick(m, m.conversations)
	if c == nil {
		return
	}
	item := m.mint("user")
	_, err := m.real.AppendItems(ctx, c.id, []responses.Item{item, item})
	if c.deleted {
		want(m.t, err, history.ErrNotFound)
		return
	}
	want(m.t, err, nil)
	c.items = append(c.items, item.ID)
}

func (m *model) drop() {
	c := pick(m, m.conversations)
	if c == nil {
		return
	}
	if m.byte()%4 == 0 {
		err := m.real.DeleteConversation(ctx, c.id)
		if c.deleted {
			want(m.t, err, history.ErrNotFound)
			return
		}
		want(m.t, err, nil)
		c.deleted = true
		return
	}
	id := pick(m, m.items)
	_, err := m.real.DeleteConversationItem(ctx, c.id, id)
	i := slices.Index(c.items, id)
	if c.deleted || i < 0 {
		want(m.t, err, history.ErrNotFound)
		return
	}
	want(m.t, err, nil)
	c.items = slices.Delete(c.items, i, i+1)
}

func (m *model) look() {
	id := pick(m, m.items)
	items, err := m.real.Items(ctx, id)
	if id == "" || !m.stored(id) {
		want(m.t, err, history.ErrNotFound)
		return
	}
	m.same("item "+id, items, err, []string{id}, nil)
}

// list reads a conversation page by page.
func (m *model) list() {
	c := pick(m, m.conversations)
	if c == nil || c.deleted {
		return
	}
	wanted, p := slices.Clone(c.items), history.Page{Limit: 1 + m.byte()%4, Order: "asc"}
	if m.byte()%2 == 0 {
		p.Order = "desc"
		slices.Reverse(wanted)
	}
	var all []responses.Item
	for {
		l, err := m.real.ConversationItems(ctx, c.id, p)
		want(m.t, err, nil)
		all = append(all, l.Data...)
		if !l.HasMore {
			break
		}
		p.After = *l.LastID
	}
	m.same("list of "+c.id, all, nil, wanted, nil)
}

// run runs a program, and at its end compares everything.
func (m *model) run() {
	acts := []func(){m.turn, m.turn, m.turn, m.say, m.say, m.begin, m.add, m.drop, m.deleteResponse, m.look, m.list}
	for len(m.code) > 0 {
		acts[m.byte()%len(acts)]()
	}
	for _, r := range m.responses {
		wanted, sentinel := m.chain(r)
		chain, err := m.real.Chain(ctx, r.id)
		var items []responses.Item
		if chain != nil {
			items = chain.Items
		}
		m.same("at last, chain of "+r.id, items, err, wanted, sentinel)
		_, err = m.real.Response(ctx, r.id)
		if r.deleted {
			want(m.t, err, history.ErrNotFound)
		} else {
			want(m.t, err, nil)
		}
	}
	for _, id := range m.items {
		m.code = []byte{byte(slices.Index(m.items, id))}
		if slices.Index(m.items, id) < 256 {
			m.look()
		}
	}
}

func TestModel(t *testing.T) {
	for i, on := range backends {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, on.open(t), history.Config{Keys: on.keys})
			for seed := range uint64(12 / slower) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				code := make([]byte, 100+r.IntN(900))
				for i := range code {
					code[i] = byte(r.Uint32())
				}
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					(&model{t: t, real: h.Tenant(n("seed", int(seed))), code: code}).run()
				})
			}
		})
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte("\x05\x02\x03\x00\x01\x00\x00\x00\x00\x00\x02\x00"))
	f.Add([]byte("a chain, a conversation, and what not"))
	s := newMemory(f)
	run := 0
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 4096 {
			return
		}
		run++
		(&model{t: t, real: newHistory(t, s, history.Config{}).Tenant(n("run", run)), code: code}).run()
	})
}
