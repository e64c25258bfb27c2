package convert_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/internal/fakeopenai"
)

// Properties of generated requests. A request of one API that has only what the
// other has words for comes back as it was; and whatever order items come in, the
// messages that are made of them are ones that strict servers take.

// words are texts that JSON, templates or grouping could break.
var words = []string{"", " ", "x", "two\nlines", `"quoted" \ back`, "é 世界 🙂", "</s><tool_call>", strings.Repeat("long ", 50)}

func text(t *rapid.T, label string) string {
	return rapid.OneOf(rapid.SampledFrom(words), rapid.String()).Draw(t, label)
}

// some is a text that is not empty, nor only white space.
func some(t *rapid.T, label string) string { return "t" + text(t, label) }

func maybe(t *rapid.T, label string) bool { return rapid.Bool().Draw(t, label) }

func number(t *rapid.T, from, to int, label string) int {
	return rapid.IntRange(from, to).Draw(t, label)
}

func oneOf[V any](t *rapid.T, label string, values ...V) V {
	return rapid.SampledFrom(values).Draw(t, label)
}

// params draws members that are the same in both APIs, or have another name.
func params(t *rapid.T, set object, all []param) {
	for _, p := range all {
		if maybe(t, p.name) {
			set[p.name] = p.draw(t)
		}
	}
}

type param struct {
	name string
	draw func(*rapid.T) any
}

func among(values ...any) func(*rapid.T) any {
	return func(t *rapid.T) any { return oneOf(t, "value", values...) }
}

func schema(t *rapid.T) object {
	return oneOf(t, "schema",
		object{"type": "object", "properties": object{}},
		object{"type": "object", "properties": object{"a": object{"type": []any{"string", "null"}}}, "required": list{"a"}, "additionalProperties": false},
		object{"type": "object", "properties": object{"l": object{"type": "array", "items": object{"$ref": "#/$defs/x"}}}, "$defs": object{"x": object{"type": "integer"}}},
	)
}

// shared are the members that both APIs have.
var shared = []param{
	{"temperature", among(0.0, 0.5, 2.0)},
	{"top_p", among(0.1, 1.0)},
	{"frequency_penalty", among(-1.0, 0.5)},
	{"presence_penalty", among(-1.0, 0.5)},
	{"metadata", func(t *rapid.T) any { return object{"k": text(t, "v")} }},
	{"user", among("u")},
	{"safety_identifier", among("s")},
	{"prompt_cache_key", among("k")},
	{"prompt_cache_options", func(*rapid.T) any { return object{"mode": "explicit", "ttl": "30m"} }},
	{"prompt_cache_retention", among("24h", "in_memory")},
	{"service_tier", among("auto", "default", "flex", "priority")},
	{"moderation", func(*rapid.T) any { return object{"model": "omni"} }},
	{"stream", among(false)},
}

// chatRequest draws a Chat request of which nothing is lost, in the form in which
// it comes back.
func chatRequest(t *rapid.T) object {
	req := object{"model": "m-search", "messages": chatHistory(t)}
	params(t, req, shared)
	params(t, req, []param{
		{"max_completion_tokens", func(t *rapid.T) any { return float64(number(t, 16, 9999, "tokens")) }},
		{"reasoning_effort", among("none", "minimal", "low", "medium", "high", "xhigh", "max")},
		{"verbosity", among("low", "high")},
		{"response_format", func(t *rapid.T) any {
			if maybe(t, "object") {
				return object{"type": "json_object"}
			}
			return object{"type": "json_schema", "json_schema": object{"name": "s", "schema": schema(t), "strict": maybe(t, "strict")}}
		}},
		{"web_search_options", func(t *rapid.T) any {
			return object{"search_context_size": "low", "user_location": object{"type": "approximate", "approximate": object{"city": some(t, "city")}}}
		}},
	})
	if maybe(t, "logprobs") {
		req["logprobs"] = true
		if maybe(t, "top") {
			req["top_logprobs"] = float64(number(t, 0, 20, "top_logprobs"))
		}
	}
	if tools := chatTools(t); len(tools) > 0 {
		req["tools"] = tools
		params(t, req, []param{
			{"parallel_tool_calls", among(true, false)},
			{"tool_choice", func(t *rapid.T) any {
				first := tools[0].(object)
				named := object{"type": first["type"], first["type"].(string): object{"name": first[first["type"].(string)].(object)["name"]}}
				return oneOf[any](t, "choice", "none", "auto", "required", named,
					object{"type": "allowed_tools", "allowed_tools": object{"mode": "auto", "tools": list{named}}})
			}},
		})
	}
	return req
}

