package fakeopenai

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// chunks are the chunks of a fixture's chat stream. The last event must be [DONE].
func chunks(t *testing.T, dialect, scenario string) (list []map[string]any) {
	t.Helper()
	all := events(Stream(Chat, dialect, scenario))
	if len(all) == 0 || all[len(all)-1] != "[DONE]" {
		t.Fatalf("%s/%s does not end in [DONE]", dialect, scenario)
	}
	for _, e := range all[:len(all)-1] {
		list = append(list, parse(t, e))
	}
	return list
}

// walk goes down through objects by name and arrays by number, and yields nil where there is no way.
func walk(v any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			list, _ := v.([]any)
			if s < 0 {
				s += len(list)
			}
			if s < 0 || s >= len(list) {
				return nil
			}
			v = list[s]
		}
	}
	return v
}

func delta(chunk map[string]any, path ...any) any {
	return walk(chunk, append([]any{"choices", 0, "delta"}, path...)...)
}

// streamQuirks are the departures that a stream of a dialect must show: how many of its chunks pass the test.
var streamQuirks = []struct {
	dialect, scenario, what string
	count                   int // -1: every chunk with a choice
	has                     func(chunk map[string]any) bool
}{
	{"openai", "text", "obfuscation", -1, func(c map[string]any) bool { return c["obfuscation"] != nil }},
	{"openai", "text", "usage is null until the last chunk", -1, func(c map[string]any) bool { u, ok := c["usage"]; return ok && u == nil }},
	{"openai", "text", "usage chunk without choices", 1, func(c map[string]any) bool {
		return walk(c, "usage", "total_tokens") != nil && walk(c, "choices", 0) == nil
	}},
	{"openai", "reasoning", "no reasoning is shown", 0, func(c map[string]any) bool { return strings.Contains(fmt.Sprint(c), "Reading") }},
	{"openai", "reasoning", "but counted", 1, func(c map[string]any) bool {
		return walk(c, "usage", "completion_tokens_details", "reasoning_tokens") == float64(11)
	}},
	{"openai", "custom", "native custom call", 1, func(c map[string]any) bool { return delta(c, "tool_calls", 0, "custom", "name") == "apply_patch" }},
	{"openai", "tools", "whole calls are divided", 9, func(c map[string]any) bool {
		a, ok := delta(c, "tool_calls", 0, "function", "arguments").(string)
		return ok && a != ""
	}},
	{"openai", "length_tool", "cut call", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "length" }},
	{"openai", "logprobs", "a token without bytes", 1, func(c map[string]any) bool {
		p, ok := walk(c, "choices", 0, "logprobs", "content", 0).(map[string]any)
		return ok && p["bytes"] == nil
	}},
	{"openai", "annotations", "annotations", 2, func(c map[string]any) bool { return delta(c, "annotations", 0, "url_citation", "url") != nil }},
	{"openai", "usage_every_chunk", "running usage", 14, func(c map[string]any) bool {
		return walk(c, "usage", "total_tokens") != nil && walk(c, "choices", 0) != nil
	}},
	{"azure", "text", "filter's verdict on the prompt", 1, func(c map[string]any) bool {
		return c["prompt_filter_results"] != nil && walk(c, "choices", 0) == nil && c["id"] == ""
	}},
	{"azure", "filter", "filtered", 1, func(c map[string]any) bool {
		return walk(c, "choices", 0, "content_filter_results", "violence", "filtered") == true
	}},
	{"vllm", "reasoning", "both keys", 11, func(c map[string]any) bool {
		return delta(c, "reasoning") != nil && delta(c, "reasoning") == delta(c, "reasoning_content")
	}},
	{"vllm", "text", "stop_reason", 1, func(c map[string]any) bool {
		choice, _ := walk(c, "choices", 0).(map[string]any)
		_, ok := choice["stop_reason"]
		return ok
	}},
	{"vllm", "abort", "abort", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "abort" }},
	{"llama.cpp", "reasoning", "reasoning_content", 11, func(c map[string]any) bool { return delta(c, "reasoning_content") != nil }},
	{"llama.cpp", "text", "timings", 1, func(c map[string]any) bool { return c["timings"] != nil }},
	{"ollama", "text", "role everywhere", -1, func(c map[string]any) bool { return delta(c, "role") == "assistant" }},
	{"ollama", "reasoning", "reasoning", 11, func(c map[string]any) bool { return delta(c, "reasoning") != nil }},
	{"ollama", "tools", "second call has index 1", 1, func(c map[string]any) bool { return delta(c, "tool_calls", 0, "index") == float64(1) }},
	{"ollama", "tool", "whole call", 1, func(c map[string]any) bool {
		return delta(c, "tool_calls", 0, "function", "arguments") == `{"city":"Paris"}`
	}},
	{"ollama", "text", "usage without details", 1, func(c map[string]any) bool { u, ok := c["usage"].(map[string]any); return ok && len(u) == 3 }},
	{"ollama-old", "tools", "both calls have index 0", 2, func(c map[string]any) bool { return delta(c, "tool_calls", 0, "index") == float64(0) }},
	{"ollama-old", "tools", "finish stop behind calls", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "stop" }},
	{"mistral", "reasoning", "thinking parts", 11, func(c map[string]any) bool { return delta(c, "content", 0, "thinking", 0, "text") != nil }},
	{"mistral", "reasoning", "a text part", 1, func(c map[string]any) bool { return delta(c, "content", 0, "type") == "text" }},
	{"mistral", "length", "model_length, usage beside it", 1, func(c map[string]any) bool {
		return walk(c, "choices", 0, "finish_reason") == "model_length" && walk(c, "usage", "total_tokens") != nil
	}},
	{"mistral", "tool", "id of nine", 1, func(c map[string]any) bool {
		id, ok := delta(c, "tool_calls", 0, "id").(string)
		return ok && mistralCallID.MatchString(id)
	}},
	{"deepseek", "reasoning", "content is null beside reasoning", 11, func(c map[string]any) bool {
		d, _ := delta(c).(map[string]any)
		content, ok := d["content"]
		return d["reasoning_content"] != nil && d["role"] == nil && ok && content == nil
	}},
	{"deepseek", "text", "cache hits", 1, func(c map[string]any) bool {
		return walk(c, "usage", "prompt_cache_hit_tokens") != nil && walk(c, "choices", 0) != nil
	}},
	{"deepseek", "abort", "its own reason", 1, func(c map[string]any) bool {
		return walk(c, "choices", 0, "finish_reason") == "insufficient_system_resource"
	}},
	{"groq", "text", "usage in x_groq", 1, func(c map[string]any) bool { return walk(c, "x_groq", "usage", "total_tokens") != nil }},
	{"xai", "reasoning", "reasoning outside completion_tokens", 1, func(c map[string]any) bool {
		u, _ := c["usage"].(map[string]any)
		return u != nil && u["completion_tokens"] == float64(4) && u["total_tokens"].(float64) == u["prompt_tokens"].(float64)+15
	}},
	{"xai", "text", "more cached than prompt", 1, func(c map[string]any) bool {
		cached, ok := walk(c, "usage", "prompt_tokens_details", "cached_tokens").(float64)
		return ok && cached > walk(c, "usage", "prompt_tokens").(float64)
	}},
	{"gemini", "tools", "no index", 2, func(c map[string]any) bool {
		call, _ := delta(c, "tool_calls", 0).(map[string]any)
		_, ok := call["index"]
		return call["id"] != nil && !ok
	}},
	{"gemini", "tools", "one signature a step", 1, func(c map[string]any) bool {
		return delta(c, "tool_calls", 0, "extra_content", "google", "thought_signature") != nil
	}},
	{"gemini", "tool", "finish stop in the call's chunk", 1, func(c map[string]any) bool {
		return walk(c, "choices", 0, "finish_reason") == "stop" && delta(c, "tool_calls", 0) != nil
	}},
	{"gemini", "refusal", "a finish of its own where no chunk can carry it", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "stop" }},
	{"gemini-old", "tools", "no id", 2, func(c map[string]any) bool {
		call, ok := delta(c, "tool_calls", 0).(map[string]any)
		return ok && call["id"] == nil
	}},
	{"openrouter", "text", "finish twice", 2, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "stop" }},
	{"openrouter", "text", "usage chunk with a choice", 1, func(c map[string]any) bool {
		return walk(c, "usage", "total_tokens") != nil && walk(c, "choices", 0) != nil
	}},
	{"openrouter", "reasoning", "reasoning_details", 11, func(c map[string]any) bool {
		return delta(c, "reasoning_details", 0, "text") != nil && delta(c, "reasoning") != nil
	}},
	{"kimi", "text", "usage in the choice", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "usage", "cached_tokens") != nil }},
	{"kimi", "tools", "second id", 1, func(c map[string]any) bool { return delta(c, "tool_calls", 0, "id") == "functions.get_weather:1" }},
	{"glm", "length", "its own reason", 1, func(c map[string]any) bool {
		return walk(c, "choices", 0, "finish_reason") == "model_context_window_exceeded"
	}},
	{"glm", "filter", "sensitive", 1, func(c map[string]any) bool { return walk(c, "choices", 0, "finish_reason") == "sensitive" }},
	{"lmstudio", "text", "the model as fingerprint", -1, func(c map[string]any) bool { return c["system_fingerprint"] == "fake-text" }},
	{"generic", "reasoning", "reasoning_content", 11, func(c map[string]any) bool { return delta(c, "reasoning_content") != nil }},
}

