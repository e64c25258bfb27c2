package convert_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// The requests of this file have the shapes of those that Codex 0.169 sends: by
// the model's name it declares its tools in one of three ways. Each is served by
// Chat-only upstreams, each of which is strict in its own way, for two turns.

// object and list keep the JSON of this file short.
type (
	object = map[string]any
	list   = []any
)

func functionTool(name string, properties object) object {
	required := list{}
	for p := range properties {
		required = append(required, p)
	}
	return object{"type": "function", "name": name, "description": "Does " + name + ".", "strict": false,
		"parameters": object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}}
}

func namespaceTool(name string, tools ...any) object {
	return object{"type": "namespace", "name": name, "description": "", "tools": tools}
}

func grammarTool(name string) object {
	return object{"type": "custom", "name": name, "description": "Takes free text.",
		"format": object{"type": "grammar", "syntax": "lark", "definition": "start: /(.|\\n)+/"}}
}

func inputMessage(role string, parts ...any) object {
	return object{"type": "message", "id": "msg_" + role + fmt.Sprint(len(parts)), "role": role, "content": parts}
}

func inputText(s string) object { return object{"type": "input_text", "text": s} }

// foreignReasoning is what a client replays of another server's reasoning.
func foreignReasoning() object {
	return object{"type": "reasoning", "id": "rs_0a1b", "summary": list{object{"type": "summary_text", "text": "**A plan**"}},
		"content": nil, "encrypted_content": "gAAAAnotOurs"}
}

var str, encryptedStr = object{"type": "string"}, object{"type": "string", "encrypted": true}

// capture is a request of one of the shapes.
type capture struct {
	name string
	// model is the scenario that the fake upstream plays.
	model string
	set   func(object)
	// calls are what the first turn must give the client: type, namespace and name.
	calls [][3]string
	// history is the input of a later turn, which must be accepted as well.
	history list
}

