package chat2response

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// Bodies of the shapes that Codex CLI 0.169 sends, by the tools that it offers to
// a model: see codexTools. The texts are our own.

type object1 = map[string]any

func codexFunction(name string, required []string, properties object1) object1 {
	return object1{"type": "function", "name": name, "description": "Does what " + name + " does.", "strict": false,
		"parameters": object1{"type": "object", "properties": properties, "required": required, "additionalProperties": false}}
}

var (
	stringType  = object1{"type": "string", "description": "A text."}
	codexPlain  = []any{execCommand, codexFunction("write_stdin", []string{"session_id"}, object1{"session_id": object1{"type": "number"}, "chars": stringType}), askUser, codexFunction("view_image", []string{"path"}, object1{"path": stringType})}
	execCommand = codexFunction("exec_command", []string{"cmd"}, object1{"cmd": stringType, "login": object1{"type": "boolean"}, "max_output_tokens": object1{"type": "number"}})
	askUser     = codexFunction("request_user_input", []string{"questions"}, object1{"questions": object1{"type": "array", "items": object1{"type": "object",
		"properties": object1{"id": stringType, "header": stringType, "options": object1{"type": "array", "items": object1{"type": "object", "properties": object1{"label": stringType}}}}, "required": []string{"id"}}}})
	codexAgents = object1{"type": "namespace", "name": "multi_agent_v1", "description": "Other agents.", "tools": []any{
		codexFunction("close_agent", []string{"target"}, object1{"target": stringType}),
		codexFunction("spawn_agent", []string{"message"}, object1{"message": stringType}),
	}}
	// An unknown model.
	codexUnknown = append(slices.Clone(codexPlain), codexAgents, codexFunction("get_goal", []string{}, object1{}),
		codexFunction("update_goal", []string{"status"}, object1{"status": object1{"type": "string", "enum": []string{"complete", "blocked"}}}),
		object1{"type": "web_search", "external_web_access": true})
	// A newest one has its tools in the input.
	codexAdditional = object1{"type": "additional_tools", "id": "at_1", "role": "developer", "tools": []any{
		object1{"type": "namespace", "name": "functions", "description": "", "tools": []any{
			object1{"type": "custom", "name": "exec", "description": "Runs a script.", "format": object1{"type": "grammar", "syntax": "lark", "definition": "start: /(.|\\n)+/"}},
			codexFunction("wait", []string{"cell_id"}, object1{"cell_id": stringType}),
		}},
		object1{"type": "namespace", "name": "collaboration", "description": "Other agents.", "tools": []any{codexFunction("send_message", []string{"message"}, object1{"message": stringType})}},
	}}
)

func codexMessage(id, role string, texts ...string) object1 {
	parts := []any{}
	for _, text := range texts {
		parts = append(parts, object1{"type": "input_text", "text": text})
	}
	return object1{"type": "message", "id": "msg_" + id, "role": role, "content": parts}
}

func codexRequest(model string, tools []any, input []any, more object1) object1 {
	body := object1{"model": model, "stream": true, "input": input, "tool_choice": "auto", "parallel_tool_calls": true, "reasoning": object1{"summary": "auto"}, "store": false,
		"include": []string{"reasoning.encrypted_content"}, "prompt_cache_key": "0199-key", "client_metadata": object1{"session_id": "0199", "x-codex-window-id": "0199:0"}}
	if tools != nil {
		body["tools"] = tools
	}
	for name, value := range more {
		body[name] = value
	}
	return body
}

var codexHead = []any{
	codexMessage("1", "developer", "You are a coding agent."),
	codexMessage("2", "developer", "<permissions>all</permissions>", "<skills>none</skills>"),
	codexMessage("3", "user", "<environment>linux</environment>"),
}

func codexCall(name string) []any {
	return []any{
		object1{"type": "reasoning", "id": "rs_1", "summary": []any{object1{"type": "summary_text", "text": "**Plan**"}}, "content": nil, "encrypted_content": "gAAAA_opaque"},
		object1{"type": "function_call", "status": "completed", "id": "fc_1", "name": name, "arguments": `{"cmd":"echo from-tool"}`, "call_id": "call_5e6bc77a"},
		object1{"type": "function_call_output", "id": "fco_1", "call_id": "call_5e6bc77a", "output": "exited with code 0\nfrom-tool\n"},
	}
}

