package chat2response

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// kit is an MCP server with tools for tests, over streamable HTTP.
type kit struct {
	url     string
	handler http.Handler

	calls atomic.Int64 // of all tools
	slow  atomic.Int64 // calls of wait that run
	most  atomic.Int64 // the most of these at one time
	gone  atomic.Int64 // calls of wait that were cancelled
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{}
	s := mcpserver.NewMCPServer("kit", "1", mcpserver.WithToolCapabilities(true), mcpserver.WithRecovery())
	add := func(name string, options []mcp.ToolOption, run func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error)) {
		s.AddTool(mcp.NewTool(name, options...), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			k.calls.Add(1)
			return run(ctx, r)
		})
	}
	add("echo", []mcp.ToolOption{mcp.WithDescription("Says it again."), mcp.WithString("text", mcp.Required()), mcp.WithReadOnlyHintAnnotation(true)},
		func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultText("echo of " + r.GetString("text", "nothing")), nil
		})
	add("fail", []mcp.ToolOption{mcp.WithDestructiveHintAnnotation(true)}, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("no such file"), nil
	})
	add("picture", nil, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultImage("a dot", strings.TrimPrefix(pixel, "data:image/png;base64,"), "image/png"), nil
	})
	add("wait", nil, func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		n := k.slow.Add(1)
		defer k.slow.Add(-1)
		for m := k.most.Load(); n > m && !k.most.CompareAndSwap(m, n); m = k.most.Load() {
		}
		select {
		case <-ctx.Done():
			k.gone.Add(1)
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
			return mcp.NewToolResultText("waited"), nil
		}
	})
	k.handler = mcpserver.NewStreamableHTTPServer(s)
	web := httptest.NewServer(k.handler)
	t.Cleanup(web.Close)
	k.url = web.URL + "/mcp"
	return k
}

