package history_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

func TestResponse(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a, b := h.Tenant("a"), h.Tenant("b")
		for name, echo := range map[string]string{
			"small": `{"instructions":"be kind","store":true,"metadata":{"k":"v"}}`,
			"large": `{"instructions":"` + strings.Repeat("x", 100_000) + `"}`,
		} {
			r := response("resp_"+name, responses.Completed, answer("msg_"+name, "hello"))
			r.Echo = []byte(echo)
			r.Usage = &responses.Usage{InputTokens: 3, OutputTokens: 4, TotalTokens: 7}
			before, err := json.Marshal(r)
			want(t, err, nil)
			want(t, a.Save(ctx, history.Turn{Response: r, Input: []responses.Item{user("", "hi")}}), nil)
			got, err := a.Response(ctx, r.ID)
			want(t, err, nil)
			after, err := json.Marshal(got)
			want(t, err, nil)
			equal(t, string(after), string(before))
			if now, _ := json.Marshal(r); string(now) != string(before) {
				t.Fatal("Save has changed the caller's response")
			}

			want(t, a.Save(ctx, history.Turn{Response: r}), history.ErrConflict)
			want(t, b.Save(ctx, history.Turn{Response: r}), nil) // ids are the tenant's own
			want(t, b.DeleteResponse(ctx, r.ID), nil)
			_, err = b.Response(ctx, r.ID)
			want(t, err, history.ErrNotFound)
			equal(t, err.Error(), "Response with id '"+r.ID+"' not found.")
			_, err = a.Response(ctx, r.ID)
			want(t, err, nil)
			want(t, a.DeleteResponse(ctx, r.ID), nil)
			want(t, a.DeleteResponse(ctx, r.ID), history.ErrNotFound)
			_, err = a.Response(ctx, r.ID)
			want(t, err, history.ErrNotFound)
			_, err = a.Items(ctx, "msg_"+name)
			want(t, err, history.ErrNotFound)
		}
		records, bytes, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, [3]int64{records, bytes, orphans}, [3]int64{})
	})
}

// Everything of every item comes back, in a form that the API lists.
func TestInputItems(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		var input responses.Input
		want(t, json.Unmarshal([]byte(`[
			{"role":"developer","content":"be brief"},
			{"role":"user","content":"hi","surprise":{"x":[1]}},
			{"role":"assistant","content":"hello"},
			{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
			{"type":"function_call_output","call_id":"c1","output":"out"},
			{"type":"custom_tool_call_output","id":"client id: 1","call_id":"c2","output":[{"type":"input_text","text":"p"}]},
			{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"AAA"},
			{"type":"weather_report","sun":true}
		]`), &input), nil)
		want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed), Input: input}), nil)
		list, err := a.InputItems(ctx, "resp_1", history.Page{Order: "asc"})
		want(t, err, nil)
		equal(t, len(list.Data), 8)
		equal(t, list.HasMore, false)
		for i, w := range []string{
			`{"type":"message","id":"msg_","status":"completed","role":"developer","content":[{"type":"input_text","text":"be brief"}]}`,
			`{"type":"message","id":"msg_","status":"completed","role":"user","content":[{"type":"input_text","text":"hi"}],"surprise":{"x":[1]}}`,
			`{"type":"message","id":"msg_","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hello","annotations":[],"logprobs":[]}]}`,
			`{"type":"function_call","id":"fc_","status":"completed","call_id":"c1","name":"f","arguments":"{}"}`,
			`{"type":"function_call_output","id":"fco_","status":"completed","call_id":"c1","output":"out"}`,
			`{"type":"custom_tool_call_output","id":"client id: 1","status":"completed","call_id":"c2","output":[{"type":"input_text","text":"p"}]}`,
			`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"AAA"}`,
			`{"type":"weather_report","id":"item_","sun":true}`,
		} {
			item := list.Data[i]
			got, err := a.Items(ctx, item.ID)
			want(t, err, nil)
			if minted := item.ID; strings.HasSuffix(w[:strings.Index(w, `_"`)+1], "_") && len(minted) > 48 {
				item.ID = minted[:len(minted)-48]
				got[0].ID = item.ID
			}
			for _, form := range []responses.Item{item, got[0]} {
				b, err := json.Marshal(form)
				want(t, err, nil)
				equal(t, string(b), w)
			}
		}
		again, err := a.InputItems(ctx, "resp_1", history.Page{Order: "asc"})
		want(t, err, nil)
		equal(t, again.Data[0].ID, list.Data[0].ID)

		var seen []string
		for p := (history.Page{Limit: 3}); ; {
			l, err := a.InputItems(ctx, "resp_1", p)
			want(t, err, nil)
			equal(t, *l.FirstID, l.Data[0].ID)
			for _, i := range l.Data {
				seen = append(seen, i.ID)
			}
			if p.After = *l.LastID; !l.HasMore {
				break
			}
		}
		equal(t, len(seen), 8)
		for i, id := range seen { // descending by default
			equal(t, id, list.Data[7-i].ID)
		}
		for _, p := range []history.Page{{Limit: 101}, {Limit: -1}, {Order: "up"}} {
			_, err = a.InputItems(ctx, "resp_1", p)
			want(t, err, history.ErrInvalid)
		}
		_, err = a.InputItems(ctx, "resp_1", history.Page{After: "msg_unknown"})
		want(t, err, history.ErrNotFound)
		empty, err := a.InputItems(ctx, "resp_1", history.Page{After: list.Data[0].ID})
		want(t, err, nil)
		b, err := json.Marshal(empty)
		want(t, err, nil)
		equal(t, string(b), `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}`)
	})
}