func chatTools(t *rapid.T) list {
	tools := list{}
	for i := range number(t, 0, 3, "tools") {
		if maybe(t, "custom") {
			custom := object{"name": fmt.Sprint("c", i)}
			if maybe(t, "grammar") {
				custom["format"] = object{"type": "grammar", "grammar": object{"syntax": "regex", "definition": some(t, "definition")}}
			}
			tools = append(tools, object{"type": "custom", "custom": custom})
			continue
		}
		f := object{"name": fmt.Sprint("f", i), "parameters": schema(t)}
		if maybe(t, "described") {
			f["description"] = some(t, "description")
		}
		if maybe(t, "strict") {
			f["strict"] = true
		}
		tools = append(tools, object{"type": "function", "function": f})
	}
	return tools
}

// chatHistory draws messages: two of the assistant follow each other only where
// the first called tools.
func chatHistory(t *rapid.T) list {
	messages := list{}
	if maybe(t, "system") {
		messages = append(messages, object{"role": oneOf(t, "role", "system", "developer"), "content": some(t, "content")})
	}
	calls := 0
	for range number(t, 1, 4, "turns") {
		messages = append(messages, object{"role": "user", "content": chatContent(t)})
		for range number(t, 0, 2, "steps") {
			m := object{"role": "assistant", "content": nil, "tool_calls": list{}}
			if maybe(t, "text") {
				m["content"] = some(t, "content")
			}
			var outputs list
			for range number(t, 1, 3, "calls") {
				calls++
				id := fmt.Sprint("call_", calls)
				call := object{"id": id, "type": "function", "function": object{"name": "f0", "arguments": some(t, "arguments")}}
				if maybe(t, "custom") {
					call = object{"id": id, "type": "custom", "custom": object{"name": "c0", "input": text(t, "input")}}
				}
				m["tool_calls"] = append(m["tool_calls"].(list), call)
				outputs = append(outputs, object{"role": "tool", "tool_call_id": id, "content": text(t, "output")})
			}
			messages = append(append(messages, m), outputs...)
		}
		if maybe(t, "answered") {
			m := object{"role": "assistant", "content": text(t, "content")}
			if maybe(t, "refused") {
				m = object{"role": "assistant", "content": nil, "refusal": some(t, "refusal")}
			}
			messages = append(messages, m)
		}
	}
	return messages
}

func chatContent(t *rapid.T) any {
	if maybe(t, "string") {
		return text(t, "content")
	}
	parts := list{}
	for range number(t, 2, 3, "parts") {
		part := oneOf(t, "part",
			object{"type": "text", "text": some(t, "text")},
			object{"type": "image_url", "image_url": object{"url": "https://x/a.png"}},
			object{"type": "image_url", "image_url": object{"url": "data:image/png;base64,AA==", "detail": oneOf(t, "detail", "low", "high", "original")}},
			object{"type": "file", "file": object{"file_id": "file-1"}},
			object{"type": "file", "file": object{"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
		)
		if maybe(t, "breakpoint") {
			part = maps.Clone(part)
			part["prompt_cache_breakpoint"] = object{"mode": "explicit"}
		}
		parts = append(parts, part)
	}
	return parts
}

func encode(t *rapid.T, v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *rapid.T, b []byte) any {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

var toOpenAI = convert.Options{Dialect: convert.Dialects["openai"], Strict: true}

// toResponses and toChat translate a body; nothing may be lost on the way.
func toResponses(t *rapid.T, body []byte) []byte {
	req, err := convert.ReadChat(body)
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	out, report, err := convert.ToResponses(req, toOpenAI)
	if err != nil || len(report) > 0 {
		t.Fatalf("%v %v\n%s", err, report, body)
	}
	return encode(t, out)
}

func toChat(t *rapid.T, body []byte, o convert.Options) []byte {
	req, err := convert.ReadResponses(body)
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	// An upstream that repeats its own translation asks for this on its own.
	req.Include = slices.DeleteFunc(req.Include, func(s string) bool { return s == "reasoning.encrypted_content" })
	out, _, report, err := convert.ToChat(req, o)
	if err != nil || len(report) > 0 && o.Strict {
		t.Fatalf("%v %v\n%s", err, report, body)
	}
	return encode(t, out)
}

func sameValue(t *rapid.T, got, want any) {
	g, w := encode(t, got), encode(t, want)
	if string(g) != string(w) {
		t.Fatalf("\n got %s\nwant %s", g, w)
	}
}

func TestRoundTripChat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := chatRequest(t)
		there := toResponses(t, encode(t, req))
		back := toChat(t, there, toOpenAI)
		sameValue(t, decode(t, back), req)
	})
}