func TestDialectStreams(t *testing.T) {
	for _, q := range streamQuirks {
		t.Run(q.dialect+"/"+q.what, func(t *testing.T) {
			found, withChoice := 0, 0
			list := chunks(t, q.dialect, q.scenario)
			for _, c := range list {
				if walk(c, "choices", 0) != nil {
					withChoice++
				}
				if q.has(c) && (q.count >= 0 || walk(c, "choices", 0) != nil) {
					found++
				}
			}
			want := q.count
			if want < 0 {
				want = withChoice
			}
			if found != want {
				t.Errorf("%d of %d chunks, want %d", found, len(list), want)
			}
		})
	}
}

// TestRawBytes looks at what is not JSON, and at how JSON is spelled.
func TestRawBytes(t *testing.T) {
	for _, c := range []struct {
		api               API
		dialect, scenario string
		want              string
	}{
		{Chat, "openrouter", "text", ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: {"},
		{Chat, "deepseek", "text", ": keep-alive\n\n\n: keep-alive\n\ndata: {"},
		{Chat, "ollama", "unicode", `"content":"\u003cthink\u003e"`},
		{Chat, "openai", "unicode", `"content":"<think>"`},
		{Chat, "openai", "unicode", `"content":"\r\ndata: x"`},
		{Chat, "openai", "midstream", `data: {"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}` + "\n\n"},
		{Chat, "vllm", "midstream", `"type":"InternalServerError","param":null,"code":500}` + "\n\ndata: [DONE]\n\n"},
		{Chat, "openrouter", "midstream", `"error":{"code":502,"message":"Provider disconnected unexpectedly"}`},
		{Chat, "gemini", "midstream", `data: [{"error":{"code":500,`},
		{Chat, "openai", "abort", `data: {"error":{`},
		{Responses, "openai", "midstream", "event: error\ndata: {\"type\":\"error\",\"sequence_number\":9,\"code\":\"server_error\",\"message\""},
		{Responses, "openrouter", "midstream", `"error":{"type":"server_error","code":"server_error"`},
		{Responses, "openai", "midstream", `"status":"failed","background":false,"completed_at":null,"error":{"code":"server_error","message":`},
	} {
		if got := string(Stream(c.api, c.dialect, c.scenario)); !strings.Contains(got, c.want) {
			t.Errorf("%s %s/%s: no %s in\n%s", c.api, c.dialect, c.scenario, c.want, got)
		}
	}
	if strings.Contains(string(Stream(Responses, "openai", "text")), "[DONE]") {
		t.Error("OpenAI sends no [DONE] on /responses")
	}
	for _, s := range []string{"cut", "midstream"} {
		if strings.Contains(string(Stream(Chat, "openai", s)), "[DONE]") {
			t.Errorf("[DONE] behind %s", s)
		}
	}
}

// responsesQuirks are the departures of Responses upstreams, by an event that must or must not be there.
var responsesQuirks = []struct {
	dialect, scenario, what string
	count                   int
	has                     func(e map[string]any) bool
}{
	{"ollama", "reasoning", "no summary part", 0, func(e map[string]any) bool { return strings.Contains(e["type"].(string), "summary_part") }},
	{"ollama", "reasoning", "plain sealed reasoning", 1, func(e map[string]any) bool {
		s, _ := walk(e, "item", "encrypted_content").(string)
		return e["type"] == "response.output_item.done" && strings.HasPrefix(s, "**Reading the question**")
	}},
	{"ollama", "tools", "both calls at 0", 2, func(e map[string]any) bool {
		return e["type"] == "response.output_item.added" && e["output_index"] == float64(0)
	}},
	{"ollama", "length", "completed", 1, func(e map[string]any) bool { return e["type"] == "response.completed" }},
	{"ollama", "namespaced", "no name", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.done" && walk(e, "item", "name") == ""
	}},
	{"lmstudio", "reasoning", "raw reasoning", 11, func(e map[string]any) bool { return e["type"] == "response.reasoning_text.delta" }},
	{"lmstudio", "json", "schema ignored", 1, func(e map[string]any) bool { return e["text"] == "Sure! The city is Paris." }},
	{"vllm", "reasoning", "raw reasoning in the item", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.done" && walk(e, "item", "content", 0, "type") == "reasoning_text"
	}},
	{"llama.cpp", "reasoning", "raw reasoning", 11, func(e map[string]any) bool { return e["type"] == "response.reasoning_text.delta" }},
	{"openai", "reasoning", "two summary parts", 2, func(e map[string]any) bool { return e["type"] == "response.reasoning_summary_part.done" }},
	{"openai", "tools", "one at 0, one at 1", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.added" && e["output_index"] == float64(1)
	}},
	{"openai", "namespaced", "name and namespace apart", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.done" && walk(e, "item", "name") == "get_weather" && walk(e, "item", "namespace") == "travel"
	}},
	{"openai", "tool_text", "commentary", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.done" && walk(e, "item", "phase") == "commentary"
	}},
	{"openai", "filter", "incomplete", 1, func(e map[string]any) bool {
		return walk(e, "response", "incomplete_details", "reason") == "content_filter"
	}},
	{"openai", "length_tool", "unfinished call", 1, func(e map[string]any) bool {
		return e["type"] == "response.output_item.done" && walk(e, "item", "status") == "incomplete" && walk(e, "item", "arguments") == `{"ci`
	}},
	{"openai", "logprobs", "no bytes in deltas", 4, func(e map[string]any) bool {
		p, ok := walk(e, "logprobs", 0).(map[string]any)
		_, bytes := p["bytes"]
		return ok && e["type"] == "response.output_text.delta" && !bytes && walk(p, "top_logprobs", 1) != nil
	}},
}