// A chain of 300 turns has every item once and in order from each of its links on, and breaks where one is deleted.
func TestChain(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		const turns = 300 / slower
		a := h.Tenant("a")
		var ids []string
		previous, said := "", ""
		for i := range turns {
			previous = turn(t, a, previous, n("q", i), n("a", i))
			ids = append(ids, previous)
			said = strings.TrimSpace(said + " " + n("q", i) + " " + n("a", i))
			if i%37 == 0 || i%16 < 2 || i == turns-1 {
				chain, err := a.Chain(ctx, previous)
				want(t, err, nil)
				equal(t, once(t, chain.Items), said)
			}
		}
		before := h.Stats().ChainReads
		_, err := a.Chain(ctx, ids[15])
		want(t, err, nil)
		equal(t, h.Stats().ChainReads-before, 2)
		before = h.Stats().ChainReads
		_, err = a.Chain(ctx, ids[turns-10])
		want(t, err, nil)
		equal(t, h.Stats().ChainReads-before, 4)

		// A branch.
		fork := turn(t, a, turn(t, a, ids[59], "fork", "taken"), "more", "yes")
		chain, err := a.Chain(ctx, fork)
		want(t, err, nil)
		equal(t, once(t, chain.Items), strings.Join(strings.Fields(said)[:120], " ")+" fork taken more yes")

		want(t, a.DeleteResponse(ctx, ids[70]), nil)
		for i, breaks := range map[int]bool{69: false, 70: true, 71: true, turns - 1: true} {
			_, err := a.Chain(ctx, ids[i])
			if !breaks {
				want(t, err, nil)
				continue
			}
			want(t, err, history.ErrNotFound)
			equal(t, err.Error(), "Previous response with id '"+ids[i]+"' not found.")
		}
		_, err = a.Chain(ctx, fork)
		want(t, err, nil)
		_, err = a.Response(ctx, ids[71])
		want(t, err, nil)
	})
}

