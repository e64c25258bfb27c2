package history_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

func TestConversation(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a, b := h.Tenant("a"), h.Tenant("b")
		c, err := a.CreateConversation(ctx, []responses.Item{user("", "one"), user("msg_2", "two")}, jsontext.Value(`{ "k": "v" }`))
		want(t, err, nil)
		equal(t, strings.HasPrefix(c.ID, "conv_"), true)
		form, err := json.Marshal(c)
		want(t, err, nil)
		equal(t, string(form), fmt.Sprintf(`{"id":"%s","object":"conversation","created_at":%d,"metadata":{"k":"v"}}`, c.ID, c.CreatedAt))
		added, err := a.AppendItems(ctx, c.ID, []responses.Item{user("msg_2", "again"), user("", "three")})
		want(t, err, nil)
		equal(t, texts(added.Data), "three")
		thread, err := a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, once(t, thread.Items), "one two three")
		id, err := said(a, thread, "four", "five")
		want(t, err, nil)
		got, err := a.Response(ctx, id)
		want(t, err, nil)
		equal(t, texts(got.Output), "five")
		thread, err = a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, once(t, thread.Items), "one two three four five")

		// A response made in a conversation continues what it was made in, as it was then.
		_, err = said(a, thread, "six", "seven")
		want(t, err, nil)
		chain, err := a.Chain(ctx, id)
		want(t, err, nil)
		equal(t, once(t, chain.Items), "one two three four five")
		side := turn(t, a, id, "aside", "yes")
		chain, err = a.Chain(ctx, side)
		want(t, err, nil)
		equal(t, once(t, chain.Items), "one two three four five aside yes")

		for _, test := range []struct {
			page history.Page
			want string
			more bool
		}{
			{history.Page{}, "seven six five four three two one", false},
			{history.Page{Order: "asc"}, "one two three four five six seven", false},
			{history.Page{Order: "asc", Limit: 2}, "one two", true},
			{history.Page{Order: "asc", Limit: 3, After: "msg_2"}, "three four five", true},
			{history.Page{Order: "desc", After: "msg_2"}, "one", false},
			{history.Page{Order: "desc", Limit: 7}, "seven six five four three two one", false},
			{history.Page{Order: "desc", Limit: 3}, "seven six five", true},
		} {
			l, err := a.ConversationItems(ctx, c.ID, test.page)
			want(t, err, nil)
			equal(t, texts(l.Data), test.want)
			equal(t, l.HasMore, test.more)
		}
		for _, limit := range []int{1, 2, 3} { // every page begins behind the last
			for _, order := range []string{"asc", "desc"} {
				var all []responses.Item
				for p := (history.Page{Limit: limit, Order: order}); ; {
					l, err := a.ConversationItems(ctx, c.ID, p)
					want(t, err, nil)
					all = append(all, l.Data...)
					if p.After = *l.LastID; !l.HasMore {
						break
					}
				}
				equal(t, len(strings.Fields(once(t, all))), 7)
			}
		}

		item, err := a.ConversationItem(ctx, c.ID, "msg_2")
		want(t, err, nil)
		equal(t, text(item), "two")
		after, err := a.DeleteConversationItem(ctx, c.ID, "msg_2")
		want(t, err, nil)
		equal(t, after.ID, c.ID)
		_, err = a.ConversationItem(ctx, c.ID, "msg_2")
		want(t, err, history.ErrNotFound)
		_, err = a.DeleteConversationItem(ctx, c.ID, "msg_2")
		want(t, err, history.ErrNotFound)
		_, err = a.Items(ctx, "msg_2")
		want(t, err, history.ErrNotFound)
		thread, err = a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, once(t, thread.Items), "one three four five six seven")

		up, err := a.UpdateConversation(ctx, c.ID, jsontext.Value(`{"k":"w"}`))
		want(t, err, nil)
		equal(t, string(up.Metadata), `{"k":"w"}`)
		up, err = a.Conversation(ctx, c.ID)
		want(t, err, nil)
		equal(t, string(up.Metadata), `{"k":"w"}`)

		// The items of a response outlive the conversation they were also in.
		last := thread.Items[len(thread.Items)-1].ID
		want(t, a.DeleteConversation(ctx, c.ID), nil)
		found, err := a.Items(ctx, last)
		want(t, err, nil)
		equal(t, text(found[0]), "seven")
		_, err = a.Items(ctx, thread.Items[0].ID)
		want(t, err, history.ErrNotFound)
		_, err = a.Chain(ctx, side)
		want(t, err, history.ErrNotFound)

		for _, of := range []history.Tenant{a, b, {}} {
			for _, id := range []string{c.ID, "conv_never", "", "chat-7", "odd: \n ü"} {
				_, e1 := of.Conversation(ctx, id)
				_, e2 := of.Thread(ctx, id)
				_, e3 := of.UpdateConversation(ctx, id, nil)
				_, e4 := of.AppendItems(ctx, id, []responses.Item{user("", "x")})
				_, e5 := of.ConversationItems(ctx, id, history.Page{})
				_, e6 := of.ConversationItem(ctx, id, "msg_2")
				_, e7 := of.DeleteConversationItem(ctx, id, "msg_2")
				for _, err := range []error{e1, e2, e3, e4, e5, e6, e7, of.DeleteConversation(ctx, id)} {
					want(t, err, history.ErrNotFound)
					equal(t, err.Error(), "Conversation with id '"+id+"' not found.")
				}
			}
		}
		records, _, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, [2]int64{records, orphans}, [2]int64{3, 0}) // the responses
	})
}

