package chat2response

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/responses"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/store/storetest"
)

// Ten turns by previous_response_id, streamed and not: the model sees everything
// once, in order, and the latest instructions only.
func TestStateChain(t *testing.T) {
	onEachStore(t, func(t *testing.T, state string) {
		g, m := startState(t, state)
		c, ctx := g.sdk("alice"), context.Background()
		previous, wanted := "", ""
		for i := 1; i <= 10; i++ {
			question := fmt.Sprintf("question %d", i)
			p := responses.ResponseNewParams{Model: "m", Input: input(question), Instructions: openai.String(fmt.Sprintf("rule %d", i))}
			if previous != "" {
				p.PreviousResponseID = openai.String(previous)
			}
			wanted += "user: " + question + "\n"
			answer := fmt.Sprintf("answer %d to %s", i, question)
			resp := turnOf(t, c, p, i%2 == 0)
			if resp.OutputText() != answer {
				t.Fatalf("turn %d answers %q", i, resp.OutputText())
			}
			if got := dig(object(t, []byte(resp.RawJSON())), "store"); got != true {
				t.Errorf("turn %d has store %v", i, got)
			}
			if resp.PreviousResponseID != previous {
				t.Errorf("turn %d has previous_response_id %q", i, resp.PreviousResponseID)
			}
			if got := m.last(t); got != fmt.Sprintf("system: rule %d\n", i)+wanted {
				t.Fatalf("turn %d asks\n%s", i, got)
			}
			wanted += "assistant: " + answer + "\n"
			previous = resp.ID
		}
		got, err := c.Responses.Get(ctx, previous, responses.ResponseGetParams{})
		if err != nil || got.OutputText() != "answer 10 to question 10" || got.Status != "completed" {
			t.Fatalf("got %v, %v", got, err)
		}
		items, err := c.Responses.InputItems.List(ctx, previous, responses.InputItemListParams{})
		if err != nil || len(items.Data) != 1 || items.Data[0].Content.OfInputItemContentList[0].Text != "question 10" {
			t.Fatalf("input items %v, %v", items, err)
		}
		if err := c.Responses.Delete(ctx, previous); err != nil {
			t.Fatal(err)
		}
		a := g.get("/v1/responses/"+previous, "Authorization", "Bearer alice")
		if e := a.openAIError(t); a.status != 404 || e.Message != "Response with id '"+previous+"' not found." {
			t.Errorf("deleted: %d %s", a.status, a.body)
		}
		a = g.post("/v1/responses", `{"model":"m","input":"x","previous_response_id":"`+previous+`"}`, "Authorization", "Bearer alice")
		if e := a.openAIError(t); a.status != 400 || e.code() != "previous_response_not_found" || e.param() != "previous_response_id" {
			t.Errorf("deleted: %d %s", a.status, a.body)
		}
		before := m.requests()
		for _, other := range []string{"Bearer bob", ""} {
			foreign := g.post("/v1/responses", `{"model":"m","input":"x","previous_response_id":"`+got.PreviousResponseID+`"}`, "Authorization", other)
			if e := foreign.openAIError(t); foreign.status != 400 || e.code() != "previous_response_not_found" {
				t.Errorf("foreign: %d %s", foreign.status, foreign.body)
			}
		}
		if m.requests() != before {
			t.Error("a chain that is not there reached the upstream")
		}
	})
}