func TestStatus(t *testing.T) {
	h := newHistory(t, newMemory(t), history.Config{})
	a := h.Tenant("a")
	for status, sentinel := range map[string]error{
		responses.Completed: nil, responses.Incomplete: nil, responses.Failed: history.ErrUnfinished, responses.Cancelled: history.ErrUnfinished,
	} {
		id := "resp_" + status
		want(t, a.Save(ctx, history.Turn{Response: response(id, status, answer("", "part")), Input: []responses.Item{user("", "q")}}), nil)
		got, err := a.Response(ctx, id)
		want(t, err, nil)
		equal(t, got.Status, status)
		_, err = a.Chain(ctx, id)
		want(t, err, sentinel)
	}
	cut := response("resp_cut", responses.Completed, responses.Item{Type: "message", ID: "m", Role: "assistant", Status: responses.InProgress})
	broken := response("resp_broken", responses.Completed)
	broken.Error = &responses.ResponseError{Code: "server_error"}
	short := response("resp_short", responses.Completed)
	short.IncompleteDetails = &responses.IncompleteDetails{Reason: "content_filter"}
	for _, r := range []*responses.Response{
		cut, broken, short, response("resp_x", responses.InProgress), response("resp_y", "odd"), response("", responses.Completed),
		response("a:b", responses.Completed), response("ä", responses.Completed), response(strings.Repeat("r", 129), responses.Completed),
	} {
		want(t, a.Save(ctx, history.Turn{Response: r}), history.ErrInvalid)
		_, err := a.Response(ctx, r.ID)
		want(t, err, history.ErrNotFound)
	}
	want(t, history.Tenant{}.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed)}), history.ErrInvalid)
	want(t, h.Tenant("").Save(ctx, history.Turn{Response: response("resp_1", responses.Completed)}), history.ErrInvalid)
}

// Clients that send again what the server remembers cost nothing and change nothing, whether they send items whole or
// by reference.
func TestReplay(t *testing.T) {
	onEach(t, history.Config{}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		var sent []responses.Item // by a client that keeps everything and repeats it
		previous := ""
		var size int64
		for i := range 40 {
			sent = append(sent, user(n("msg_q", i), n("q", i)), responses.Item{
				Type: "function_call_output", ID: n("fco_", i), CallID: "c", Output: responses.String(strings.Repeat("z", 1000))})
			var chain *history.Chain
			var past []responses.Item
			if previous != "" {
				var err error
				chain, err = a.Chain(ctx, previous)
				want(t, err, nil)
				past = chain.Items
			}
			prompt, err := a.Resolve(ctx, past, sent)
			want(t, err, nil)
			equal(t, len(prompt), 3*i+2)
			once(t, prompt)
			reply := answer(n("msg_a", i), n("a", i))
			previous = n("resp_", i)
			want(t, a.Save(ctx, history.Turn{Response: response(previous, responses.Completed, reply), Input: sent, Chain: chain}), nil)
			sent = append(sent, reply)
			now := h.Stats().SavedBytes
			if i == 10 {
				size = now
			}
			if i == 11 {
				size = now - size
			}
			if grown := now - size*int64(i); i > 30 && grown > 5*size+100*int64(i*i) {
				t.Fatalf("turn %d: %d bytes, beyond %d a turn and 100 for each reference", i, now, size)
			}
		}
		chain, err := a.Chain(ctx, previous)
		want(t, err, nil)
		equal(t, len(chain.Items), 120)
		once(t, chain.Items)
		list, err := a.InputItems(ctx, previous, history.Page{Limit: 100, Order: "asc"})
		want(t, err, nil)
		equal(t, texts(list.Data[:4]), "q0 "+strings.Repeat("z", 1000)+" a0 q1")

		// By reference and without a chain, as the AI SDK does it.
		input := []responses.Item{ref("msg_q3"), {ID: "msg_a3"}, user("", "and?")}
		prompt, err := a.Resolve(ctx, nil, input)
		want(t, err, nil)
		equal(t, texts(prompt), "q3 a3 and?")
		want(t, a.Save(ctx, history.Turn{Response: response("resp_ref", responses.Completed, answer("", "so")), Input: input}), nil)
		chain, err = a.Chain(ctx, "resp_ref")
		want(t, err, nil)
		equal(t, once(t, chain.Items), "q3 a3 and? so")
		list, err = a.InputItems(ctx, "resp_ref", history.Page{Order: "asc"})
		want(t, err, nil)
		equal(t, texts(list.Data), "q3 a3 and?")

		_, err = a.Resolve(ctx, nil, []responses.Item{ref("msg_q3"), ref("rs_gone")})
		want(t, err, history.ErrNotFound)
		equal(t, err.Error(), "Item with id 'rs_gone' not found. Items are not persisted when `store` is set to false. "+
			"Try again with `store` set to true, or remove this item from your input.")
		_, err = h.Tenant("b").Resolve(ctx, nil, []responses.Item{ref("msg_q3")})
		want(t, err, history.ErrNotFound)
		want(t, a.DeleteResponse(ctx, "resp_3"), nil)
		_, err = a.Chain(ctx, "resp_ref") // what it refers to is gone, and is not left out
		want(t, err, history.ErrNotFound)
	})
}