func TestNamedConversation(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		for _, id := range []string{"chat-123", "mine: ü\n", strings.Repeat("x", 512)} {
			for i := range 3 {
				thread, err := a.NamedThread(ctx, id)
				want(t, err, nil)
				equal(t, len(thread.Items), 2*i)
				if i == 0 { // nothing is written before there is a turn
					_, err := a.Conversation(ctx, id)
					want(t, err, history.ErrNotFound)
				}
				_, err = said(a, thread, n("q", i), n("a", i))
				want(t, err, nil)
			}
			c, err := a.Conversation(ctx, id)
			want(t, err, nil)
			equal(t, c.ID, id)
			other, err := h.Tenant("b").NamedThread(ctx, id)
			want(t, err, nil)
			equal(t, len(other.Items), 0)

			// Deleted and begun again, it is empty.
			want(t, a.DeleteConversation(ctx, id), nil)
			thread, err := a.NamedThread(ctx, id)
			want(t, err, nil)
			equal(t, len(thread.Items), 0)
			_, err = said(a, thread, "new", "yes")
			want(t, err, nil)
			thread, err = a.Thread(ctx, id)
			want(t, err, nil)
			equal(t, once(t, thread.Items), "new yes")
		}
		_, err := a.NamedThread(ctx, "conv_mine")
		want(t, err, history.ErrNotFound)
		for _, id := range []string{"", strings.Repeat("x", 513)} {
			_, err = a.NamedThread(ctx, id)
			want(t, err, history.ErrInvalid)
		}
		_, err = history.Tenant{}.NamedThread(ctx, "x")
		want(t, err, history.ErrInvalid)

		// Two first turns: one of them is told.
		x, err := a.NamedThread(ctx, "race")
		want(t, err, nil)
		y, err := a.NamedThread(ctx, "race")
		want(t, err, nil)
		_, err = said(a, x, "x", "x")
		want(t, err, nil)
		lost, err := said(a, y, "y", "y")
		want(t, err, history.ErrConflict)
		_, err = a.Response(ctx, lost)
		want(t, err, history.ErrNotFound)
		thread, err := a.Thread(ctx, "race")
		want(t, err, nil)
		equal(t, texts(thread.Items), "x x")
	})
}