// settled waits until the gateway's MCP servers have been tried, as a person would
// who has just started it.
func settled(t *testing.T) {
	t.Helper()
	bridges.Lock()
	list := slices.Clone(bridges.list)
	bridges.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, b := range list {
		if err := b.Settle(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// withKit starts a gateway with a kit's tools.
func withKit(t *testing.T, k *kit, upstream, more string) *gateway {
	t.Helper()
	g := start(t, "chat2response "+upstream+" {\n"+more+"\nmcp kit "+k.url+"\n}")
	settled(t)
	return g
}

// script is a Chat upstream whose model does what the test says, a turn a request.
// It refuses history that a real server refuses: calls without outputs, and the
// reverse.
type script struct {
	mu    sync.Mutex
	turns []turn
	seen  []map[string]any // the requests
}

// turn is what the model says.
type turn struct {
	text   string
	calls  []call
	finish string // default: stop, or tool_calls
	status int    // an error instead
	thinks string
}

type call struct{ id, name, args string }

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := paired(body); err != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error","param":"messages","code":null}}`, err)
		return
	}
	s.mu.Lock()
	n := len(s.seen)
	s.seen = append(s.seen, body)
	tn := s.turns[min(n, len(s.turns)-1)]
	s.mu.Unlock()
	if tn.status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(tn.status)
		fmt.Fprint(w, `{"error":{"message":"the model is overloaded","type":"server_error","param":null,"code":null}}`)
		return
	}
	finish := tn.finish
	if finish == "" {
		if finish = "stop"; len(tn.calls) > 0 {
			finish = "tool_calls"
		}
	}
	const usage = `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`
	var calls []map[string]any
	for i, c := range tn.calls {
		calls = append(calls, map[string]any{"index": i, "id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": c.args}})
	}
	message := map[string]any{"role": "assistant", "content": tn.text}
	if tn.thinks != "" {
		message["reasoning_content"] = tn.thinks
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	if body["stream"] != true {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": json.RawMessage(usage),
			"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": finish}},
		})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	chunk := func(choices []any, more map[string]any) {
		c := map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
		for k, v := range more {
			c[k] = v
		}
		b, _ := json.Marshal(c)
		fmt.Fprintf(w, "data: %s\n\n", b)
		w.(http.Flusher).Flush()
	}
	delta := func(d map[string]any, finish any) []any {
		return []any{map[string]any{"index": 0, "delta": d, "finish_reason": finish}}
	}
	if tn.thinks != "" {
		chunk(delta(map[string]any{"reasoning_content": tn.thinks}, nil), nil)
	}
	if tn.text != "" {
		chunk(delta(map[string]any{"content": tn.text}, nil), nil)
	}
	for i, c := range tn.calls { // first all names, then the arguments interleaved
		chunk(delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "id": c.id, "type": "function", "function": map[string]any{"name": c.name, "arguments": ""}}}}, nil), nil)
	}
	for at, left := 0, true; left; at += 4 {
		left = false
		for i, c := range tn.calls {
			if at >= len(c.args) {
				continue
			}
			left = true
			chunk(delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": c.args[at:min(at+4, len(c.args))]}}}}, nil), nil)
		}
	}
	chunk(delta(map[string]any{}, finish), nil)
	if dig(body, "stream_options", "include_usage") == true {
		chunk([]any{}, map[string]any{"usage": json.RawMessage(usage)})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// paired says what is wrong with a request's calls and outputs.
func paired(body map[string]any) string {
	open := []string{}
	list, _ := body["messages"].([]any)
	for _, m := range list {
		if dig(m, "role") == "tool" {
			id, _ := dig(m, "tool_call_id").(string)
			at := slices.Index(open, id)
			if at < 0 {
				return "messages with role 'tool' must be a response to a preceding message with 'tool_calls': " + id
			}
			open = slices.Delete(open, at, at+1)
			continue
		}
		if len(open) > 0 {
			return "an assistant message with 'tool_calls' must be followed by tool messages: " + strings.Join(open, ", ")
		}
		calls, _ := dig(m, "tool_calls").([]any)
		for _, c := range calls {
			open = append(open, dig(c, "id").(string))
		}
	}
	if len(open) > 0 {
		return "an assistant message with 'tool_calls' must be followed by tool messages: " + strings.Join(open, ", ")
	}
	names := map[any]bool{}
	tools, _ := body["tools"].([]any)
	for _, tool := range tools {
		name := dig(tool, "function", "name")
		if names[name] {
			return fmt.Sprint("two tools are called ", name)
		}
		names[name] = true
	}
	return ""
}

// playing starts a scripted upstream.
func playing(t *testing.T, turns ...turn) (*script, string) {
	t.Helper()
	s := &script{turns: turns}
	return s, upstream(t, s.serve)
}

func (s *script) requests() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// TestMCPEveryWay: a model calls tools of the gateway, and every client sees one
// answer, over every upstream.
func TestMCPEveryWay(t *testing.T) {
	for _, api := range []fakeopenai.API{fakeopenai.Chat, fakeopenai.Responses} {
		for _, dialect := range []string{"openai", "vllm", "ollama"} {
			t.Run(fmt.Sprint(api, " ", dialect), func(t *testing.T) {
				k := newKit(t)
				_, addr := fake(t, fakeopenai.Options{APIs: []fakeopenai.API{api}, Dialect: dialect})
				g := withKit(t, k, addr, fmt.Sprintf("mode %s\ndialect %s", api, dialect))
				for _, scenario := range []string{"tool", "tools", "reasoning_tool", "tool_text"} {
					for _, stream := range []bool{false, true} {
						more := ""
						if stream {
							more = `"stream":true,"stream_options":{"include_usage":true},`
						}
						before := k.calls.Load()
						chat := g.post("/v1/chat/completions", fmt.Sprintf(`{"model":"fake-%s",%s"messages":[{"role":"user","content":"Go on."}]}`, scenario, more))
						got := chatText(t, chat, stream)
						if !strings.Contains(got.text, "kit_echo returned: echo of") || got.finish != "stop" || got.calls != 0 || got.usage == nil {
							t.Errorf("%s, chat, stream %t: %+v\n%s", scenario, stream, got, chat.body)
						}
						if k.calls.Load() == before {
							t.Errorf("%s, stream %t: nothing was run", scenario, stream)
						}
						resp := g.post("/v1/responses", fmt.Sprintf(`{"model":"fake-%s","stream":%t,"input":"Go on."}`, scenario, stream))
						text, items := responseText(t, resp, stream)
						if !strings.Contains(text, "kit_echo returned: echo of") || !slices.Contains(items, "mcp_call") || slices.Contains(items, "function_call") {
							t.Errorf("%s, responses, stream %t: %q %v\n%s", scenario, stream, text, items, resp.body)
						}
					}
				}
			})
		}
	}
}

// chatAnswer is what a Chat client has been told.
type chatAnswer struct {
	text, finish string
	ids, roles   int // distinct ids; deltas with a role
	calls        int
	args         map[string]string
	usage        map[string]any
	done         bool
}

func chatText(t *testing.T, a httpAnswer, stream bool) (got chatAnswer) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got.args = map[string]string{}
	ids := map[any]bool{}
	read := func(c map[string]any, member string) {
		ids[c["id"]] = true
		if u, ok := c["usage"].(map[string]any); ok {
			got.usage = u
		}
		m := dig(c, "choices", 0, member)
		if s, ok := dig(m, "content").(string); ok {
			got.text += s
		}
		if dig(m, "role") != nil {
			got.roles++
		}
		if f, ok := dig(c, "choices", 0, "finish_reason").(string); ok {
			got.finish += f
		}
		calls, _ := dig(m, "tool_calls").([]any)
		for _, call := range calls {
			key := fmt.Sprint(dig(call, "index"))
			if name, ok := dig(call, "function", "name").(string); ok {
				got.calls++
				got.args[key] += name
			}
			if args, ok := dig(call, "function", "arguments").(string); ok {
				got.args[key] += args
			}
		}
	}
	if !stream {
		read(object(t, []byte(a.body)), "message")
	} else {
		for _, e := range a.events() {
			if e.data == "[DONE]" {
				got.done = true
				continue
			}
			read(object(t, []byte(e.data)), "delta")
		}
	}
	got.ids = len(ids)
	return got
}

// responseText is the text of a response, and the types of its items.
func responseText(t *testing.T, a httpAnswer, stream bool) (text string, items []string) {
	t.Helper()
	resp := finalResponse(t, a, stream)
	list, _ := resp["output"].([]any)
	for _, it := range list {
		items = append(items, fmt.Sprint(dig(it, "type")))
		if s, ok := dig(it, "content", 0, "text").(string); ok && dig(it, "type") == "message" {
			text += s
		}
	}
	return text, items
}

func finalResponse(t *testing.T, a httpAnswer, stream bool) map[string]any {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if !stream {
		return object(t, []byte(a.body))
	}
	var last map[string]any
	for _, e := range a.events() {
		if strings.HasPrefix(e.name, "response.") {
			last = object(t, []byte(e.data))
		}
	}
	resp, _ := last["response"].(map[string]any)
	return resp
}

const goOn = `"messages":[{"role":"user","content":"Go on."}]`

// TestMCPChatStream: a Chat client that streams sees one answer: one id, one role,
// the text of all turns, the sum of their usage, one end.
func TestMCPChatStream(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t,
		turn{text: "Let me see.", thinks: "I should ask the kit.", calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}, {"call_1", "kit_fail", `{}`}}},
		turn{text: "And once more.", calls: []call{{"call_0", "kit_echo", `{"text":"b"}`}}},
		turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat\ndialect deepseek")
	a := g.post("/v1/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true},"tool_choice":"required",`+goOn+`}`)
	got := chatText(t, a, true)
	if got.text != "Let me see.\n\nAnd once more.\n\nDone." || got.ids != 1 || got.roles != 1 || got.finish != "stop" || !got.done || got.calls != 0 {
		t.Errorf("%+v\n%s", got, a.body)
	}
	if got.usage["prompt_tokens"] != 30.0 || got.usage["completion_tokens"] != 15.0 || got.usage["total_tokens"] != 45.0 {
		t.Errorf("usage %v, and not the sum of three turns", got.usage)
	}
	reqs := s.requests()
	if len(reqs) != 3 {
		t.Fatalf("%d turns", len(reqs))
	}
	if reqs[0]["tool_choice"] != "required" || reqs[1]["tool_choice"] != "auto" {
		t.Errorf("tool_choice %v, then %v: what is forced is forced once", reqs[0]["tool_choice"], reqs[1]["tool_choice"])
	}
	for i, want := range []string{"role assistant", "role tool", "role tool"} {
		m := dig(reqs[1], "messages", i+1)
		if got := fmt.Sprint("role ", dig(m, "role")); got != want {
			t.Errorf("message %d of the second turn: %s", i+1, got)
		}
	}
	second := dig(reqs[1], "messages", 1)
	if dig(second, "reasoning_content") != "I should ask the kit." || dig(second, "content") != "Let me see." || dig(second, "tool_calls", 1, "function", "name") != "kit_fail" {
		t.Errorf("the model's own message came back as %v", second)
	}
	if dig(reqs[1], "messages", 2, "content") != "echo of a" || dig(reqs[1], "messages", 3, "content") != "no such file" {
		t.Errorf("outputs %v", dig(reqs[1], "messages"))
	}
	if strings.Contains(a.body, "reasoning_details") {
		t.Error("the gateway's own seal was shown to the client")
	}
}