func TestJoin(t *testing.T) {
	call := responses.Item{Type: "local_shell_call", ID: "lsh_1", CallID: "lsh_1"}
	output := responses.Item{Type: "local_shell_call_output", ID: "lsh_1", Output: responses.String("out")}
	for _, test := range []struct {
		name        string
		past, input []responses.Item
		want        string
	}{
		{"nothing", nil, nil, ""},
		{"new", []responses.Item{user("1", "a")}, []responses.Item{user("2", "b")}, "a b"},
		{"again", []responses.Item{user("1", "a")}, []responses.Item{user("1", "other"), user("2", "b")}, "a b"},
		{"reference to the past", []responses.Item{user("1", "a")}, []responses.Item{ref("1"), user("", "b")}, "a b"},
		{"reference elsewhere", []responses.Item{user("1", "a")}, []responses.Item{ref("9")}, "a @9"},
		{"reference before the item", nil, []responses.Item{ref("1"), user("1", "a")}, "a"},
		{"twice the same reference", nil, []responses.Item{ref("9"), ref("9")}, "@9"},
		{"without ids", []responses.Item{user("", "a"), user("", "a")}, []responses.Item{user("", "a")}, "a a a"},
		{"a call and its output of one id", []responses.Item{call}, []responses.Item{output}, " out"},
		{"the output again", []responses.Item{call, output}, []responses.Item{output}, " out"},
	} {
		if got := texts(history.Join(test.past, test.input)); got != test.want {
			t.Errorf("%s: got %q; want %q", test.name, got, test.want)
		}
	}
}

// The output of a local shell call bears its call's id, and both survive a chain.
func TestLocalShell(t *testing.T) {
	a := newHistory(t, newMemory(t), history.Config{}).Tenant("a")
	call := responses.Item{Type: "local_shell_call", ID: "lsh_1", CallID: "lsh_1", Status: "completed"}
	output := responses.Item{Type: "local_shell_call_output", ID: "lsh_1", Output: responses.String("out"), Status: "completed"}
	want(t, a.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed, call), Input: []responses.Item{user("", "q")}}), nil)
	for i := range 2 { // the second time it is a replay
		chain, err := a.Chain(ctx, n("resp_", i+1))
		want(t, err, nil)
		want(t, a.Save(ctx, history.Turn{Response: response(n("resp_", i+2), responses.Completed, answer("", n("a", i))),
			Input: []responses.Item{call, output}, Chain: chain}), nil)
	}
	chain, err := a.Chain(ctx, "resp_3")
	want(t, err, nil)
	equal(t, texts(chain.Items), "q  out a0 a1")
	items, err := a.Items(ctx, "lsh_1")
	want(t, err, nil)
	equal(t, items[0].Type, "local_shell_call")
}

