package chat2response

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"
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
	free  sync.Once
}

// release lets the answers go on that hold keeps back.
func (m *model) release() { m.free.Do(func() { close(m.hold) }) }

// holding is a model that does not end its answers until it is released, and its
// address.
func holding(t *testing.T) (*model, string) {
	m := &model{hold: make(chan struct{})}
	addr := upstream(t, m.ServeHTTP)
	t.Cleanup(m.release)
	return m, addr
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
	if r.Method == http.MethodGet && r.URL.Path == "/v1/models" { // as every server has it
		io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"me"}]}`)
		return
	}
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

// turnOf asks for a response, in a stream or not.
func turnOf(t *testing.T, c openai.Client, p responses.ResponseNewParams, streamed bool) *responses.Response {
	t.Helper()
	if !streamed {
		resp, err := c.Responses.New(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var resp *responses.Response
	stream := c.Responses.NewStreaming(t.Context(), p)
	for stream.Next() {
		if e := stream.Current(); e.Type == "response.completed" {
			resp = &e.Response
		}
	}
	if stream.Err() != nil || resp == nil {
		t.Fatalf("no response at the stream's end: %v", stream.Err())
	}
	return resp
}