// responsesRequest draws a Responses request of which nothing is lost, in the form
// in which it comes back.
func responsesRequest(t *rapid.T) object {
	req := object{"model": "m", "input": responsesHistory(t), "store": false}
	params(t, req, shared)
	params(t, req, []param{
		{"max_output_tokens", func(t *rapid.T) any { return float64(number(t, 16, 9999, "tokens")) }},
		{"reasoning", func(t *rapid.T) any { return object{"effort": oneOf(t, "effort", "none", "low", "high", "max")} }},
		{"text", func(t *rapid.T) any {
			return oneOf(t, "text", object{"verbosity": "low"}, object{"format": object{"type": "json_object"}},
				object{"verbosity": "high", "format": object{"type": "json_schema", "name": "s", "schema": schema(t), "strict": true}})
		}},
	})
	if maybe(t, "logprobs") {
		req["include"] = list{"message.output_text.logprobs"}
		if maybe(t, "top") {
			req["top_logprobs"] = float64(number(t, 0, 20, "top_logprobs"))
		}
	}
	tools := list{}
	for i := range number(t, 0, 3, "tools") {
		if maybe(t, "custom") {
			tools = append(tools, object{"type": "custom", "name": fmt.Sprint("c", i), "description": some(t, "description"), "format": object{"type": "text"}})
			continue
		}
		tools = append(tools, object{"type": "function", "name": fmt.Sprint("f", i), "parameters": schema(t), "strict": maybe(t, "strict")})
	}
	if len(tools) > 0 {
		req["tools"] = tools
		params(t, req, []param{
			{"parallel_tool_calls", among(true, false)},
			{"tool_choice", func(t *rapid.T) any {
				first := tools[0].(object)
				named := object{"type": first["type"], "name": first["name"]}
				return oneOf[any](t, "choice", "none", "auto", "required", named, object{"type": "allowed_tools", "mode": "required", "tools": list{named}})
			}},
		})
	}
	return req
}

func responsesHistory(t *rapid.T) list {
	items := list{}
	if maybe(t, "developer") {
		items = append(items, object{"type": "message", "role": "developer", "content": text(t, "content")})
	}
	calls := 0
	for range number(t, 1, 4, "turns") {
		var content any = text(t, "content")
		if maybe(t, "parts") {
			content = list{
				object{"type": "input_text", "text": some(t, "text")},
				object{"type": "input_image", "image_url": "u", "detail": oneOf(t, "detail", "auto", "low", "high", "original")},
				object{"type": "input_file", "file_id": "file-1", "prompt_cache_breakpoint": object{"mode": "explicit"}},
			}
		}
		items = append(items, object{"type": "message", "role": "user", "content": content})
		for range number(t, 0, 2, "steps") {
			if maybe(t, "says") {
				items = append(items, object{"type": "message", "role": "assistant", "content": some(t, "content")})
			}
			var outputs list
			for range number(t, 1, 3, "calls") {
				calls++
				id := fmt.Sprint("call_", calls)
				if maybe(t, "custom") {
					items = append(items, object{"type": "custom_tool_call", "call_id": id, "name": "c0", "input": text(t, "input")})
					outputs = append(outputs, object{"type": "custom_tool_call_output", "call_id": id, "output": text(t, "output")})
					continue
				}
				items = append(items, object{"type": "function_call", "call_id": id, "name": "f0", "arguments": some(t, "arguments")})
				outputs = append(outputs, object{"type": "function_call_output", "call_id": id, "output": text(t, "output")})
			}
			items = append(items, outputs...)
		}
		if maybe(t, "answered") {
			items = append(items, object{"type": "message", "role": "assistant", "content": text(t, "content")})
		}
	}
	return items
}