func TestSizes(t *testing.T) {
	onEach(t, history.Config{MaxResponse: 10_000, MaxChain: 20_000, MaxBytes: 100_000}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		big := func(n int) []responses.Item { return []responses.Item{user("", strings.Repeat("x", n))} }
		err := a.Save(ctx, history.Turn{Response: response("resp_big", responses.Completed), Input: big(10_000)})
		want(t, err, history.ErrTooLarge)
		if !strings.Contains(err.Error(), "max_response") {
			t.Fatal(err)
		}
		_, err = a.Response(ctx, "resp_big")
		want(t, err, history.ErrNotFound)
		previous := ""
		for i := range 5 {
			var chain *history.Chain
			if previous != "" {
				if chain, err = a.Chain(ctx, previous); err != nil {
					want(t, err, history.ErrTooLarge)
					equal(t, i, 3) // three turns of 8 kB
					break
				}
			}
			previous = n("resp_", i)
			want(t, a.Save(ctx, history.Turn{Response: response(previous, responses.Completed), Input: big(8000), Chain: chain}), nil)
		}
		_, err = a.Response(ctx, previous)
		want(t, err, nil)
		_, err = a.CreateConversation(ctx, big(10_000), nil)
		want(t, err, history.ErrTooLarge)
		c, err := a.CreateConversation(ctx, big(8000), nil)
		want(t, err, nil)
		_, err = a.AppendItems(ctx, c.ID, big(8000))
		want(t, err, nil)
		_, err = a.AppendItems(ctx, c.ID, big(8000))
		want(t, err, history.ErrTooLarge)
		thread, err := a.Thread(ctx, c.ID)
		want(t, err, nil)
		equal(t, len(thread.Items), 2)
		err = a.Save(ctx, history.Turn{Response: response("resp_t", responses.Completed), Input: big(8000), Thread: thread})
		want(t, err, history.ErrTooLarge)
		_, err = a.Response(ctx, "resp_t")
		want(t, err, history.ErrNotFound)
	})
}

// What is not used expires; a chain in use lives, all of it.
func TestExpiry(t *testing.T) {
	t.Parallel()
	const ttl = 4 * time.Second
	onEach(t, history.Config{TTL: ttl, ConversationTTL: ttl}, func(t *testing.T, h *history.History) {
		a := h.Tenant("a")
		idle := turn(t, a, "", "idle", "idle")
		r, err := a.Response(ctx, idle)
		want(t, err, nil)
		item := r.Output[0].ID
		c, err := a.CreateConversation(ctx, []responses.Item{user("", "c")}, nil)
		want(t, err, nil)
		unused, err := a.CreateConversation(ctx, []responses.Item{user("", "u")}, nil)
		want(t, err, nil)
		chat := completion("chatcmpl-1", "m", "")
		want(t, a.SaveCompletion(ctx, chat), nil)
		first := turn(t, a, "", "q0", "a0")
		last := first
		begun := time.Now()
		turns := 1
		for ; time.Since(begun) < 3*ttl/2; turns++ {
			time.Sleep(ttl / 8)
			last = turn(t, a, last, n("q", turns), n("a", turns))
			_, err := a.Thread(ctx, c.ID)
			want(t, err, nil)
		}
		chain, err := a.Chain(ctx, last)
		want(t, err, nil)
		equal(t, len(chain.Items), 2*turns)
		_, err = a.Response(ctx, first)
		want(t, err, nil)
		_, err = a.Items(ctx, chain.Items[1].ID)
		want(t, err, nil)
		for _, id := range []string{idle, "resp_never"} {
			_, err = a.Response(ctx, id)
			want(t, err, history.ErrNotFound)
			equal(t, err.Error(), fmt.Sprintf("Response with id '%s' not found.", id))
			_, err = a.Chain(ctx, id)
			want(t, err, history.ErrNotFound)
		}
		_, err = a.Items(ctx, item)
		want(t, err, history.ErrNotFound)
		_, err = a.Conversation(ctx, unused.ID)
		want(t, err, history.ErrNotFound)
		_, err = a.Completion(ctx, chat.ID)
		want(t, err, history.ErrNotFound)
		records, _, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		equal(t, [2]int64{records, orphans}, [2]int64{int64(turns) + 1, 0})
		time.Sleep(ttl + ttl/8)
		_, err = a.Chain(ctx, last)
		want(t, err, history.ErrNotFound)
		_, err = a.Thread(ctx, c.ID)
		want(t, err, history.ErrNotFound)
		records, _, orphans, err = a.Audit(ctx)
		want(t, err, nil)
		equal(t, [2]int64{records, orphans}, [2]int64{})
	})
}
