package chat2response

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

const longTalk = `{"role":"user","content":"one"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]},` +
	`{"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"call_1","output":"found"},{"role":"user","content":"two"}`

// summaryOf is what the model of these tests answers to the prompt for a summary.
const summaryOf = "user: Summary of the conversation so far, which takes the place of what is not shown here:\n\nanswer "

// TestCompact: what /responses/compact gives takes the place of the conversation.
func TestCompact(t *testing.T) {
	onEachStore(t, func(t *testing.T, state string) {
		g, m := startState(t, state)
		c, ctx := g.sdk("k"), context.Background()
		first, err := c.Responses.New(ctx, responses.ResponseNewParams{Model: "m", Input: input("stored")})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Responses.Compact(ctx, responses.ResponseCompactParams{Model: "m", PreviousResponseID: openai.String(first.ID)})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Output) != 2 || got.Output[0].Type != "message" || got.Output[1].Type != "compaction" || got.Object != "response.compaction" || got.Usage.TotalTokens != 2 || !strings.HasPrefix(got.ID, "resp_") {
			t.Fatalf("%s", got.RawJSON())
		}
		if asked := m.last(t); !strings.HasPrefix(asked, "user: stored\nassistant: answer 1 to stored\nuser: Summarize this conversation") {
			t.Errorf("asked\n%s", asked)
		}

		a := g.post("/v1/responses/compact", `{"model":"m","instructions":"be kind","input":[`+longTalk+`],"tools":[{"type":"function","name":"f","parameters":{}}],"tool_choice":"required","text":{"format":{"type":"json_object"}}}`)
		asked := m.asked[len(m.asked)-1]
		if a.status != 200 || strings.Contains(asked, `"tools"`) || strings.Contains(asked, `"tool_choice"`) || strings.Contains(asked, "json_object") {
			t.Errorf("%d %s; asked %s", a.status, a.body, asked)
		}
		output, _ := object(t, []byte(a.body))["output"].([]any)
		items, _ := json.Marshal(append(output, map[string]any{"role": "user", "content": "next"}))
		if strings.Contains(string(items), "Summarize") || len(output) != 3 {
			t.Errorf("%s", items)
		}
		a = g.post("/v1/responses", `{"model":"m","store":false,"input":`+string(items)+`}`)
		if got := m.last(t); a.status != 200 || !strings.HasPrefix(got, "user: one\nuser: two\n"+summaryOf) || !strings.HasSuffix(got, "user: next\n") {
			t.Errorf("%d; asked\n%s", a.status, got)
		}
		// Another time, with the summary in it.
		if a = g.post("/v1/responses/compact", `{"model":"m","input":`+string(items)+`}`); a.status != 200 || !strings.Contains(m.last(t), summaryOf) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if stored := g.get("/v1/responses/" + object(t, []byte(a.body))["id"].(string)); stored.status != 404 {
			t.Errorf("stored: %d %s", stored.status, stored.body)
		}
	})
}

// TestCompactionTrigger: a request that ends with one is answered with a compaction
// item alone.
func TestCompactionTrigger(t *testing.T) {
	g, m := startState(t, "state memory")
	previous := object(t, []byte(g.post("/v1/responses", `{"model":"m","input":"stored"}`).body))["id"].(string)
	for _, stream := range []string{"false", "true"} {
		a := g.post("/v1/responses", `{"model":"m","stream":`+stream+`,"previous_response_id":"`+previous+`","input":[`+longTalk+`,{"type":"compaction_trigger"}]}`)
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		whole := a.body
		if events := a.events(); stream == "true" {
			got := kinds(events)
			if !slices.Equal(got, []string{"response.created", "response.in_progress", "response.output_item.added", "response.output_item.done", "response.completed", "[DONE]"}) {
				t.Fatalf("%q", got)
			}
			completed, _ := json.Marshal(object(t, []byte(events[4].data))["response"])
			whole = string(completed)
		}
		body := object(t, []byte(whole))
		if output, _ := body["output"].([]any); len(output) != 1 || dig(output[0], "type") != "compaction" || body["status"] != "completed" {
			t.Errorf("%v", body)
		}
		id := body["id"].(string)
		next := g.post("/v1/responses", `{"model":"m","input":"next","previous_response_id":"`+id+`"}`)
		if got := m.last(t); next.status != 200 || !strings.HasPrefix(got, "user: stored\nuser: one\nuser: two\n"+summaryOf) || !strings.HasSuffix(got, "user: next\n") {
			t.Errorf("%d; asked\n%s", next.status, got)
		}
		if kept := g.get("/v1/responses/" + id); kept.status != 200 || !strings.Contains(kept.body, `"compaction"`) {
			t.Errorf("%d %s", kept.status, kept.body)
		}
	}
}