// TestMCPMixed: tools of the client beside the gateway's. Those of the gateway run,
// the client's come back, and the client's next request finds the hidden calls in
// front of its own.
func TestMCPMixed(t *testing.T) {
	const tools = `"tools":[{"type":"function","function":{"name":"lookup","parameters":{"type":"object","properties":{}}}}],`
	for _, stream := range []bool{false, true} {
		k := newKit(t)
		s, addr := playing(t,
			turn{text: "First mine.", calls: []call{{"call_0", "kit_echo", `{"text":"first"}`}}},
			turn{text: "Now both.", calls: []call{{"call_0", "kit_echo", `{"text":"ours"}`}, {"call_1", "lookup", `{"q":"theirs, and long enough"}`}}},
			turn{text: "Done."})
		g := withKit(t, k, addr, "mode chat")
		a := g.post("/v1/chat/completions", fmt.Sprintf(`{"model":"m","stream":%t,%s%s}`, stream, tools, goOn), "Authorization", "Bearer one")
		got := chatText(t, a, stream)
		key := map[bool]string{true: "0", false: "<nil>"}[stream]
		if got.finish != "tool_calls" || got.calls != 1 || got.args[key] != `lookup{"q":"theirs, and long enough"}` || k.calls.Load() != 2 {
			t.Fatalf("stream %t: %+v after %d calls\n%s", stream, got, k.calls.Load(), a.body)
		}
		next := `{"model":"m",` + tools + `"messages":[{"role":"user","content":"Go on."},
			{"role":"assistant","content":"First mine.\n\nNow both.","tool_calls":[{"id":"call_1","type":"function","function":{"name":"lookup","arguments":"{\"q\":\"theirs, and long enough\"}"}}]},
			{"role":"tool","tool_call_id":"call_1","content":"found"}]}`
		roles := func(bearer string) string {
			g.post("/v1/chat/completions", next, "Authorization", "Bearer "+bearer)
			reqs := s.requests()
			list, _ := reqs[len(reqs)-1]["messages"].([]any)
			var out []string
			for _, m := range list {
				role := fmt.Sprint(dig(m, "role"))
				if c, ok := dig(m, "content").(string); ok && role == "tool" {
					role = c
				}
				if name := dig(m, "tool_calls", 0, "function", "name"); name != nil {
					role = fmt.Sprint(name)
				}
				out = append(out, role)
			}
			return strings.Join(out, ", ")
		}
		if got := roles("one"); got != "user, kit_echo, echo of first, kit_echo, echo of ours, lookup, found" {
			t.Errorf("stream %t: the next request has %s", stream, got)
		}
		if got := roles("another"); got != "user, lookup, found" {
			t.Errorf("stream %t: another client's has %s", stream, got)
		}
	}
}

