package history_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// actor is one tenant in the property test. Everything it stores has its name in it.
type actor struct {
	history.Tenant
	name string
	// ids that it has, and those that it has deleted, by kind: r(esponse), c(onversation), i(tem), h (chat completion).
	has, had map[string][]string
}

func (a *actor) put(kind, id string) { a.has[kind] = append(a.has[kind], id) }

// stranger checks the two things that must be true of whatever an operation has answered: it shows nothing of another
// tenant, and of what is not this tenant's it says the same as of what never was.
type stranger struct {
	t     testing.TB
	own   *actor
	id    string
	mine  bool // has it, or may have it
	reads *int
}

func (s *stranger) check(what string, answer any, err error) {
	s.t.Helper()
	shown, encodeErr := json.Marshal(answer)
	want(s.t, encodeErr, nil)
	for _, name := range tenantNames {
		if name != s.own.name && strings.Contains(string(shown), "secret of "+name) {
			*s.reads++
			s.t.Errorf("%s of %s showed %s to %s", what, s.id, name, s.own.name)
		}
	}
	if s.mine {
		return
	}
	if !errors.Is(err, history.ErrNotFound) {
		s.t.Errorf("%s of %s, which %s does not have: %v", what, s.id, s.own.name, err)
		return
	}
	if text := strings.ReplaceAll(err.Error(), s.id, "ID"); answers[what] == "" {
		answers[what] = text
	} else if answers[what] != text {
		s.t.Errorf("%s says %q to one and %q to another", what, text, answers[what])
	}
}

var (
	tenantNames = []string{"ant", "bee", "cat", "dog", "eel"}
	answers     map[string]string
)

// 10^5 random operations by five tenants, with ids of their own, of each other, deleted ones and invented ones: nobody
// reads what is another's, and nobody can tell another's from what never was.
func TestTenants(t *testing.T) {
	operations := 100_000
	if testing.Short() || raceEnabled {
		operations = 5000
	}
	answers = map[string]string{}
	for _, on := range backends {
		n := operations
		if on.name != "memory" {
			n = 2500 // all together decide what the answers are
		}
		t.Run(on.name, func(t *testing.T) {
			testTenants(t, n, newHistory(t, on.open(t), history.Config{Keys: on.keys, MaxRecords: 300}))
		})
	}
}