// A conversation: its items are asked before the new ones, and each turn is
// appended; items can be listed, added and removed.
func TestStateConversation(t *testing.T) {
	onEachStore(t, func(t *testing.T, state string) {
		g, m := startState(t, state)
		c, ctx := g.sdk("alice"), context.Background()
		conv, err := c.Conversations.New(ctx, conversations.ConversationNewParams{Items: []responses.ResponseInputItemUnionParam{
			responses.ResponseInputItemParamOfMessage("my name is Ann", "user"),
		}})
		if err != nil {
			t.Fatal(err)
		}
		in := responses.ResponseNewParamsConversationUnion{OfString: openai.String(conv.ID)}
		for i := 2; i <= 4; i++ {
			resp, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "m", Input: input(fmt.Sprintf("q%d", i)), Conversation: in})
			if err != nil {
				t.Fatal(err)
			}
			if resp.Conversation.ID != conv.ID || resp.OutputText() != fmt.Sprintf("answer %d to q%d", i, i) {
				t.Fatalf("turn %d: %s", i, resp.RawJSON())
			}
		}
		if got, want := m.last(t), "user: my name is Ann\nuser: q2\nassistant: answer 2 to q2\nuser: q3\nassistant: answer 3 to q3\nuser: q4\n"; got != want {
			t.Fatalf("asked\n%s", got)
		}
		page, err := c.Conversations.Items.List(ctx, conv.ID, conversations.ItemListParams{Order: "asc", Limit: openai.Int(3)})
		if err != nil || len(page.Data) != 3 || !page.HasMore {
			t.Fatalf("items: %v, %v", page, err)
		}
		if _, err := c.Conversations.Items.Delete(ctx, conv.ID, page.Data[0].ID); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conversations.Update(ctx, conv.ID, conversations.ConversationUpdateParams{Metadata: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
		got, err := c.Conversations.Get(ctx, conv.ID)
		if err != nil || dig(got.Metadata, "a") != "b" {
			t.Fatalf("conversation: %v, %v", got, err)
		}
		// store:false reads the conversation and leaves it as it is.
		for range 2 {
			if _, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "m", Input: input("secret"), Conversation: in, Store: openai.Bool(false)}); err != nil {
				t.Fatal(err)
			}
			if got := m.last(t); strings.Count(got, "secret") != 1 || strings.Contains(got, "Ann") || !strings.Contains(got, "q4") {
				t.Fatalf("asked\n%s", got)
			}
		}
		if _, err := c.Conversations.Delete(ctx, conv.ID); err != nil {
			t.Fatal(err)
		}
		a := g.post("/v1/responses", `{"model":"m","input":"x","conversation":"`+conv.ID+`"}`, "Authorization", "Bearer alice")
		if e := a.openAIError(t); a.status != 404 || e.Message != "Conversation with id '"+conv.ID+"' not found." || e.param() != "conversation" {
			t.Errorf("deleted: %d %s", a.status, a.body)
		}
	})
}

// A tool's call comes from the response before, and its output in the next request.
func TestStateToolRoundTrip(t *testing.T) {
	g, m := startState(t, "")
	tools := `"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}}}]`
	first := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"call it",`+tools+`}`).body))
	if dig(first, "output", 0, "type") != "function_call" {
		t.Fatalf("no call: %v", first)
	}
	next := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":[{"type":"function_call_output","call_id":%q,"output":"42"}],%s}`,
		first["id"], dig(first, "output", 0, "call_id"), tools))
	if next.status != 200 {
		t.Fatalf("%d %s", next.status, next.body)
	}
	if got, want := m.last(t), "user: call it\nassistant: call call_1\ntool: 42call_1\n"; got != want {
		t.Errorf("asked\n%s", got)
	}
	// A client that sends everything again beside the id: nothing is there twice.
	items, _ := json.Marshal(first["output"])
	again := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","previous_response_id":%q,"input":%s,%s}`, first["id"],
		strings.TrimSuffix(string(items), "]")+fmt.Sprintf(`,{"type":"function_call_output","call_id":%q,"output":"43"}]`, dig(first, "output", 0, "call_id")), tools))
	if got, want := m.last(t), "user: call it\nassistant: call call_1\ntool: 43call_1\n"; again.status != 200 || got != want {
		t.Errorf("%d, asked\n%s", again.status, got)
	}
}