func TestDialectResponses(t *testing.T) {
	for _, q := range responsesQuirks {
		t.Run(q.dialect+"/"+q.what, func(t *testing.T) {
			found := 0
			for _, e := range events(Stream(Responses, q.dialect, q.scenario)) {
				if e != "[DONE]" && q.has(parse(t, e)) {
					found++
				}
			}
			if found != q.count {
				t.Errorf("%d events, want %d", found, q.count)
			}
		})
	}
}

var dialectRefusals = []struct {
	dialect string
	api     API
	body    string
	status  int
	want    string // the whole body
}{
	{"generic", Chat, chatBody(`,"tools":[{"type":"custom","custom":{"name":"p"}}]`), 400, openAIError("type of tool must be function", `"tools[0].type"`, `"invalid_value"`)},
	{"vllm", Chat, chatMessages(`{"role":"developer","content":"x"},` + userHi), 400, "{\"object\":\"error\",\"message\":\"messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}"},
	{"vllm", Responses, inputBody(`,"previous_response_id":"resp_1"`), 400, `{"object":"error","message":"Previous response with id 'resp_1' not found.","type":"BadRequestError","param":"previous_response_id","code":400}`},
	{"llama.cpp", Chat, chatMessages(userHi + `,{"role":"system","content":"x"}`), 500, `{"error":{"code":500,"message":"Error rendering prompt with jinja template: \"System message must be at the beginning.\"","type":"server_error"}}`},
	{"llama.cpp", Chat, chatMessages(userHi + `,{"role":"assistant","content":"x"},{"role":"assistant","content":"y"}`), 500, `{"error":{"code":500,"message":"Error rendering prompt with jinja template: \"Conversation roles must alternate user/assistant/user/assistant/...\"","type":"server_error"}}`},
	{"llama.cpp", Responses, input(itemHi + `,{"type":"reasoning","id":"rs_1","summary":[]}`), 400, `{"error":{"code":400,"message":"item['content'] is not an array","type":"invalid_request_error"}}`},
	{"ollama", Chat, chatBody(`,"reasoning_effort":"high"`), 400, `{"error":{"message":"think value \"high\" is not supported for this model","type":"invalid_request_error","param":null,"code":null}}`},
	{"mistral", Chat, chatBody(`,"seed":7`), 422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":7}]},"type":"invalid_request_error","param":null,"code":null}`},
	{"mistral", Chat, chatBody(`,"stream":true,"stream_options":{"include_usage":true}`), 422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted","input":true}]},"type":"invalid_request_error","param":null,"code":null}`},
	{"mistral", Chat, chatMessages(`{"role":"user","content":"x","name":"ann"}`), 422, `{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"user","name"],"msg":"Extra inputs are not permitted","input":"ann"}]},"type":"invalid_request_error","param":null,"code":null}`},
	{"mistral", Chat, chatBody(`,"tools":[` + weatherTool + `],"tool_choice":"required"`), 422, `{"object":"error","message":{"detail":[{"type":"enum","loc":["body","tool_choice"],"msg":"Input should be 'auto', 'none' or 'any'","input":"required"}]},"type":"invalid_request_error","param":null,"code":null}`},
	{"mistral", Chat, chatMessages(userHi + `,{"role":"assistant","content":"","tool_calls":[` + callA + `]},` + outputOf("call_a")), 400, `{"object":"error","message":"Tool call id was call_a but must be a-z, A-Z, 0-9, with a length of 9.","type":"invalid_request_error","param":null,"code":"3280","raw_status_code":400}`},
	{"mistral", Chat, strings.ReplaceAll(chatMessages(userHi+`,{"role":"assistant","content":"","tool_calls":[`+callA+`]}`), "call_a", "abcdefghi"), 400, `{"object":"error","message":"Not the same number of function calls and responses","type":"invalid_request_error","param":null,"code":"3230","raw_status_code":400}`},
	{"deepseek", Chat, chatMessages(userHi + `,{"role":"assistant","content":"","tool_calls":[` + callA + `]},` + outputOf("call_a")), 400, openAIError("The `reasoning_content` in the thinking mode must be passed back to the API.", `null`, `"invalid_request_error"`)},
	{"groq", Chat, chatMessages(userHi + `,{"role":"assistant","content":"x","reasoning_content":"y"}`), 400, openAIError("'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning_content' is unsupported)]", `null`, `null`)},
	{"kimi", Chat, chatBody(`,"temperature":0.6`), 400, openAIError("invalid temperature: only 1 is allowed for this model", `null`, `null`)},
	{"kimi", Chat, chatMessages(userHi + `,` + outputOf("call_a")), 400, openAIError("Invalid request: tool_call_id is not found", `null`, `null`)},
	{"glm", Chat, chatBody(`,"max_completion_tokens":100`), 400, `{"error":{"code":"1210","message":"API 调用参数有误，请检查文档。(max_completion_tokens)"}}`},
	{"glm", Chat, chatBody(`,"tools":[` + weatherTool + `],"tool_choice":"required"`), 400, `{"error":{"code":"1210","message":"tool_choice: only auto is supported"}}`},
	{"glm", Chat, chatBody(`,"tools":[{"type":"function","function":{"name":"f","strict":false}}]`), 400, `{"error":{"code":"1210","message":"API 调用参数有误，请检查文档。(strict)"}}`},
	{"glm", Chat, chatMessages(`{"role":"user","content":"x","name":"ann"}`), 400, `{"error":{"code":"1210","message":"API 调用参数有误，请检查文档。(name)"}}`},
	{"gemini", Chat, chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_a")), 400, `[{"error":{"code":400,"message":"Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call ` + "`default_api:f`" + ` , position 2.","status":"INVALID_ARGUMENT"}}]`},
	{"azure", Chat, `{"model":"fake-errorfilter","messages":[` + userHi + `]}`, 400, `{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.","type":"invalid_request_error","param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":` + string(toJSON(contentFilter(true))) + `}}}`},
	{"azure", Chat, `{"model":"fake-error401","messages":[` + userHi + `]}`, 401, `{"error":{"code":"401","message":"Incorrect API key provided: sk-fake****. You can find your API key at https://platform.openai.com/account/api-keys."}}`},
	{"openrouter", Chat, `{"model":"fake-error500","messages":[` + userHi + `]}`, 500, `{"error":{"message":"The server had an error while processing your request. Sorry about that!","code":500,"metadata":{"provider_name":"Fake"}},"user_id":"user_fake"}`},
	{"xai", Chat, `{"model":"fake-error404","messages":[` + userHi + `]}`, 404, `{"code":"Client specified an invalid argument","error":"The model ` + "`fake-error404`" + ` does not exist or you do not have access to it."}`},
}

func TestDialectRefusals(t *testing.T) {
	for _, c := range dialectRefusals {
		path := pick(c.api, "/v1/chat/completions", "/v1/responses")
		status, body := send(New(Options{Dialect: c.dialect}), path, c.body)
		if status != c.status {
			t.Errorf("%s: status %d, want %d", c.dialect, status, c.status)
		}
		same(t, body, c.want)
	}
}

// TestStreamSwitches: what a request can ask of single upstreams.
func TestStreamSwitches(t *testing.T) {
	for _, c := range []struct {
		dialect, extra string
		want           int
		has            string
	}{
		{"glm", `,"tools":[` + weatherTool + `]`, 1, `"arguments":"{\"city\":\"Paris\"}"`},
		{"glm", `,"tools":[` + weatherTool + `],"tool_stream":true`, 0, `"arguments":"{\"city\":\"Paris\"}"`},
		{"vllm", `,"tools":[` + weatherTool + `],"stream_options":{"include_usage":true}`, 1, `"total_tokens"`},
		{"vllm", `,"tools":[` + weatherTool + `],"stream_options":{"include_usage":true,"continuous_usage_stats":true}`, 8, `"total_tokens"`},
		{"openai", `,"tools":[` + weatherTool + `],"stream_options":{"include_obfuscation":false}`, 0, `"obfuscation"`},
	} {
		_, got := send(New(Options{Dialect: c.dialect, Scenario: "tool"}), "/v1/chat/completions", chatBody(`,"stream":true`+c.extra))
		if n := strings.Count(got, c.has); n != c.want {
			t.Errorf("%s %s: %d times %s in %s", c.dialect, c.extra, n, c.has, got)
		}
	}
}

// TestLenient: what OpenAI refuses, a server that does not say so accepts.
func TestLenient(t *testing.T) {
	for _, dialect := range []string{"generic", "ollama", "xai", "openrouter", "groq"} {
		s := New(Options{Dialect: dialect})
		for _, body := range []string{
			chatBody(`,"top_k":3,"min_p":0.1,"chat_template_kwargs":{}`),
			chatMessages(`{"role":"developer","content":"x"},` + userHi),
			chatMessages(userHi + `,` + outputOf("call_a")),
		} {
			if status, answer := send(s, "/v1/chat/completions", body); status != 200 {
				t.Errorf("%s: %d %s", dialect, status, answer)
			}
		}
	}
	status, answer := send(New(Options{Dialect: "ollama"}), "/v1/responses", inputBody(`,"previous_response_id":"resp_gone"`))
	if status != 200 || parse(t, answer)["previous_response_id"] != nil {
		t.Errorf("Ollama ignores previous_response_id: %d %s", status, answer)
	}
}

// TestChatRoundTrips: every dialect takes back the messages it has sent, and the final text quotes the outputs.
func TestChatRoundTrips(t *testing.T) {
	for _, dialect := range Dialects() {
		for scenario, outputs := range map[string][]string{"tool": {"18 degrees"}, "tools": {"18 degrees", "rain"}, "tool_text": {"fog"}, "reasoning_tool": {"snow"}, "custom": {"Done!"}, "namespaced": {"sun"}, "demo": {"18 degrees"}} {
			if dialect == "gemini-old" {
				continue // its calls have no id, so that no output can name one
			}
			s := New(Options{Dialect: dialect})
			request := fixtureRequest(Chat, dialects[dialect], scenario, false)
			first := requestJSON(t, request)
			if dialects[dialect].family == "mistral" {
				first["messages"].([]any)[0].(map[string]any)["content"] = "What is the weather in Paris?"
			}
			status, answer := send(s, "/v1/chat/completions", string(toJSON(first)))
			if status != 200 {
				t.Fatalf("%s %s: %d %s", dialect, scenario, status, answer)
			}
			message := walk(parse(t, answer), "choices", 0, "message").(map[string]any)
			delete(message, "refusal") // null is not taken back by Mistral, and nobody sends it
			calls := objectsOf(message["tool_calls"])
			if len(calls) != len(outputs) {
				t.Fatalf("%s %s: %d calls in %s", dialect, scenario, len(calls), answer)
			}
			messages := append(first["messages"].([]any), message)
			for i, c := range calls {
				messages = append(messages, map[string]any{"role": "tool", "tool_call_id": c["id"], "content": outputs[i]})
			}
			first["messages"] = messages
			status, answer = send(s, "/v1/chat/completions", string(toJSON(first)))
			final, _ := walk(parse(t, answer), "choices", 0, "message", "content").(string)
			if parts, ok := walk(parse(t, answer), "choices", 0, "message", "content").([]any); ok {
				final, _ = walk(parts, -1, "text").(string)
			}
			if status != 200 || slices.ContainsFunc(outputs, func(o string) bool { return !strings.Contains(final, o) }) {
				t.Errorf("%s %s: %d %s", dialect, scenario, status, answer)
			}
			if walk(parse(t, answer), "choices", 0, "message", "tool_calls") != nil {
				t.Errorf("%s %s: calls again: %s", dialect, scenario, answer)
			}
		}
	}
}

func requestJSON(t *testing.T, o obj) map[string]any { return parse(t, string(toJSON(o))) }

func TestResponsesRoundTrips(t *testing.T) {
	for _, dialect := range Dialects() {
		for scenario, outputs := range map[string][]string{"tool": {"18 degrees"}, "tools": {"18 degrees", "rain"}, "tool_text": {"fog"}, "reasoning_tool": {"snow"}, "custom": {"Done!"}, "namespaced": {"sun"}} {
			s := New(Options{Dialect: dialect})
			first := requestJSON(t, fixtureRequest(Responses, dialects[dialect], scenario, false))
			status, answer := send(s, "/v1/responses", string(toJSON(first)))
			if status != 200 {
				t.Fatalf("%s %s: %d %s", dialect, scenario, status, answer)
			}
			items := append(first["input"].([]any), parse(t, answer)["output"].([]any)...)
			n := 0
			for _, item := range objectsOf(parse(t, answer)["output"]) {
				if kind := item["type"].(string); strings.HasSuffix(kind, "_call") {
					items = append(items, map[string]any{"type": kind + "_output", "call_id": item["call_id"], "output": outputs[n]})
					n++
				}
			}
			first["input"] = items
			status, answer = send(s, "/v1/responses", string(toJSON(first)))
			final, _ := walk(parse(t, answer), "output", -1, "content", 0, "text").(string)
			if n != len(outputs) || status != 200 || slices.ContainsFunc(outputs, func(o string) bool { return !strings.Contains(final, o) }) {
				t.Errorf("%s %s: %d %s", dialect, scenario, status, answer)
			}
		}
	}
}

// TestFixtures: each dialect tells each scenario in both APIs, in whole events of strict JSON, the same every time.
func TestFixtures(t *testing.T) {
	for _, api := range []API{Chat, Responses} {
		for _, d := range Dialects() {
			for _, scenario := range Scenarios() {
				stream := string(Stream(api, d, scenario))
				if stream != string(Stream(api, d, scenario)) {
					t.Errorf("%s %s/%s differs from one call to the next", api, d, scenario)
				}
				body, status := Answer(api, d, scenario)
				if again, _ := Answer(api, d, scenario); string(again) != string(body) {
					t.Errorf("%s %s/%s: the answer differs from one call to the next", api, d, scenario)
				}
				if scenario != "nonjson" && !jsontext.Value(body).IsValid() {
					t.Errorf("%s %s/%s: not JSON: %s", api, d, scenario, body)
				}
				if isError := strings.HasPrefix(scenario, "error"); isError != (status != 200) && scenario != "midstream" && scenario != "abort" {
					t.Errorf("%s %s/%s: status %d", api, d, scenario, status)
				} else if isError && stream != "" {
					t.Errorf("%s %s/%s streams", api, d, scenario)
				}
				if stream != "" && !strings.HasSuffix(stream, "\n\n") {
					t.Errorf("%s %s/%s ends within an event", api, d, scenario)
				}
				for _, e := range events([]byte(stream)) {
					if e != "[DONE]" && !jsontext.Value(e).IsValid() {
						t.Errorf("%s %s/%s: not JSON: %s", api, d, scenario, e)
					}
				}
			}
		}
	}
}

// TestBases: a service's own path leads to its API, another's does not.
func TestBases(t *testing.T) {
	for path, want := range map[string]int{"/v1/models": 200, "/models": 200, "/v1beta/openai/models": 200, "/openai/v1/models": 404, "/v1/v1/models": 404, "//models": 404, "/v1/models/": 404} {
		w := httptest.NewRecorder()
		New(Options{Dialect: "gemini"}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