func testTenants(t *testing.T, operations int, h *history.History) {
	var actors []*actor
	for i, name := range tenantNames {
		of := h.Tenant(name)
		if i > 2 {
			var err error
			of, err = h.Keyless(ctx, name)
			want(t, err, nil)
		}
		actors = append(actors, &actor{Tenant: of, name: name, has: map[string][]string{}, had: map[string][]string{}})
	}
	sealer, err := h.Sealer(ctx)
	want(t, err, nil)
	r := rand.New(rand.NewPCG(1, uint64(operations)))
	reads, foreign := 0, 0
	one := func(of []string) string {
		if len(of) == 0 {
			return "resp_never"
		}
		return of[r.IntN(len(of))]
	}
	for op := range operations {
		a := actors[r.IntN(len(actors))]
		b := actors[r.IntN(len(actors))]
		kind := []string{"r", "r", "c", "i", "h"}[r.IntN(5)]
		id := one(b.has[kind])
		switch r.IntN(10) {
		case 0:
			id = one(b.had[kind])
		case 1:
			id = history.NewID(map[string]string{"r": "resp_", "c": "conv_", "i": "msg_", "h": "chatcmpl-"}[kind])
		}
		// Deleted or evicted, its own may be there or not; a stranger's must not be.
		s := &stranger{t: t, own: a, id: id, mine: a == b, reads: &reads}
		if a != b {
			foreign++
		}
		say := fmt.Sprintf("secret of %s %d", a.name, op)
		page := history.Page{Limit: 100}
		switch kind {
		case "r":
			switch r.IntN(10) {
			case 0:
				v, err := a.Response(ctx, id)
				s.check("get", v, err)
			case 1:
				v, err := a.InputItems(ctx, id, page)
				s.check("input items", v, err)
			case 2:
				v, err := a.CancelResponse(ctx, id)
				s.check("cancel", v, err)
			case 3:
				err := a.DeleteResponse(ctx, id)
				s.check("delete", nil, err)
				if err == nil {
					a.had["r"] = append(a.had["r"], id)
				}
			case 4:
				e, err := a.Events(ctx, id, -1)
				var events []string
				if err == nil {
					next, err := e.Next(ctx)
					want(t, err, nil)
					for _, event := range next {
						events = append(events, string(event.Data))
					}
				}
				s.check("events", events, err)
			case 5:
				sealed := sealer.Seal(b.Tenant, id, farAway)
				_, _, err := sealer.Open(a.Tenant, sealed)
				if (err == nil) != (a == b) {
					t.Errorf("%s opens an id of %s: %v", a.name, b.name, err)
				}
			default:
				chain, err := a.Chain(ctx, id)
				if chain != nil {
					s.check("chain", chain.Items, err)
				} else {
					s.check("chain", nil, err)
				}
				if err != nil && r.IntN(3) > 0 {
					continue
				}
				turn := history.Turn{Response: response(history.NewID("resp_"), responses.Completed, answer(history.NewID("msg_"), say)), Input: []responses.Item{user("", say)}}
				if chain != nil && len(chain.Items) < 60 {
					turn.Chain = chain
				}
				if op%4 == 0 {
					ended := *turn.Response
					turn.Response = response(ended.ID, responses.Queued)
					j, err := a.Start(ctx, turn, true)
					want(t, err, nil)
					want(t, j.Log(ctx, history.Event{Data: []byte(say)}), nil)
					turn.Response = &ended
					want(t, j.Finish(ctx, turn.Response), nil)
				} else {
					want(t, a.Save(ctx, turn), nil)
				}
				a.put("r", turn.Response.ID)
				a.put("i", turn.Response.Output[0].ID)
			}
		case "c":
			alias := ""
			if r.IntN(4) == 0 { // an id that all of them use
				alias = n("chat-", r.IntN(3))
			}
			switch r.IntN(9) {
			case 0:
				v, err := a.Conversation(ctx, id)
				s.check("conversation", v, err)
			case 1:
				v, err := a.ConversationItems(ctx, id, page)
				s.check("conversation items", v, err)
			case 2:
				v, err := a.ConversationItem(ctx, id, one(b.has["i"]))
				s.check("conversation item", v, err)
			case 3:
				v, err := a.UpdateConversation(ctx, id, jsontext.Value(`{"name":"`+say+`"}`))
				s.check("update", v, err)
			case 4:
				v, err := a.AppendItems(ctx, id, []responses.Item{user("", say)})
				if errors.Is(err, history.ErrTooLarge) {
					err = nil
				}
				s.check("append", v, err)
			case 5:
				if r.IntN(4) > 0 {
					continue
				}
				err := a.DeleteConversation(ctx, id)
				s.check("delete conversation", nil, err)
				if err == nil {
					a.had["c"] = append(a.had["c"], id)
				}
			case 6:
				c, err := a.CreateConversation(ctx, []responses.Item{user("", say)}, jsontext.Value(`{"name":"`+say+`"}`))
				want(t, err, nil)
				a.put("c", c.ID)
			default:
				thread, err := a.Thread(ctx, id)
				if alias != "" {
					s.mine = true
					thread, err = a.NamedThread(ctx, alias)
				}
				if err != nil {
					s.check("thread", nil, err)
					continue
				}
				s.check("thread", thread.Items, nil)
				if len(thread.Items) > 60 {
					want(t, a.DeleteConversation(ctx, thread.ID), nil)
					continue
				}
				_, err = said(a.Tenant, thread, say, say)
				want(t, err, nil)
			}
		case "i":
			v, err := a.Items(ctx, id)
			s.check("item", v, err)
			v, err = a.Resolve(ctx, nil, []responses.Item{ref(id)})
			s.check("reference", v, err)
		case "h":
			switch r.IntN(6) {
			case 0:
				v, err := a.Completion(ctx, id)
				s.check("completion", v, err)
			case 1:
				v, err := a.UpdateCompletion(ctx, id, jsontext.Value(`{"name":"`+say+`"}`))
				s.check("update completion", v, err)
			case 2:
				v, err := a.CompletionMessages(ctx, id, page)
				s.check("messages", v, err)
			case 3:
				err := a.DeleteCompletion(ctx, id)
				s.check("delete completion", nil, err)
				if err == nil {
					a.had["h"] = append(a.had["h"], id)
				}
			case 4:
				v, err := a.Completions(ctx, history.CompletionFilter{}, page)
				want(t, err, nil)
				s.mine = true
				s.check("completions", v, nil)
			default:
				c := completion(history.NewID("chatcmpl-"), "m", `{"name":"`+say+`"}`)
				c.Messages = []jsontext.Value{jsontext.Value(`{"role":"user","content":"` + say + `"}`)}
				want(t, a.SaveCompletion(ctx, c), nil)
				a.put("h", c.ID)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	equal(t, reads, 0)
	if foreign < operations/2 || len(answers) < 19 {
		t.Fatalf("only %d operations on what is another's, of %d kinds", foreign, len(answers))
	}
	for _, a := range actors {
		there, _, orphans, err := a.Audit(ctx)
		want(t, err, nil)
		records, _ := a.Account()
		if there > 300 || orphans != 0 || records != there {
			t.Fatalf("%s has %d records, the account says %d; %d entries are for nothing", a.name, there, records, orphans)
		}
	}
	t.Logf("%d operations, %d on what is another's, %d foreign reads; %+v", operations, foreign, reads, h.Stats())
}

// Names of tenants cannot be made to meet.
func TestTenantNames(t *testing.T) {
	h := newHistory(t, newMemory(t), history.Config{})
	seen := map[string]string{}
	add := func(what string, of history.Tenant) {
		t.Helper()
		space := of.Space("")
		if other, ok := seen[space]; ok {
			t.Fatalf("%q and %q are both %s", what, other, space)
		}
		seen[space] = what
		want(t, of.Save(ctx, history.Turn{Response: response("resp_1", responses.Completed)}), nil)
	}
	long := strings.Repeat("x", 256)
	for _, owner := range []string{"a", "A", "a:b", "a}", "{a}", "a b", "ü", "anonymous", "+anonymous", "~a", long, long + "x", "a\x00", ".", "state"} {
		add("owner "+owner, h.Tenant(owner))
	}
	for _, bearer := range []string{"", "anonymous", "a", "sk-1", "sk-2"} {
		of, err := h.Keyless(ctx, bearer)
		want(t, err, nil)
		add("bearer "+bearer, of)
		if bearer == "sk-1" && strings.Contains(of.Space(""), "sk-1") {
			t.Fatal("the token is in the name")
		}
	}
	again, err := h.Keyless(ctx, "sk-1")
	want(t, err, nil)
	_, err = again.Response(ctx, "resp_1")
	want(t, err, nil)
}