func join(lists ...[]any) []any { return slices.Concat(lists...) }

// codexBodies are one of each shape.
func codexBodies(scenario, dialect string) map[string]object1 {
	hello := []any{codexMessage("4", "user", "say hello")}
	model := "fake-" + scenario
	newest := object1{"effort": "low", "context": "all_turns"}
	if dialect == "ollama" {
		newest = object1{"summary": "auto"} // the fake is a model without levels, which Ollama refuses
	}
	return map[string]object1{
		"custom provider, second turn": codexRequest(model, codexPlain, join(codexHead, hello, codexCall("exec_command")), nil),
		"unknown model, second turn":   codexRequest(model, codexUnknown, join(codexHead, hello, codexCall("exec_command")), nil),
		"newest model, second turn": codexRequest(model, nil, join([]any{codexAdditional}, codexHead, hello, codexCall("none")), object1{
			"parallel_tool_calls": false, "reasoning": newest, "text": object1{"verbosity": "low"}}),
		"schema and image": codexRequest(model, codexUnknown, join(codexHead, []any{object1{"type": "message", "id": "msg_4", "role": "user", "content": []any{
			object1{"type": "input_text", "text": "<image name=[Image #1]>"}, object1{"type": "input_image", "image_url": pixel, "detail": "high"},
			object1{"type": "input_text", "text": "</image>"}, object1{"type": "input_text", "text": "say hello"}}}}),
			object1{"text": object1{"format": object1{"type": "json_schema", "strict": true, "name": "codex_output_schema",
				"schema": object1{"type": "object", "properties": object1{"answer": object1{"type": "string"}}, "required": []string{"answer"}, "additionalProperties": false}}}}),
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// response is the final response of a stream.
func response(t *testing.T, a httpAnswer) object1 {
	t.Helper()
	events := a.events()
	got := kinds(events)
	i := slices.Index(got, "response.completed")
	if a.status != 200 || i < 0 {
		t.Fatalf("%d %q %.500s", a.status, got, a.body)
	}
	done := []any{}
	for _, e := range events[:i] {
		if e.name == "response.output_item.done" { // Codex reads items only here
			done = append(done, object(t, []byte(e.data))["item"])
		}
	}
	r := object(t, []byte(events[i].data))["response"].(object1)
	if toJSON(t, r["output"]) != toJSON(t, done) {
		t.Errorf("the items at the end are\n%s\nthose on the way\n%s", toJSON(t, r["output"]), toJSON(t, done))
	}
	return r
}

// chatDialects are the chat upstreams that take tools, images and schemas.
var chatDialects = []string{"openai", "azure", "generic", "vllm", "llama.cpp", "ollama", "mistral", "deepseek", "groq", "xai", "gemini", "openrouter", "kimi", "glm", "lmstudio"}

// TestCodex: no chat-only upstream refuses what Codex sends, and all of it arrives.
func TestCodex(t *testing.T) {
	for _, dialect := range chatDialects {
		up, addr := fake(t, fakeopenai.Options{Dialect: dialect, APIs: []fakeopenai.API{fakeopenai.Chat}})
		g := start(t, "chat2response "+addr+" {\n mode chat\n dialect "+dialect+"\n}")
		for name, body := range codexBodies("echo", dialect) {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				up.Reset()
				r := response(t, g.post("/v1/responses", toJSON(t, body), "originator", "codex_exec", "session-id", "0199"))
				if got := dig(r, "output", -1, "content", 0, "text"); !strings.Contains(fmt.Sprint(got), "say hello") {
					t.Errorf("the model read %v", got)
				}
				sent := string(up.Requests()[0].Body)
				m := object(t, []byte(sent))
				for _, word := range []string{"You are a coding agent.", "permissions", "environment", "say hello"} {
					if !strings.Contains(sent, word) {
						t.Errorf("%q is not in %s", word, sent)
					}
				}
				if strings.Contains(sent, "gAAAA_opaque") || strings.Contains(sent, "client_metadata") {
					t.Errorf("what is not the upstream's business is in %s", sent)
				}
				if strings.Contains(name, "second turn") && !strings.Contains(sent, "call_5e6bc77a") && dialect != "mistral" || strings.Contains(name, "image") && !strings.Contains(sent, pixel[:60]) {
					t.Errorf("the history is not in %s", sent)
				}
				tools := map[string]bool{}
				for _, tool := range m["tools"].([]any) {
					tools[fmt.Sprint(dig(tool, "function", "name"))+fmt.Sprint(dig(tool, "custom", "name"))] = true
				}
				if n := map[string]int{"custom provider, second turn": 4, "newest model, second turn": 3}[name]; n > 0 && len(tools) != n {
					t.Errorf("%d tools: %v", len(tools), tools)
				}
			})
		}
	}
}

