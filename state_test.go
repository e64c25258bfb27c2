package chat2response

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/labiium/chat2response/store/storetest"
)

// model is a Chat upstream that answers the n-th user message of a conversation
// with "answer n to <the message>", and keeps what it was asked. A message that
// begins with "call" is answered with a tool call.
type model struct {
	mu    sync.Mutex
	asked []string // the bodies
	hold  chan struct{}
}

type modelMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []any           `json:"tool_calls"`
}

func (m modelMessage) text() string {
	var s string
	if json.Unmarshal(m.Content, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	json.Unmarshal(m.Content, &parts)
	for _, p := range parts {
		s += p.Text
	}
	return s
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	m.asked = append(m.asked, string(body))
	hold := m.hold
	m.mu.Unlock()
	var req struct {
		Messages []modelMessage `json:"messages"`
		Stream   bool           `json:"stream"`
	}
	if err := json.Unmarshal(body, &req); err != nil || len(req.Messages) == 0 {
		http.Error(w, `{"error":{"message":"bad request"}}`, http.StatusBadRequest)
		return
	}
	users, last := 0, req.Messages[len(req.Messages)-1]
	for _, message := range req.Messages {
		if message.Role == "user" {
			users++
		}
	}
	text := fmt.Sprintf("answer %d to %s", users, last.text())
	calls, finish := "", `"stop"`
	if last.Role == "user" && strings.HasPrefix(last.text(), "call") {
		text, finish = "", `"tool_calls"`
		calls = fmt.Sprintf(`,"tool_calls":[{"index":0,"id":"call_%d","type":"function","function":{"name":"f","arguments":"{}"}}]`, users)
	}
	quoted, _ := json.Marshal(text)
	if !req.Stream {
		w.Header().Set("Content-Type", "application/json")
		if hold != nil {
			<-hold
		}
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%s%s},"finish_reason":%s}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, quoted, calls, finish)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	chunk := func(delta, finish string) {
		fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n", delta, finish)
		w.(http.Flusher).Flush()
	}
	chunk(`{"role":"assistant"`+calls+`}`, "null")
	if text != "" {
		chunk(`{"content":`+string(quoted)+`}`, "null")
	}
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	chunk(`{}`, finish)
	io.WriteString(w, "data: [DONE]\n\n")
}

// last are the roles and texts of the latest request, one a line.
func (m *model) last(t *testing.T) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) == 0 {
		t.Fatal("the upstream was not asked")
	}
	return transcript(t, m.asked[len(m.asked)-1])
}

func transcript(t *testing.T, body string) string {
	t.Helper()
	var req struct {
		Messages []modelMessage `json:"messages"`
	}
	if err := json.Unmarshal([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, message := range req.Messages {
		fmt.Fprintf(&b, "%s: %s", message.Role, message.text())
		if len(message.ToolCalls) > 0 {
			fmt.Fprintf(&b, "call %v", dig(message.ToolCalls[0], "id"))
		}
		b.WriteString(message.ToolCallID + "\n")
	}
	return b.String()
}

func (m *model) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.asked)
}

// onEachStore runs a test with the gateway's state in each store.
func onEachStore(t *testing.T, test func(t *testing.T, state string)) {
	t.Run("memory", func(t *testing.T) { test(t, "state memory") })
	t.Run("bbolt", func(t *testing.T) { test(t, "state bbolt "+t.TempDir()+"/state.db {\n key a-secret-of-some-length\n}") })
	t.Run("redis", func(t *testing.T) { test(t, "state redis "+storetest.StartRedis(t).URL()) })
}

func startState(t *testing.T, state string) (*gateway, *model) {
	t.Helper()
	m := &model{}
	addr := upstream(t, m.ServeHTTP)
	return start(t, "chat2response "+addr+" {\n mode chat\n"+state+"\n}"), m
}

// sdk is the official client with a key of its own, which is its tenant.
func (g *gateway) sdk(key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey(key), option.WithMaxRetries(0), option.WithHTTPClient(client))
}

func input(text string) responses.ResponseNewParamsInputUnion {
	return responses.ResponseNewParamsInputUnion{OfString: openai.String(text)}
}

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
			var resp *responses.Response
			if i%2 == 0 {
				stream := c.Responses.NewStreaming(ctx, p)
				for stream.Next() {
					if e := stream.Current(); e.Type == "response.completed" {
						resp = &e.Response
					}
				}
				if err := stream.Err(); err != nil {
					t.Fatal(err)
				}
			} else {
				var err error
				if resp, err = c.Responses.New(ctx, p); err != nil {
					t.Fatal(err)
				}
			}
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

var _ = conversations.ConversationNewParams{}