// TestMCPResponsesEvents: what a Responses client sees of a call, event by event.
func TestMCPResponsesEvents(t *testing.T) {
	k := newKit(t)
	_, addr := playing(t,
		turn{text: "Hm.", calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}}},
		turn{calls: []call{{"call_0", "kit_fail", `{}`}}},
		turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat")
	a := g.post("/v1/responses", `{"model":"m","stream":true,"input":"Go on."}`)
	var names []string
	var deltas string
	seq, ids := 0.0, map[any]bool{}
	for _, e := range a.events() {
		if e.data == "[DONE]" {
			continue
		}
		ev := object(t, []byte(e.data))
		if ev["sequence_number"] != seq {
			t.Errorf("event %v has number %v", seq, ev["sequence_number"])
		}
		seq++
		if e.name != ev["type"] {
			t.Errorf("event %s is of type %v", e.name, ev["type"])
		}
		name := strings.TrimPrefix(e.name, "response.")
		if i, ok := ev["output_index"].(float64); ok {
			name += fmt.Sprint(" ", i)
		}
		if strings.HasPrefix(name, "mcp_call_arguments.delta") {
			deltas += ev["delta"].(string)
			if len(names) > 0 && names[len(names)-1] == name {
				continue
			}
		}
		if item := ev["item"]; item != nil {
			name += fmt.Sprint(" ", dig(item, "type"), " ", dig(item, "status"))
			if strings.HasPrefix(name, "output_item.added") {
				if ids[dig(item, "id")] {
					t.Errorf("id %v is there twice", dig(item, "id"))
				}
				ids[dig(item, "id")] = true
			}
		}
		names = append(names, name)
	}
	want := []string{"created", "in_progress",
		"output_item.added 0 message in_progress", "content_part.added 0", "output_text.delta 0", "output_text.done 0", "content_part.done 0", "output_item.done 0 message completed",
		"output_item.added 1 mcp_call in_progress", "mcp_call.in_progress 1", "mcp_call_arguments.delta 1", "mcp_call_arguments.done 1", "mcp_call.completed 1", "output_item.done 1 mcp_call completed",
		"output_item.added 2 mcp_call in_progress", "mcp_call.in_progress 2", "mcp_call_arguments.delta 2", "mcp_call_arguments.done 2", "mcp_call.failed 2", "output_item.done 2 mcp_call failed",
		"output_item.added 3 message in_progress", "content_part.added 3", "output_text.delta 3", "output_text.done 3", "content_part.done 3", "output_item.done 3 message completed",
		"completed"}
	if !slices.Equal(names, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	if deltas != `{"text":"a"}{}` {
		t.Errorf("arguments %s", deltas)
	}
	resp := finalResponse(t, a, true)
	first, second := dig(resp, "output", 1), dig(resp, "output", 2)
	if got := compactJSON(first, "id"); got != `{"approval_request_id":null,"arguments":"{\"text\":\"a\"}","error":null,"name":"echo","output":"echo of a","server_label":"kit","status":"completed","type":"mcp_call"}` {
		t.Errorf("mcp_call %s", got)
	}
	if got := compactJSON(second, "id"); got != `{"approval_request_id":null,"arguments":"{}","error":{"content":[{"text":"no such file","type":"text"}],"type":"mcp_tool_execution_error"},"name":"fail","output":null,"server_label":"kit","status":"failed","type":"mcp_call"}` {
		t.Errorf("failed mcp_call %s", got)
	}
	if dig(resp, "usage", "total_tokens") != 45.0 || fmt.Sprint(dig(resp, "tools")) != "[]" {
		t.Errorf("usage %v, tools %v", dig(resp, "usage"), dig(resp, "tools"))
	}
}