// TestCodexHistory: the second turn's history is that of a chat: one message of
// the assistant with the call, then its output.
func TestCodexHistory(t *testing.T) {
	up, addr := fake(t, fakeopenai.Options{Dialect: "openai", APIs: []fakeopenai.API{fakeopenai.Chat}})
	g := start(t, "chat2response "+addr+" {\n mode chat\n dialect openai\n}")
	r := response(t, g.post("/v1/responses", toJSON(t, codexBodies("tool", "openai")["unknown model, second turn"])))
	if got := dig(r, "output", 0, "content", 0, "text"); got != "exec_command returned: exited with code 0\nfrom-tool\n" {
		t.Errorf("the model answers %q", got)
	}
	messages := object(t, up.Requests()[0].Body)["messages"].([]any)
	var got []string
	for _, m := range messages {
		got = append(got, fmt.Sprint(dig(m, "role")))
	}
	if !slices.Equal(got, []string{"developer", "developer", "user", "user", "assistant", "tool"}) {
		t.Errorf("roles %q", got)
	}
	call, output := messages[4], messages[5]
	if dig(call, "tool_calls", 0, "id") != "call_5e6bc77a" || dig(call, "tool_calls", 0, "function", "name") != "exec_command" || dig(call, "tool_calls", 0, "function", "arguments") != `{"cmd":"echo from-tool"}` ||
		dig(output, "tool_call_id") != "call_5e6bc77a" || dig(output, "content") != "exited with code 0\nfrom-tool\n" {
		t.Errorf("%s", toJSON(t, messages[4:]))
	}
}

// TestCodexNamespace: a call to a tool of a namespace comes back under its own
// name, and its output finds the call again.
func TestCodexNamespace(t *testing.T) {
	for _, dialect := range chatDialects {
		for name, want := range map[string][3]string{
			"unknown model, second turn": {"function_call", "multi_agent_v1", "close_agent"},
			"newest model, second turn":  {"custom_tool_call", "functions", "exec"},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				up, addr := fake(t, fakeopenai.Options{Dialect: dialect, APIs: []fakeopenai.API{fakeopenai.Chat}})
				g := start(t, "chat2response "+addr+" {\n mode chat\n dialect "+dialect+"\n}")
				body := codexBodies("namespaced", dialect)[name]
				input := body["input"].([]any)
				body["input"] = input[:len(input)-3] // the first turn
				r := response(t, g.post("/v1/responses", toJSON(t, body)))
				call := dig(r, "output", -1).(object1)
				if call["type"] != want[0] || call["namespace"] != want[1] || call["name"] != want[2] {
					t.Fatalf("%s", toJSON(t, call))
				}
				output := strings.TrimSuffix(want[0], "_call") + "_call_output"
				if want[0] == "custom_tool_call" {
					output = "custom_tool_call_output"
					if call["input"] != patch && dialect != "openai" && dialect != "azure" {
						t.Errorf("input %q", call["input"])
					}
				}
				body["input"] = join(input[:len(input)-3], r["output"].([]any), []any{object1{"type": output, "call_id": call["call_id"], "output": "It is done."}})
				r = response(t, g.post("/v1/responses", toJSON(t, body)))
				if got := fmt.Sprint(dig(r, "output", -1, "content", 0, "text")); !strings.HasSuffix(got, "returned: It is done.") || !strings.Contains(got, want[2]) {
					t.Errorf("the model answers %q to\n%s", got, up.Requests()[1].Body)
				}
			})
		}
	}
}