var captures = []capture{
	{
		name: "custom provider", model: "fake-tool",
		set: func(b object) {
			b["reasoning"] = object{"summary": "auto"}
			b["tools"] = list{functionTool("exec_command", object{"cmd": str}), functionTool("write_stdin", object{"chars": str})}
		},
		calls: [][3]string{{"function_call", "", "exec_command"}},
		history: list{
			foreignReasoning(),
			object{"type": "function_call", "status": "completed", "id": "fc_1", "name": "exec_command", "arguments": `{"cmd":"echo one"}`, "call_id": "call_1"},
			object{"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "Exit code: 0\nOutput: one"},
		},
	},
	{
		name: "unknown model", model: "fake-namespaced",
		set: func(b object) {
			b["reasoning"] = object{"summary": "auto"}
			b["tools"] = list{
				functionTool("exec_command", object{"cmd": str}),
				namespaceTool("multi_agent_v1", functionTool("spawn_agent", object{"message": str}), functionTool("wait_agent", object{})),
				functionTool("get_goal", object{}),
				object{"type": "web_search", "external_web_access": false},
			}
		},
		calls: [][3]string{{"function_call", "multi_agent_v1", "spawn_agent"}},
		history: list{
			foreignReasoning(),
			object{"type": "function_call", "status": "completed", "id": "fc_1", "name": "spawn_agent", "namespace": "multi_agent_v1", "arguments": `{"message":"go"}`, "call_id": "call_1"},
			object{"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "agent 7"},
		},
	},
	{
		name: "schema and image", model: "fake-namespaced",
		set: func(b object) {
			b["tools"] = list{namespaceTool("multi_agent_v1", functionTool("send_input", object{"target": str})), object{"type": "web_search", "external_web_access": false}}
			b["text"] = object{"verbosity": "medium", "format": object{"type": "json_schema", "strict": true, "name": "codex_output_schema",
				"schema": object{"type": "object", "properties": object{"answer": str}, "required": list{"answer"}, "additionalProperties": false}}}
			b["input"] = append(b["input"].(list), inputMessage("user",
				inputText("<image name=[Image #1]>"), object{"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"},
				inputText("</image>"), inputText("What is it?")))
		},
		calls: [][3]string{{"function_call", "multi_agent_v1", "send_input"}},
	},
	{
		name: "grammar and search", model: "fake-custom",
		set: func(b object) {
			b["reasoning"] = object{"effort": "high", "summary": "auto"}
			b["tools"] = list{
				functionTool("exec_command", object{"cmd": str}), grammarTool("apply_patch"),
				object{"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": object{"type": "object", "properties": object{"query": str, "limit": object{"type": "number"}}, "required": list{"query"}, "additionalProperties": false}},
				object{"type": "web_search", "external_web_access": true, "search_content_types": list{"text", "image"}},
			}
		},
		calls: [][3]string{{"custom_tool_call", "", "apply_patch"}},
		// All calls of a step, then all outputs, in another order.
		history: list{
			foreignReasoning(),
			object{"type": "message", "id": "msg_c", "role": "assistant", "phase": "commentary", "content": list{object{"type": "output_text", "text": "I will look.", "annotations": list{}}}},
			object{"type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "call_1", "name": "apply_patch", "input": "*** Begin Patch\n\"é\"\n"},
			object{"type": "function_call", "id": "fc_2", "status": "completed", "call_id": "call_2", "name": "exec_command", "arguments": `{"cmd":"ls"}`},
			object{"type": "tool_search_call", "id": "tsc_3", "status": "completed", "call_id": "call_3", "execution": "client", "arguments": object{"query": "agents"}},
			object{"type": "function_call_output", "call_id": "call_2", "output": "a.go"},
			object{"type": "tool_search_output", "call_id": "call_3", "execution": "client", "status": "completed", "tools": list{namespaceTool("agents", functionTool("spawn", object{"task": str}))}},
			object{"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done."},
		},
	},
	{
		name: "no tools member", model: "fake-namespaced",
		set: func(b object) {
			b["reasoning"] = object{"effort": "low", "context": "all_turns"}
			b["parallel_tool_calls"] = false
			b["text"] = object{"verbosity": "low"}
			delete(b, "tools")
			b["input"] = append(list{object{"type": "additional_tools", "id": "at_1", "role": "developer", "tools": list{
				namespaceTool("functions", grammarTool("exec"), functionTool("wait", object{"cell_id": str})),
				namespaceTool("collaboration", functionTool("send_message", object{"message": encryptedStr, "target": str})),
			}}}, b["input"].(list)...)
		},
		calls: [][3]string{{"custom_tool_call", "functions", "exec"}},
		history: list{
			foreignReasoning(),
			object{"type": "function_call", "status": "completed", "id": "fc_1", "name": "none", "arguments": "{}", "call_id": "call_1"},
			object{"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "unsupported call: none"},
			object{"type": "function_call", "status": "completed", "id": "fc_2", "name": "send_message", "namespace": "collaboration", "arguments": `{"message":"hi","target":"1"}`, "encrypted_function_args": list{}, "call_id": "call_2"},
			object{"type": "function_call_output", "id": "fco_2", "call_id": "call_2", "output": "sent"},
		},
	},
}

// base is what all of them have.
func (c *capture) base(stream bool) object {
	b := object{
		"model": c.model, "stream": stream, "store": false, "tool_choice": "auto", "parallel_tool_calls": true,
		"include": list{"reasoning.encrypted_content"}, "prompt_cache_key": "0199-a", "client_metadata": object{"session_id": "0199-a", "x-codex-window-id": "0199-a:0"},
		"input": list{
			inputMessage("developer", inputText("You are a coding agent.")),
			inputMessage("developer", inputText("<permissions>"), inputText("<plugins>")),
			inputMessage("user", inputText("<environment>")),
			inputMessage("user", inputText("say hello")),
		},
	}
	c.set(b)
	return b
}

func TestCaptures(t *testing.T) {
	for _, dialect := range []string{"generic", "openai", "vllm", "llama.cpp", "ollama", "mistral", "deepseek", "gemini"} {
		for i := range captures {
			for _, stream := range []bool{true, false} {
				c := &captures[i]
				t.Run(fmt.Sprintf("%s/%s/stream=%v", dialect, c.name, stream), func(t *testing.T) {
					u := newFake(t, dialect)
					if dialect == "ollama" { // its fake takes reasoning.effort only of models that reason
						plain := c.base(stream)
						delete(plain, "reasoning")
						c.play(t, u, plain)
						return
					}
					c.play(t, u, c.base(stream))
				})
			}
		}
	}
}

func (c *capture) play(t *testing.T, u *fakeUpstream, body object) {
	t.Helper()
	start := body["input"].(list)

	first := u.ask(t, body)
	var calls [][3]string
	next := append(list{}, start...)
	var outputs list
	for _, item := range first.Output {
		next = append(next, asAny(t, item))
		if item.CallID == "" {
			continue
		}
		calls = append(calls, [3]string{item.Type, item.Namespace, item.Name})
		outputs = append(outputs, object{"type": item.Type + "_output", "call_id": item.CallID, "output": "output of " + item.Name})
		if item.Input != nil && !strings.HasSuffix(*item.Input, "*** End Patch\n") {
			t.Errorf("the input of %s is %q", item.Name, *item.Input)
		}
	}
	if fmt.Sprint(calls) != fmt.Sprint(c.calls) {
		t.Fatalf("the first turn calls %v, want %v: %v", calls, c.calls, describe(t, first))
	}

	// The second turn: the answer and its outputs behind the first input.
	body["input"] = append(next, outputs...)
	second := u.ask(t, body)
	text := describe(t, second)
	for _, call := range c.calls {
		if want := "output of " + call[2]; !strings.Contains(text, want) {
			t.Errorf("the second turn does not know %q: %s", want, text)
		}
	}

	// And a turn as another server's answers left it.
	if c.history != nil {
		body["input"] = append(append(list{}, start...), c.history...)
		u.ask(t, body)
	}
}

func asAny(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func describe(t *testing.T, resp *responses.Response) string {
	t.Helper()
	return compact(t, asAny(t, resp.Output))
}

// fakeUpstream is a strict fake of an upstream that speaks only Chat.
type fakeUpstream struct {
	server  *fakeopenai.Server
	dialect string
	sealer  *convert.Sealer
}

func newFake(t *testing.T, dialect string) *fakeUpstream {
	t.Helper()
	sealer, err := convert.NewSealer([]byte("the secret of the capture tests"))
	if err != nil {
		t.Fatal(err)
	}
	return &fakeUpstream{fakeopenai.New(fakeopenai.Options{Dialect: dialect, APIs: []fakeopenai.API{fakeopenai.Chat}}), dialect, sealer}
}

// post sends a Chat request and returns the answer, which must be a 200.
func (u *fakeUpstream) post(t *testing.T, body []byte) []byte {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	u.server.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s answers %d: %s\nto %s", u.dialect, w.Code, w.Body, body)
	}
	return w.Body.Bytes()
}

// ask runs a Responses request through the upstream.
func (u *fakeUpstream) ask(t *testing.T, body object) *responses.Response {
	t.Helper()
	b, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	req, err := convert.Read(convert.Responses, b)
	if err != nil {
		t.Fatal(err)
	}
	turn, err := req.To(convert.Chat, convert.Options{Dialect: convert.Dialects[u.dialect], Sealer: u.sealer})
	if err != nil {
		t.Fatalf("%v\nof %s", err, b)
	}
	answer := u.post(t, turn.Body)
	var resp *responses.Response
	if !req.Stream() {
		if resp, err = turn.Answer(answer); err != nil {
			t.Fatal(err)
		}
	} else {
		reader := turn.Reader(func(e *responses.Event) error {
			if responses.Terminal(e.Type) {
				resp = e.Response
			}
			return nil
		}, nil)
		var p sse.Parser
		if err := p.Feed(answer, reader.Event); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(reader.Event); err != nil {
			t.Fatal(err)
		}
		if err := reader.Close(nil); err != nil {
			t.Fatal(err)
		}
	}
	if resp == nil || resp.Status != responses.Completed {
		t.Fatalf("the response is %+v", resp)
	}
	return resp
}