// TestCompactionElsewhere: in the background, and at an upstream that speaks Responses,
// which gets the summary as a message.
func TestCompactionElsewhere(t *testing.T) {
	g, _ := startState(t, "state memory")
	queued := object(t, []byte(g.post("/v1/responses", `{"model":"m","background":true,"input":[`+longTalk+`,{"type":"compaction_trigger"}]}`).body))
	done := g.waitFor(queued["id"].(string), "completed")
	item, _ := json.Marshal(dig(done, "output", 0))
	if !strings.Contains(string(item), `"c2r2.`) {
		t.Fatalf("%v", done)
	}
	strict, asked := fakeopenai.New(fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Responses}}), ""
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = string(body)
		r.Body = io.NopCloser(strings.NewReader(asked))
		strict.ServeHTTP(w, r)
	})
	g = start(t, "chat2response "+addr+" {\n state local memory\n}")
	a := g.post("/v1/responses", `{"model":"fake-echo","input":[{"role":"user","content":"one"},`+string(item)+`]}`)
	if a.status != 200 || !strings.Contains(asked, `"role":"user","content":"Summary of the conversation so far`) {
		t.Errorf("%d %s; asked %s", a.status, a.body, asked)
	}
}

// TestCompactErrors: what cannot be compacted, and what cannot be read.
func TestCompactErrors(t *testing.T) {
	_, chat := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+chat+" {\n mode chat\n}")
	for _, test := range []struct {
		path, body    string
		status        int
		param, saying string
	}{
		{"/v1/responses/compact", `{"input":"x"}`, 400, "model", "model"},
		{"/v1/responses/compact", `{"model":"fake-text"}`, 400, "input", "Missing required parameter"},
		{"/v1/responses/compact", `{"model":"fake-text","input":[]}`, 400, "input", ""},
		{"/v1/responses/compact", `{"model":"fake-text","previous_response_id":"resp_1"}`, 400, "previous_response_id", "not found"},
		{"/v1/responses/compact", `{"model":"fake-empty","input":"x"}`, 502, "", "no summary"},
		{"/v1/responses/compact", `{"model":"fake-length","input":"x"}`, 502, "", "broke off"},
		{"/v1/responses/compact", `{"model":"fake-cut","input":"x"}`, 502, "", ""},
		{"/v1/responses/compact", `{"model":"fake-error429","input":"x"}`, 429, "", ""},
		{"/v1/responses", `{"model":"fake-text","input":[{"type":"compaction_trigger"}]}`, 400, "input", "nothing before"},
		{"/v1/responses", `{"model":"fake-text","input":[{"type":"compaction_trigger"},{"role":"user","content":"x"}]}`, 400, "input[0]", "must be the last"},
		{"/v1/responses", `{"model":"fake-text","input":[{"role":"user","content":"x"},{"type":"compaction","encrypted_content":"c2r2.AAAA"}]}`, 400, "input[1]", "only the server that made it"},
		{"/v1/responses", `{"model":"fake-empty","stream":true,"input":[{"role":"user","content":"x"},{"type":"compaction_trigger"}]}`, 502, "", "no summary"},
		{"/v1/responses", `{"model":"fake-error500","stream":true,"input":[{"role":"user","content":"x"},{"type":"compaction_trigger"}]}`, 500, "", ""},
	} {
		a := g.post(test.path, test.body)
		if e := a.openAIError(t); a.status != test.status || e.param() != test.param || !strings.Contains(e.Message, test.saying) {
			t.Errorf("%s %s: %d %s", test.path, test.body, a.status, a.body)
		}
	}
	if a := g.do("GET", "/v1/responses/compact", ""); a.status != 404 && a.status != 405 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