func TestConversationLimits(t *testing.T) {
	a := newHistory(t, newMemory(t), history.Config{}).Tenant("a")
	c, err := a.CreateConversation(ctx, nil, nil)
	want(t, err, nil)
	many := make([]responses.Item, 21)
	for i := range many {
		many[i] = user("", "x")
	}
	_, err = a.CreateConversation(ctx, many, nil)
	want(t, err, history.ErrInvalid)
	for _, items := range [][]responses.Item{many, nil} {
		_, err = a.AppendItems(ctx, c.ID, items)
		want(t, err, history.ErrInvalid)
	}
	_, err = a.AppendItems(ctx, c.ID, many[:20])
	want(t, err, nil)
	_, err = a.AppendItems(ctx, c.ID, []responses.Item{ref("msg_unknown")})
	want(t, err, history.ErrNotFound)
	for _, metadata := range []string{`[]`, `"x"`, `{"a":{}}`, `{"a":"b","a":"c"}`, `{`} {
		_, err = a.UpdateConversation(ctx, c.ID, jsontext.Value(metadata))
		want(t, err, history.ErrInvalid)
	}
	for _, metadata := range []string{``, `null`, `{}`} {
		_, err = a.UpdateConversation(ctx, c.ID, jsontext.Value(metadata))
		want(t, err, nil)
	}
	// Turns that have not become part of it.
	for _, status := range []string{responses.Failed, responses.Cancelled} {
		thread, err := a.Thread(ctx, c.ID)
		want(t, err, nil)
		want(t, a.Save(ctx, history.Turn{Response: response("resp_"+status, status), Input: many[:1], Thread: thread}), nil)
		thread, err = a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, len(thread.Items), 20)
	}
	thread, err := a.Thread(ctx, c.ID)
	want(t, err, nil)
	chain, err := a.Chain(ctx, turn(t, a, "", "q", "a"))
	want(t, err, nil)
	want(t, a.Save(ctx, history.Turn{Response: response("resp_both", responses.Completed), Thread: thread, Chain: chain}), history.ErrInvalid)
}

// Eight writers append to one conversation at once, by turns and by the items call: whatever was acknowledged is there
// once, whatever was refused is not there, and the losers were told.
func TestWriters(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		c, err := a.CreateConversation(ctx, nil, nil)
		want(t, err, nil)
		var mu sync.Mutex
		told := map[string]bool{} // text to whether it was acknowledged
		var conflicts atomic.Int64
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 12 {
					word := fmt.Sprintf("w%d.%d", w, i)
					var err error
					if i%3 == 0 {
						_, err = a.AppendItems(ctx, c.ID, []responses.Item{user("", word)})
					} else {
						var thread *history.Thread
						if thread, err = a.Thread(ctx, c.ID); err == nil {
							_, err = said(a, thread, word, "re:"+word)
						}
					}
					if errors.Is(err, history.ErrConflict) {
						conflicts.Add(1)
					} else if err != nil {
						t.Error(err)
					}
					mu.Lock()
					told[word] = err == nil
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		thread, err := a.Thread(ctx, c.ID)
		want(t, err, nil)
		words := strings.Fields(once(t, thread.Items))
		count := map[string]int{}
		for i, word := range words {
			count[word]++
			if strings.HasPrefix(word, "re:") && words[i-1] != word[3:] {
				t.Errorf("%s stands behind %s", word, words[i-1])
			}
		}
		acknowledged := 0
		for word, ok := range told {
			wanted := 0
			if ok {
				wanted = 1
				acknowledged++
			}
			if count[word] != wanted {
				t.Errorf("%s is there %d times; acknowledged: %v", word, count[word], ok)
			}
		}
		if acknowledged < 12 {
			t.Errorf("only %d were acknowledged", acknowledged)
		}
		t.Logf("%d acknowledged, %d told of a conflict", acknowledged, conflicts.Load())
		// What was charged is what is there.
		records, bytes, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, orphans, 0)
		r, b := a.Account()
		equal(t, [2]int64{r, b}, [2]int64{records, bytes})
	})
}

// An append that comes after the deletion leaves nothing behind.
func TestDeleteWhileAppending(t *testing.T) {
	s := newMemory(t)
	h := newHistory(t, s, history.Config{ConversationTTL: -1})
	a := h.Tenant("a")
	for round := range 50 {
		id := n("chat-", round)
		thread, err := a.NamedThread(ctx, id)
		want(t, err, nil)
		_, err = said(a, thread, "q", "a")
		want(t, err, nil)
		thread, err = a.Thread(ctx, id)
		want(t, err, nil)
		var wg sync.WaitGroup
		var late error
		wg.Go(func() { _, late = said(a, thread, "late", "late") })
		wg.Go(func() { want(t, a.DeleteConversation(ctx, id), nil) })
		wg.Wait()
		if late != nil {
			want(t, late, history.ErrNotFound)
		}
		_, err = a.Thread(ctx, id)
		want(t, err, history.ErrNotFound)
		fresh, err := a.NamedThread(ctx, id)
		want(t, err, nil)
		equal(t, len(fresh.Items), 0)
	}
}