// The AI SDK's habit: what the server has is sent as references.
func TestStateItemReference(t *testing.T) {
	g, m := startState(t, "")
	first := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"one"}`).body))
	id := dig(first, "output", 0, "id").(string)
	a := g.post("/v1/responses", `{"model":"m","input":[{"role":"user","content":"one"},{"type":"item_reference","id":"`+id+`"},{"role":"user","content":"two"}]}`)
	if got, want := m.last(t), "user: one\nassistant: answer 1 to one\nuser: two\n"; a.status != 200 || got != want {
		t.Errorf("%d %s, asked\n%s", a.status, a.body, got)
	}
	// And from there on by id.
	a = g.post("/v1/responses", fmt.Sprintf(`{"model":"m","input":"three","previous_response_id":%q}`, object(t, []byte(a.body))["id"]))
	if got, want := m.last(t), "user: one\nassistant: answer 1 to one\nuser: two\nassistant: answer 2 to two\nuser: three\n"; a.status != 200 || got != want {
		t.Errorf("%d %s, asked\n%s", a.status, a.body, got)
	}
	for _, header := range []string{"Bearer other", ""} {
		if header == "" {
			id = "msg_unknown"
		}
		a = g.post("/v1/responses", `{"model":"m","input":[{"role":"user","content":"x"},{"type":"item_reference","id":"`+id+`"}]}`, "Authorization", header)
		e := a.openAIError(t)
		if a.status != 404 || e.param() != "input[1]" || !strings.HasPrefix(e.Message, "Item with id '"+id+"' not found.") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// The original's promise: the client sends only what is new, in either API.
func TestStateConversationID(t *testing.T) {
	g, m := startState(t, "")
	chat := func(path, text string, stream bool) string {
		t.Helper()
		a := g.post(path+"?conversation_id=chat-123", fmt.Sprintf(`{"model":"m","stream":%v,"messages":[{"role":"system","content":"be kind"},{"role":"user","content":%q}]}`, stream, text))
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a.body
	}
	chat("/v1/chat/completions", "one", false)
	chat("/proxy", "two", true)
	chat("/v1/chat/completions", "three", true)
	a := g.post("/v1/responses?conversation_id=chat-123", `{"model":"m","input":"four"}`)
	if a.status != 200 || dig(object(t, []byte(a.body)), "conversation", "id") != "chat-123" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	wanted := "system: be kind\nuser: one\nassistant: answer 1 to one\nuser: two\nassistant: answer 2 to two\nuser: three\nassistant: answer 3 to three\nuser: four\n"
	if got := m.last(t); got != wanted {
		t.Errorf("asked\n%s", got)
	}
	// /convert shows what would be asked, and leaves the conversation as it is.
	for range 2 {
		a = g.post("/convert?conversation_id=chat-123", `{"model":"m","input":"five"}`)
		if got := transcript(t, a.body); got != wanted+"assistant: answer 4 to four\nuser: five\n" {
			t.Errorf("converted\n%s", a.body)
		}
	}
	// Only who says store:false is not kept.
	a = g.post("/v1/chat/completions?conversation_id=chat-123", `{"model":"m","store":false,"messages":[{"role":"user","content":"secret"}]}`)
	if got := m.last(t); a.status != 200 || got != wanted+"assistant: answer 4 to four\nuser: secret\n" {
		t.Errorf("asked\n%s", got)
	}
	if a = g.post("/convert?conversation_id=chat-123", `{"model":"m","input":"five"}`); strings.Contains(a.body, "secret") {
		t.Errorf("kept: %s", a.body)
	}
	for query, status := range map[string]int{"conversation_id=": 400, "conversation_id=a&conversation_id=b": 400, "conversation_id=conv_unknown": 404} {
		if a = g.post("/proxy?"+query, chatBody("m", false)); a.status != status {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	a = g.post("/v1/responses?conversation_id=x", `{"model":"m","input":"x","previous_response_id":"resp_1"}`)
	if e := a.openAIError(t); e.code() != "mutually_exclusive_parameters" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Without state everything that needs it is refused by name, before the upstream is
// asked; the rest is served and says that it is not stored.
func TestStateOff(t *testing.T) {
	g, m := startState(t, "state off")
	for body, param := range map[string]string{
		`{"model":"m","input":"x","previous_response_id":"resp_1"}`:                                        "previous_response_id",
		`{"model":"m","input":"x","conversation":"conv_1"}`:                                                "conversation",
		`{"model":"m","input":"x","background":true}`:                                                      "background",
		`{"model":"m","input":[{"role":"user","content":"x"},{"type":"item_reference","id":"msg_1"}]}`:     "input[1]",
		`{"model":"m","input":[{"role":"user","content":"x"},{"id":"msg_1"}],"store":false,"stream":true}`: "input[1]",
	} {
		a := g.post("/v1/responses", body)
		if e := a.openAIError(t); a.status != 400 || e.param() != param || !strings.Contains(e.Message, "state off") {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	a := g.post("/v1/chat/completions?conversation_id=x", chatBody("m", false))
	if e := a.openAIError(t); a.status != 400 || e.param() != "conversation_id" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if m.requests() != 0 {
		t.Error("the upstream was asked")
	}
	a = g.post("/v1/responses", `{"model":"m","input":"x"}`)
	body := object(t, []byte(a.body))
	if a.status != 200 || body["store"] != false {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = g.get("/v1/responses/" + body["id"].(string)); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What is not to be stored leaves no trace in the store, the log or the metrics.
func TestStateStoresNothing(t *testing.T) {
	path := t.TempDir() + "/state.db"
	g, _ := startState(t, "state bbolt "+path+" {\n chat_completions\n}")
	const canary = "canary-8f3b"
	for _, stream := range []bool{true, false} {
		a := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","input":"%s","store":false,"stream":%v}`, canary, stream))
		if a.status != 200 || !strings.Contains(a.body, canary) || !strings.Contains(a.body, `"store":false`) || strings.Contains(a.body, `"store":true`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		g.post("/v1/responses?conversation_id=c", fmt.Sprintf(`{"model":"m","input":"%s","store":false,"stream":%v}`, canary, stream))
		g.post("/v1/chat/completions", fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%s"}],"stream":%v}`, canary, stream))
	}
	g.post("/v1/responses", `{"model":"m","input":"kept"}`)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(file), "kept") {
		t.Fatalf("%v: what is stored is not in the file as it is", err)
	}
	if strings.Contains(string(file), canary) {
		t.Error("the canary is in the file")
	}
	for _, entry := range takeLogs() {
		if line, _ := json.Marshal(entry); strings.Contains(string(line), canary) {
			t.Errorf("the canary is in the log: %s", line)
		}
	}
}