// compactJSON is decoded JSON as text, without some members.
func compactJSON(v any, without ...string) string {
	if m, ok := v.(map[string]any); ok {
		for _, name := range without {
			delete(m, name)
		}
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// TestMCPResponsesMixed: a Responses client is given its own call and what the
// gateway has run, and the items that it sends back are the history.
func TestMCPResponsesMixed(t *testing.T) {
	const tools = `"tools":[{"type":"function","name":"lookup","parameters":{"type":"object","properties":{}}}],`
	k := newKit(t)
	s, addr := playing(t,
		turn{calls: []call{{"call_0", "kit_echo", `{"text":"ours"}`}, {"call_1", "lookup", `{}`}}},
		turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat")
	for _, stream := range []bool{false, true} {
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
		a := g.post("/v1/responses", fmt.Sprintf(`{"model":"m","stream":%t,%s"input":"Go on."}`, stream, tools))
		resp := finalResponse(t, a, stream)
		_, items := responseText(t, a, stream)
		if strings.Join(items, ", ") != "mcp_call, function_call" || dig(resp, "status") != "completed" {
			t.Fatalf("stream %t: %v", stream, items)
		}
		output, _ := json.Marshal(resp["output"])
		input := `[{"role":"user","content":"Go on."},` + strings.TrimSuffix(strings.TrimPrefix(string(output), "["), "]") + `,{"type":"function_call_output","call_id":"call_1","output":"found"}]`
		if a := g.post("/v1/responses", `{"model":"m",`+tools+`"input":`+input+`}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		reqs := s.requests()
		last := reqs[len(reqs)-1]
		if dig(last, "messages", 1, "tool_calls", 0, "function", "name") != "kit_echo" || dig(last, "messages", 2, "content") != "echo of ours" ||
			!strings.Contains(compactJSON(last["messages"]), `"lookup"`) {
			t.Errorf("stream %t: the history is %s", stream, compactJSON(last["messages"]))
		}
	}
}

// TestMCPLimits: a model that calls for ever comes to an end.
func TestMCPLimits(t *testing.T) {
	endless := turn{text: "more", calls: []call{{"call_0", "kit_echo", `{"text":"x"}`}}}
	for name, c := range map[string]struct {
		options, request string
		turns, calls     int
	}{
		"turns":                  {"mcp {\nmax_turns 3\n}", "", 3, 2},
		"calls":                  {"mcp {\nmax_calls 2\n}", "", 3, 2},
		"the client's own limit": {"", `"max_tool_calls":1,`, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			s, addr := playing(t, endless)
			g := withKit(t, k, addr, "mode chat\n"+c.options)
			a := g.post("/v1/responses", `{"model":"m",`+c.request+`"input":"Go on."}`)
			resp := finalResponse(t, a, false)
			reqs := s.requests()
			if len(reqs) != c.turns || int(k.calls.Load()) != c.calls || dig(resp, "status") != "completed" {
				t.Fatalf("%d turns, %d calls, %v", len(reqs), k.calls.Load(), dig(resp, "status"))
			}
			last := reqs[len(reqs)-1]
			if last["tool_choice"] != "none" || last["tools"] == nil {
				t.Errorf("the last turn has tool_choice %v, tools %v", last["tool_choice"], last["tools"])
			}
		})
	}
	t.Run("tokens", func(t *testing.T) { // five a turn
		k := newKit(t)
		s, addr := playing(t, endless)
		g := withKit(t, k, addr, "mode chat")
		a := g.post("/v1/responses", `{"model":"m","max_output_tokens":12,"input":"Go on."}`)
		resp := finalResponse(t, a, false)
		if dig(resp, "status") != "incomplete" || dig(resp, "incomplete_details", "reason") != "max_output_tokens" {
			t.Errorf("%v %v", dig(resp, "status"), dig(resp, "incomplete_details"))
		}
		var limits []any
		for _, r := range s.requests() {
			limits = append(limits, r["max_tokens"])
		}
		if fmt.Sprint(limits) != "[12 7 2]" {
			t.Errorf("limits of the turns: %v", limits)
		}
	})
}

// TestMCPNotRun: a call that was cut off is not run.
func TestMCPNotRun(t *testing.T) {
	for _, finish := range []string{"length", "content_filter"} {
		k := newKit(t)
		s, addr := playing(t, turn{calls: []call{{"call_0", "kit_echo", `{"text":"x`}}, finish: finish})
		g := withKit(t, k, addr, "mode chat")
		for _, stream := range []bool{false, true} {
			resp := finalResponse(t, g.post("/v1/responses", fmt.Sprintf(`{"model":"m","stream":%t,"input":"Go on."}`, stream)), stream)
			if dig(resp, "status") != "incomplete" || dig(resp, "output", 0, "status") != "incomplete" {
				t.Errorf("%s: %s", finish, compactJSON(resp))
			}
		}
		if k.calls.Load() != 0 || len(s.requests()) != 2 {
			t.Errorf("%s: %d calls, %d turns", finish, k.calls.Load(), len(s.requests()))
		}
	}
}

// TestMCPFailures: whatever becomes of a call is a result that the model reads, and
// the client's request goes on.
func TestMCPFailures(t *testing.T) {
	for name, c := range map[string]struct{ tool, args, told, kind string }{
		"the tool fails":         {"kit_fail", `{}`, "no such file", "mcp_tool_execution_error"},
		"bad arguments":          {"kit_echo", `[1]`, "Error: the arguments are not a JSON object", "mcp_protocol_error"},
		"arguments that are not": {"kit_echo", `{"text":`, "Error: the arguments are not a JSON object", "mcp_protocol_error"},
		"too slow":               {"kit_wait", `{}`, "Error: the tool did not answer in time", "mcp_protocol_error"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			s, addr := playing(t, turn{calls: []call{{"call_0", c.tool, c.args}}}, turn{text: "Well."})
			g := withKit(t, k, addr, "mode chat\nmcp {\ncall_timeout 50ms\n}")
			resp := finalResponse(t, g.post("/v1/responses", `{"model":"m","input":"Go on."}`), false)
			if dig(resp, "output", 0, "error", "type") != c.kind || dig(resp, "output", 0, "status") != "failed" || dig(resp, "output", 1, "content", 0, "text") != "Well." {
				t.Errorf("%s", compactJSON(resp["output"]))
			}
			reqs := s.requests()
			if got := dig(reqs[len(reqs)-1], "messages", 2, "content"); got != c.told {
				t.Errorf("the model is told %q", got)
			}
		})
	}
}

// TestMCPParallel: the calls of one turn run side by side, and their results stand
// in their order.
func TestMCPParallel(t *testing.T) {
	k := newKit(t)
	var calls []call
	for i := range 8 {
		calls = append(calls, call{fmt.Sprint("call_", i), "kit_wait", "{}"})
	}
	calls = append(calls, call{"call_8", "kit_echo", `{"text":"last"}`})
	s, addr := playing(t, turn{calls: calls}, turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat")
	echoes := counted(t, mcpCalls.WithLabelValues("kit", "echo", "ok"))
	if got := chatText(t, g.post("/v1/chat/completions", `{"model":"m",`+goOn+`}`), false); got.text != "Done." {
		t.Fatalf("%+v", got)
	}
	if n := counted(t, mcpCalls.WithLabelValues("kit", "echo", "ok")) - echoes; n != 1 {
		t.Errorf("%v calls were counted", n)
	}
	if k.most.Load() < 4 {
		t.Errorf("%d calls ran at one time", k.most.Load())
	}
	reqs := s.requests()
	for i := range 9 {
		if id := dig(reqs[1], "messages", i+2, "tool_call_id"); id != fmt.Sprint("call_", i) {
			t.Errorf("output %d is for %v", i, id)
		}
	}
}

// counted is a counter's value.
func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(len(families), err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// TestMCPClientLeaves: its calls are cancelled, and the model is not asked again.
func TestMCPClientLeaves(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t, turn{text: "Wait.", calls: []call{{"call_0", "kit_wait", "{}"}}}, turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat")
	l := g.stream("/v1/chat/completions", `{"model":"m","stream":true,`+goOn+`}`)
	eventually(t, "the call runs", func() bool { return k.slow.Load() == 1 })
	l.cancel()
	eventually(t, "the call has ended", func() bool { return k.slow.Load() == 0 })
	time.Sleep(50 * time.Millisecond)
	if n := len(s.requests()); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// TestMCPKeepAlive: a tool that takes long does not look like a dead connection.
func TestMCPKeepAlive(t *testing.T) {
	k := newKit(t)
	_, addr := playing(t, turn{calls: []call{{"call_0", "kit_wait", "{}"}}}, turn{text: "Done."})
	g := withKit(t, k, addr, "mode chat\nkeep_alive 20ms")
	a := g.post("/v1/chat/completions", `{"model":"m","stream":true,`+goOn+`}`)
	if n := strings.Count(a.body, ": keepalive"); n < 2 {
		t.Errorf("%d comments in\n%s", n, a.body)
	}
	if got := chatText(t, a, true); got.text != "Done." || !got.done {
		t.Errorf("%+v", got)
	}
}

// TestMCPSecondTurnFails: before the first byte it is the upstream's status, after
// it an event.
func TestMCPSecondTurnFails(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t, turn{text: "Hm.", calls: []call{{"call_0", "kit_echo", `{"text":"a"}`}}}, turn{status: 503})
	g := withKit(t, k, addr, "mode chat")
	if a := g.post("/v1/chat/completions", `{"model":"m",`+goOn+`}`); a.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.status, a.body)
	} else {
		a.openAIError(t)
	}
	for _, path := range []string{"/v1/responses", "/v1/chat/completions"} {
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
		a := g.post(path, `{"model":"m","stream":true,`+map[string]string{"/v1/responses": `"input":"Go on."`, "/v1/chat/completions": goOn}[path]+`}`)
		if !strings.Contains(a.body, "the model is overloaded") || strings.Contains(a.body, "response.completed") || strings.Contains(a.body, `"finish_reason":"stop"`) {
			t.Errorf("%s: %d\n%s", path, a.status, a.body)
		}
	}
}

// TestMCPUnused: a request that can use no tool goes through untouched.
func TestMCPUnused(t *testing.T) {
	k := newKit(t)
	var bodies []string
	var mu sync.Mutex
	up := fakeopenai.New(fakeopenai.Options{})
	g := withKit(t, k, upstream(t, func(w http.ResponseWriter, r *http.Request) {
		up.ServeHTTP(w, r)
		mu.Lock()
		defer mu.Unlock()
		reqs := up.Requests()
		bodies = append(bodies, string(reqs[len(reqs)-1].Body))
	}), "mode chat")
	body := `{"model":"fake-tool", "tool_choice":"none","tools":[{"type":"function","function":{"name":"f"}}],` + goOn + ` }`
	if a := g.post("/v1/chat/completions", body); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if bodies[0] != body {
		t.Errorf("the upstream was sent %s", bodies[0])
	}
	if a := g.post("/v1/chat/completions", `{"model":"fake-text","n":2,`+goOn+`}`); a.status != http.StatusOK || strings.Contains(bodies[1], "kit_echo") {
		t.Errorf("n=2: %d %s", a.status, bodies[1])
	}
}

// TestMCPWho: who is offered which tools, and that a tool which is not offered does
// not run either.
func TestMCPWho(t *testing.T) {
	k := newKit(t)
	s, addr := playing(t, turn{text: "Hi."})
	offered := func(g *gateway, header ...string) string {
		t.Helper()
		s.mu.Lock()
		s.seen = nil
		s.mu.Unlock()
		if a := g.post("/v1/chat/completions", `{"model":"m",`+goOn+`}`, header...); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		var names []string
		list, _ := s.requests()[0]["tools"].([]any)
		for _, tool := range list {
			names = append(names, strings.TrimPrefix(fmt.Sprint(dig(tool, "function", "name")), "kit_"))
		}
		return strings.Join(names, " ")
	}
	g := withKit(t, k, addr, "mode chat")
	if got := offered(g); got != "echo fail picture wait" {
		t.Errorf("on this machine: %q", got)
	}
	for _, header := range [][]string{{"X-Forwarded-For", "10.0.0.1"}, {"Origin", "http://evil.example"}} {
		if got := offered(g, header...); got != "" {
			t.Errorf("%v: %q", header, got)
		}
	}
	g.load("chat2response " + addr + " {\nmode chat\nmcp kit " + k.url + "\nmcp {\nallow_unauthenticated\n}\n}")
	settled(t)
	if got := offered(g, "X-Forwarded-For", "10.0.0.1"); got != "echo fail picture wait" {
		t.Errorf("allow_unauthenticated: %q", got)
	}
	g.load("chat2response " + addr + " {\nmode chat\nkeys memory\nmcp kit " + k.url + " {\ntools echo fail wait\n}\nmcp {\napprove kit/f*\n}\n}")
	settled(t)
	for scopes, want := range map[string]string{
		``:                   "echo wait", // a Chat client cannot approve
		`"mcp"`:              "echo wait",
		`"label"`:            "",
		`"mcp:read"`:         "echo",
		`"mcp:kit"`:          "echo wait",
		`"mcp:other"`:        "",
		`"mcp:kit/w*"`:       "wait",
		`"mcp:read","label"`: "echo",
	} {
		key := mint(t, g, `{"scopes":[`+scopes+`]}`)
		if got := offered(g, "Authorization", "Bearer "+key); got != want {
			t.Errorf("scopes %s: %q, want %q", scopes, got, want)
		}
	}
	key := mint(t, g, `{"tools":["kit_echo"]}`)
	if got := offered(g, "Authorization", "Bearer "+key); got != "echo" {
		t.Errorf("a list of tools: %q", got)
	}
	s.mu.Lock()
	s.turns = []turn{{calls: []call{{"call_0", "kit_wait", "{}"}}}, {text: "Done."}}
	s.mu.Unlock()
	before := k.calls.Load()
	g.post("/v1/chat/completions", `{"model":"m",`+goOn+`}`, "Authorization", "Bearer "+key)
	if k.calls.Load() != before {
		t.Error("a tool ran that was not offered")
	}
}

// mint makes a key.
func mint(t *testing.T, g *gateway, body string) string {
	t.Helper()
	a := g.post("/keys/generate", body)
	token, _ := object(t, []byte(a.body))["token"].(string)
	if a.status >= 300 || token == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return token
}