func TestRoundTripResponses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := responsesRequest(t)
		there := toChat(t, encode(t, req), toOpenAI)
		back := decode(t, toResponses(t, there)).(object)
		if include, ok := back["include"].(list); ok { // see wantsEncrypted
			back["include"] = slices.DeleteFunc(include, func(v any) bool { return v == "reasoning.encrypted_content" })
			if len(back["include"].(list)) == 0 {
				delete(back, "include")
			}
		}
		sameValue(t, back, req)
	})
}

// looseItems draws items in an order that the API allows and no server of Chat
// would: outputs anywhere behind their calls, and anything in between.
func looseItems(t *rapid.T) list {
	items := list{object{"role": "user", "content": "begin"}}
	var open []object
	calls := 0
	for range number(t, 0, 14, "items") {
		switch number(t, 0, 6, "kind") {
		case 0:
			items = append(items, object{"role": oneOf(t, "role", "user", "developer", "system"), "content": some(t, "content")})
		case 1:
			items = append(items, object{"type": "message", "role": "assistant", "content": list{object{"type": "output_text", "text": text(t, "text"), "annotations": list{}}}})
		case 2:
			items = append(items, object{"type": "reasoning", "id": fmt.Sprint("rs_", len(items)), "summary": list{object{"type": "summary_text", "text": text(t, "summary")}}})
		case 3, 4:
			calls++
			call := object{"type": "function_call", "call_id": fmt.Sprint("call_", calls), "name": "f", "arguments": text(t, "arguments")}
			if maybe(t, "custom") {
				call = object{"type": "custom_tool_call", "call_id": fmt.Sprint("call_", calls), "name": "c", "input": text(t, "input")}
			}
			items, open = append(items, call), append(open, call)
		default:
			if len(open) > 0 {
				i := number(t, 0, len(open)-1, "which")
				items = append(items, output(t, open[i]))
				open = slices.Delete(open, i, i+1)
			}
		}
	}
	for len(open) > 0 {
		i := number(t, 0, len(open)-1, "which")
		items = append(items, output(t, open[i]))
		open = slices.Delete(open, i, i+1)
	}
	return items
}

func output(t *rapid.T, call object) object {
	var value any = text(t, "output")
	if maybe(t, "image") {
		value = list{object{"type": "input_text", "text": some(t, "text")}, object{"type": "input_image", "image_url": "data:image/png;base64,AA=="}}
	}
	return object{"type": call["type"].(string) + "_output", "call_id": call["call_id"], "output": value}
}

// TestGrouping: of items in any order come messages that strict servers take, and
// which, sent through the other API and back, are the same.
func TestGrouping(t *testing.T) {
	servers := map[string]*fakeopenai.Server{}
	for _, name := range fakeopenai.Dialects() {
		if convert.Dialects[name] != nil {
			servers[name] = fakeopenai.New(fakeopenai.Options{Dialect: name})
		}
	}
	if len(servers) < 12 {
		t.Fatalf("only %d dialects have a fake", len(servers))
	}
	rapid.Check(t, func(t *rapid.T) {
		body := encode(t, object{"model": "fake-text", "input": looseItems(t), "tools": list{
			object{"type": "function", "name": "f", "parameters": object{"type": "object"}, "strict": false}, object{"type": "custom", "name": "c"},
		}})
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(servers))).Draw(t, "upstream")
		for _, name := range []string{"openai", name} {
			out := toChat(t, body, convert.Options{Dialect: convert.Dialects[name]})
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(string(out)))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			servers[name].ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				t.Fatalf("%s answers %d: %s\nto %s\nof %s", name, w.Code, w.Body, out, body)
			}
		}
		once := toChat(t, body, convert.Options{Dialect: convert.Dialects["openai"]})
		twice := toChat(t, toResponses(t, once), toOpenAI)
		sameValue(t, decode(t, twice), decode(t, once))
	})
}