// Of two who continue one conversation at once, the second is told to try again.
func TestStateConversationLocked(t *testing.T) {
	m, addr := holding(t)
	g := start(t, "chat2response "+addr+" {\n mode chat\n}")
	live := g.stream("/v1/responses?conversation_id=c", responsesBody("m", true))
	for e := live.next(t); !strings.HasSuffix(e.name, "output_text.delta"); {
		e = live.next(t)
	}
	a := g.post("/v1/responses?conversation_id=c", responsesBody("m", false))
	if e := a.openAIError(t); a.status != 409 || e.code() != "conversation_locked" {
		t.Errorf("%d %s", a.status, a.body)
	}
	m.release()
	live.rest(t)
	// Free from the moment that the first client knows of the end.
	if a = g.post("/v1/responses?conversation_id=c", responsesBody("m", false)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Chat completions with store:true, through the official client.
func TestStateChatCompletions(t *testing.T) {
	g, m := startState(t, "state memory {\n chat_completions\n}")
	c, ctx := g.sdk("alice"), context.Background()
	p := openai.ChatCompletionNewParams{Model: "m", Store: openai.Bool(true), Metadata: map[string]string{"a": "b"}, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("one")}}
	made, err := c.Chat.Completions.New(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	stream := c.Chat.Completions.NewStreaming(ctx, p)
	id := ""
	for stream.Next() {
		id = stream.Current().ID
	}
	if stream.Err() != nil || id == made.ID {
		t.Fatalf("%v, %s", stream.Err(), id)
	}
	if strings.Contains(m.asked[0], `"store"`) {
		t.Errorf("the upstream was told to store: %s", m.asked[0])
	}
	for _, id := range []string{id, made.ID} {
		got, err := c.Chat.Completions.Get(ctx, id)
		if err != nil || got.ID != id || got.Choices[0].Message.Content != "answer 1 to one" {
			t.Fatalf("%v, %v", got, err)
		}
	}
	list, err := c.Chat.Completions.List(ctx, openai.ChatCompletionListParams{Metadata: map[string]string{"a": "b"}})
	if err != nil || len(list.Data) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	messages, err := c.Chat.Completions.Messages.List(ctx, id, openai.ChatCompletionMessageListParams{})
	if err != nil || len(messages.Data) != 1 || messages.Data[0].Content != "one" {
		t.Fatalf("%v, %v", messages, err)
	}
	if _, err := c.Chat.Completions.Update(ctx, id, openai.ChatCompletionUpdateParams{Metadata: map[string]string{"a": "c"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Chat.Completions.Delete(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Chat.Completions.Get(ctx, made.ID); err == nil {
		t.Error("it is still there")
	}
	if a := g.get("/v1/chat/completions/"+id, "Authorization", "Bearer bob"); a.status != 404 {
		t.Errorf("foreign: %d %s", a.status, a.body)
	}
	p.Store = openai.Bool(false)
	if _, err := c.Chat.Completions.New(ctx, p); err != nil {
		t.Fatal(err)
	}
	if list, err := c.Chat.Completions.List(ctx, openai.ChatCompletionListParams{}); err != nil || len(list.Data) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
}

// An answer that cannot be stored is answered all the same, says that it is not
// stored, and is counted.
func TestStateNotKept(t *testing.T) {
	g, _ := startState(t, "state memory {\n max_response 1KiB\n}\n}\nmetrics /metrics\nhandle /nothing {")
	metric := func(name string) (value float64) {
		for _, line := range strings.Split(g.get("/metrics").body, "\n") {
			if v, ok := strings.CutPrefix(line, "caddy_chat2response_state_"+name+" "); ok {
				fmt.Sscan(v, &value)
			}
		}
		return value
	}
	errorsBefore, savedBefore := metric("write_errors_total"), metric("saved_total")
	big := `{"model":"m","input":"` + strings.Repeat("x", 2000) + `","stream":%v}`
	a := g.post("/v1/responses", fmt.Sprintf(big, false))
	body := object(t, []byte(a.body))
	if a.status != 200 || body["store"] != false || !strings.Contains(a.header.Get("X-Chat2Response-Warnings"), "store=not stored") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if missing := g.get("/v1/responses/" + body["id"].(string)); missing.status != 404 {
		t.Errorf("%d %s", missing.status, missing.body)
	}
	events := g.post("/v1/responses", fmt.Sprintf(big, true)).events()
	last := object(t, []byte(events[len(events)-2].data))
	if last["type"] != "response.completed" || dig(last, "response", "store") != false {
		t.Errorf("%v", last)
	}
	g.post("/v1/responses", `{"model":"m","input":"small"}`)
	if errors, saved := metric("write_errors_total")-errorsBefore, metric("saved_total")-savedBefore; errors != 2 || saved != 1 {
		t.Errorf("counted %v errors and %v saved", errors, saved)
	}
}

// A store that does not answer stops what needs it, and nothing else.
func TestStateStoreDown(t *testing.T) {
	t.Cleanup(func() { time.Sleep(1200 * time.Millisecond) }) // go-redis looks once a second whether its pool is closed
	server := storetest.StartRedis(t)
	g, m := startState(t, "state redis "+server.URL())
	first := object(t, []byte(g.post("/v1/responses", responsesBody("m", false)).body))
	if first["store"] != true {
		t.Fatalf("%v", first)
	}
	server.Kill()
	for _, stream := range []bool{false, true} {
		a := g.post("/v1/responses", responsesBody("m", stream))
		if a.status != 200 || !strings.Contains(a.body, `"store":false`) || !strings.Contains(a.body, "answer 1 to Hello") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	before := m.requests()
	a := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","input":"x","previous_response_id":%q}`, first["id"]))
	if e := a.openAIError(t); a.status != 503 || e.code() != "state_unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := g.get("/v1/responses/" + first["id"].(string)); a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if m.requests() != before {
		t.Error("a turn without its chain reached the upstream")
	}
	if a := g.post("/v1/responses", `{"model":"m","input":"x","store":false}`); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// An upstream that speaks Responses and keeps nothing is remembered for.
func TestStateLocal(t *testing.T) {
	_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}})
	g := start(t, "chat2response "+addr+" {\n mode responses\n state local\n}")
	c, ctx := g.sdk("alice"), context.Background()
	previous := ""
	for i := 1; i <= 10; i++ {
		p := responses.ResponseNewParams{Model: "fake-echo", Input: input(fmt.Sprintf("question %d", i))}
		if previous != "" {
			p.PreviousResponseID = openai.String(previous)
		}
		resp := turnOf(t, c, p, i%2 == 0)
		if got := object(t, []byte(resp.RawJSON())); got["store"] != true || resp.PreviousResponseID != previous {
			t.Fatalf("turn %d: %s", i, resp.RawJSON())
		}
		previous = resp.ID
	}
	got, err := c.Responses.Get(ctx, previous, responses.ResponseGetParams{})
	if err != nil || got.ID != previous {
		t.Fatalf("%v, %v", got, err)
	}
}

// The ids of an upstream that keeps everyone's are sealed: they are one throughout,
// the upstream is asked by its own, and no one else can use them.
func TestStateSealed(t *testing.T) {
	g, m := startSealed(t)
	c, ctx := g.sdk("alice"), context.Background()
	previous, item := "", ""
	for i := 1; i <= 4; i++ {
		p := responses.ResponseNewParams{Model: "m", Input: input(fmt.Sprintf("q%d", i))}
		if previous != "" {
			p.PreviousResponseID = openai.String(previous)
		}
		var resp *responses.Response
		ids, items := map[string]bool{}, map[string]bool{}
		stream := c.Responses.NewStreaming(ctx, p)
		for stream.Next() {
			e := stream.Current()
			if e.Response.ID != "" {
				ids[e.Response.ID] = true
			}
			if e.ItemID != "" {
				items[e.ItemID] = true
			}
			if e.Type == "response.completed" {
				resp = &e.Response
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if len(ids) != 1 || len(items) != 1 || !items[resp.Output[0].ID] || resp.PreviousResponseID != previous || resp.OutputText() != fmt.Sprintf("answer %d to q%d", i, i) {
			t.Fatalf("turn %d: %v %v %s", i, ids, items, resp.RawJSON())
		}
		previous, item = resp.ID, resp.Output[0].ID
		got, err := c.Responses.Get(ctx, previous, responses.ResponseGetParams{})
		if err != nil || got.ID != previous || got.Output[0].ID != item {
			t.Fatalf("turn %d: read again %v, %v", i, got, err)
		}
	}
	if got, want := m.last(t), "user: q1\nassistant: answer 1 to q1\nuser: q2\nassistant: answer 2 to q2\nuser: q3\nassistant: answer 3 to q3\nuser: q4\n"; got != want {
		t.Errorf("asked\n%s", got)
	}
	a := g.post("/v1/responses", `{"model":"m","input":[{"role":"user","content":"again"},{"type":"item_reference","id":"`+item+`"},{"role":"user","content":"now"}]}`, "Authorization", "Bearer alice")
	if got, want := m.last(t), "user: again\nassistant: answer 4 to q4\nuser: now\n"; a.status != 200 || got != want {
		t.Errorf("%d %s, asked\n%s", a.status, a.body, got)
	}
	items, err := c.Responses.InputItems.List(ctx, previous, responses.InputItemListParams{})
	if err != nil || len(items.Data) != 1 {
		t.Fatalf("%v, %v", items, err)
	}
	conv, err := c.Conversations.New(ctx, conversations.ConversationNewParams{Metadata: map[string]string{"id": "mine"}})
	if err != nil || dig(conv.Metadata, "id") != "mine" {
		t.Fatalf("%v, %v", conv, err)
	}
	for range 2 {
		a = g.post("/v1/responses?conversation_id="+conv.ID, `{"model":"m","input":"hi"}`, "Authorization", "Bearer alice")
		if a.status != 200 || dig(object(t, []byte(a.body)), "conversation", "id") != conv.ID {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	page, err := c.Conversations.Items.List(ctx, conv.ID, conversations.ItemListParams{Order: "asc", Limit: openai.Int(2)})
	if err != nil || len(page.Data) != 2 || page.LastID != page.Data[1].ID {
		t.Fatalf("%v, %v", page, err)
	}
	rest, err := c.Conversations.Items.List(ctx, conv.ID, conversations.ItemListParams{Order: "asc", After: openai.String(page.LastID)})
	if err != nil || len(rest.Data) != 2 {
		t.Fatalf("%v, %v", rest, err)
	}
	// No way around: neither a raw path, nor an id in another form, nor another client.
	for _, path := range []string{"/v1/responses/resp_1", "/v1/responses//" + previous, "/v1/conversations/x/items/" + previous} {
		if a := g.get(path, "Authorization", "Bearer alice"); a.status != 404 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := g.get("/v1/responses/"+previous, "Authorization", "Bearer bob"); a.status != 404 || a.openAIError(t).Message != "Response with id '"+previous+"' not found." {
		t.Errorf("foreign: %d %s", a.status, a.body)
	}
	if err := c.Responses.Delete(ctx, previous); err != nil {
		t.Fatal(err)
	}
	a = g.get("/v1/responses/"+previous, "Authorization", "Bearer alice")
	if e := a.openAIError(t); a.status != 404 || e.Message != "Response with id '"+previous+"' not found." {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
}

// With keys, what is stored is the key's tenant's: its rotation keeps it, another
// key does not have it, and nobody without a key gets anything.
func TestStateKeys(t *testing.T) {
	m := &model{}
	g := start(t, "chat2response "+upstream(t, m.ServeHTTP)+" {\n mode chat\n keys bbolt "+t.TempDir()+"/keys.db\n}")
	key := func(path, body string) (id, token string) {
		t.Helper()
		a := g.post(path, body)
		made := object(t, []byte(a.body))
		id, _ = made["id"].(string)
		if token, _ = made["token"].(string); token == "" {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
		return id, "Bearer " + token
	}
	id, mine := key("/keys/generate", `{"ttl_seconds":3600}`)
	_, theirs := key("/keys/generate", `{"ttl_seconds":3600}`)
	a := g.post("/v1/responses?conversation_id=c", `{"model":"m","input":"one"}`, "Authorization", mine)
	first := object(t, []byte(a.body))
	if a.status != 200 || first["store"] != true {
		t.Fatalf("%d %s", a.status, a.body)
	}
	_, rotated := key("/keys/rotate", `{"id":"`+id+`"}`)
	next := fmt.Sprintf(`{"model":"m","input":"two","previous_response_id":%q}`, first["id"])
	if a := g.post("/v1/responses", next, "Authorization", rotated); a.status != 200 || m.last(t) != "user: one\nassistant: answer 1 to one\nuser: two\n" {
		t.Errorf("rotated: %d %s", a.status, a.body)
	}
	if a := g.post("/v1/responses", next, "Authorization", theirs); a.status != 400 || a.openAIError(t).code() != "previous_response_not_found" {
		t.Errorf("another key: %d %s", a.status, a.body)
	}
	if a := g.post("/convert?conversation_id=c", `{"model":"m","input":"two"}`, "Authorization", theirs); a.status != 200 || strings.Contains(a.body, "one") {
		t.Errorf("another key: %d %s", a.status, a.body)
	}
	if a := g.post("/convert?conversation_id=c", `{"model":"m","input":"two"}`, "Authorization", rotated); a.status != 200 || !strings.Contains(a.body, "answer 1 to one") {
		t.Errorf("converted: %d %s", a.status, a.body)
	}
	for _, r := range [][2]string{{"POST", "/convert?conversation_id=c"}, {"GET", "/v1/responses/" + first["id"].(string)}, {"DELETE", "/v1/conversations/conv_1"}} {
		body := ""
		if r[0] == "POST" {
			body = responsesBody("m", false)
		}
		if a := g.do(r[0], r[1], body); a.status != 401 {
			t.Errorf("%v without a key: %d %s", r, a.status, a.body)
		}
	}
	if a := g.post("/convert", responsesBody("m", false)); a.status != 200 {
		t.Errorf("what needs no state needs no key: %d %s", a.status, a.body)
	}
}

// Tokens are counted by the upstream, with the conversation that the request
// continues; or estimated, which is said.
func TestStateInputTokens(t *testing.T) {
	m := &model{}
	var asked []string
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tokenize":
			b, _ := io.ReadAll(r.Body)
			asked = append(asked, string(b))
			io.WriteString(w, `{"count":42,"tokens":[1,2,3]}`)
		case "/apply-template":
			b, _ := io.ReadAll(r.Body)
			asked = append(asked, string(b))
			io.WriteString(w, `{"prompt":"<s>all of it"}`)
		default:
			m.ServeHTTP(w, r)
		}
	}
	for dialect, want := range map[string]float64{"vllm": 42, "llama.cpp": 3, "generic": 0} {
		asked = nil
		g := start(t, "chat2response "+upstream(t, handler)+" {\n mode chat\n dialect "+dialect+"\n}")
		first := object(t, []byte(g.post("/v1/responses", responsesBody("m", false)).body))
		count := func(body string) (float64, httpAnswer) {
			t.Helper()
			a := g.post("/v1/responses/input_tokens", body)
			got := object(t, []byte(a.body))
			n, _ := got["input_tokens"].(float64)
			if a.status != 200 || got["object"] != "response.input_tokens" || n < 1 {
				t.Fatalf("%s: %d %s", dialect, a.status, a.body)
			}
			return n, a
		}
		n, a := count(fmt.Sprintf(`{"model":"m","input":"more","previous_response_id":%q}`, first["id"]))
		estimated := strings.Contains(a.header.Get("X-Chat2Response-Warnings"), "estimated")
		if want == 0 {
			less, _ := count(`{"model":"m","input":"more"}`)
			if !estimated || less >= n || len(asked) > 0 {
				t.Errorf("estimated %v and %v, said %v", less, n, estimated)
			}
		} else if n != want || estimated || !strings.Contains(asked[0], "answer 1 to Hello") || !strings.Contains(asked[0], "more") {
			t.Errorf("%s: %v of %v, estimated %v", dialect, n, asked, estimated)
		}
		if dialect == "llama.cpp" && !strings.Contains(asked[1], "<s>all of it") {
			t.Errorf("tokenized %v", asked)
		}
	}
	g := start(t, "chat2response "+upstream(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 404) })+" {\n mode chat\n dialect vllm\n}")
	if a := g.post("/v1/responses/input_tokens", responsesBody("m", false)); a.status != 200 || !strings.Contains(a.header.Get("X-Chat2Response-Warnings"), "estimated") {
		t.Errorf("without a tokenizer: %d %s", a.status, a.body)
	}
}

// Clients with keys of the gateway share an account of the upstream's: by default
// none can use what another has there.
func TestStateSharedAccount(t *testing.T) {
	for state, foreign := range map[string]int{"": http.StatusNotFound, "state unsealed": http.StatusOK} {
		_, addr := fake(t, fakeopenai.Options{APIKey: provider, APIs: []fakeopenai.API{fakeopenai.Responses}})
		g := start(t, "chat2response "+addr+" {\napi_key "+provider+"\nkeys memory\n"+state+"\n}")
		_, a := g.generate(`{}`)
		_, b := g.generate(`{}`)
		as := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
		made := g.post("/v1/responses", askResponses, as(a)...)
		id, _ := object(t, []byte(made.body))["id"].(string)
		if made.status != http.StatusOK || id == "" {
			t.Fatalf("%d %s", made.status, made.body)
		}
		if own := g.get("/v1/responses/"+id, as(a)...); own.status != http.StatusOK || object(t, []byte(own.body))["id"] != id {
			t.Errorf("%q: its own: %d %s", state, own.status, own.body)
		}
		if other := g.get("/v1/responses/"+id, as(b)...); other.status != foreign {
			t.Errorf("%q: another's: %d %s", state, other.status, other.body)
		}
	}
}
