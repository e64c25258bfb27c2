package fakeopenai

import (
	"bytes"
	"fmt"
)

// fixtureTime is when every fixture was made.
const fixtureTime = 1763800000

// Stream is the body of a streamed answer, the same bytes on every call, to a request that asks for all that the
// scenario can show: usage, reasoning summaries, sealed reasoning, log probabilities in "logprobs".
// Of the scenarios that break off it is what arrives before. It is nil for those that do not stream: error* and nonjson.
func Stream(api API, dialect, scenario string) []byte {
	chat, responses, err := fixture(api, dialect, scenario, true)
	switch {
	case err != nil || scenario == string(nonJSON):
		return nil
	case scenario == string(cutEarly):
		return []byte{}
	case chat != nil:
		return bytes.Join(chat.stream(), nil)
	}
	return bytes.Join(responses.stream(), nil)
}

// Answer is the body of an answer that is not streamed, and its status.
func Answer(api API, dialect, scenario string) (body []byte, status int) {
	chat, responses, err := fixture(api, dialect, scenario, false)
	switch {
	case err != nil:
		return dialects[dialect].errorJSON(err), err.status
	case scenario == string(nonJSON):
		return []byte(page), 200
	case chat != nil && chat.ans.broken == midstream:
		return dialects[dialect].errorJSON(serverError(500)), 500
	case chat != nil:
		return chat.whole(), 200
	}
	return responses.whole(), 200
}

func fixture(api API, name, scenario string, stream bool) (*chatWriter, *responsesWriter, *apiError) {
	d := dialects[name]
	if d == nil || scenarios[scenario] == nil {
		panic(fmt.Sprintf("fakeopenai: no dialect %q or no scenario %q", name, scenario))
	}
	m := &mint{space: fmt.Sprintf("fixture/%s/%s/%s", api, name, scenario)}
	body, err := decode(toJSON(fixtureRequest(api, d, scenario, stream)))
	if err != nil {
		panic("fakeopenai: " + err.message)
	}
	read := func() ask { return readChat(body) }
	if api == Responses {
		read = func() ask { return readResponses(body, inputItems(body)) }
	}
	a := read()
	a.d, a.model, a.scenario = d, stringOf(body["model"]), scenario
	ans, err := play(&a, m)
	if err != nil {
		return nil, nil, err
	}
	if api == Chat {
		return newChatWriter(&a, ans, m, fixtureTime), nil, nil
	}
	return nil, newResponsesWriter(&a, ans, m, fixtureTime), nil
}

// A red dot.
const pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

var (
	weatherSchema = obj{{"type", "object"}, {"properties", obj{{"city", obj{{"type", "string"}}}}}, {"required", []any{"city"}}, {"additionalProperties", false}}
	inputSchema   = obj{{"type", "object"}, {"properties", obj{{"input", obj{{"type", "string"}}}}}, {"required", []any{"input"}}, {"additionalProperties", false}}
	placeSchema   = obj{{"type", "object"}, {"properties", obj{{"city", obj{{"type", "string"}}}, {"population", obj{{"type", "integer"}}}}},
		{"required", []any{"city", "population"}}, {"additionalProperties", false}}
)

// fixtureRequest is a request that suits the scenario.
func fixtureRequest(api API, d *dialect, scenario string, stream bool) obj {
	tools := fixtureTools(api, d, scenario)
	if api == Responses {
		content := []any{obj{{"type", "input_text"}, {"text", "What is the weather in Paris?"}}}
		if scenario == "image" {
			content = append(content, obj{{"type", "input_image"}, {"image_url", pixel}, {"detail", "auto"}})
		}
		r := obj{{"model", "fake-" + scenario}, {"input", []any{obj{{"role", "user"}, {"content", content}}}}, {"stream", stream}, {"store", false},
			{"reasoning", obj{{"summary", "auto"}}}, {"include", []any{"reasoning.encrypted_content"}}}
		if tools != nil {
			r = append(r, member{"tools", tools})
		}
		switch scenario {
		case "json":
			r = append(r, member{"text", obj{{"format", obj{{"type", "json_schema"}, {"name", "place"}, {"schema", placeSchema}, {"strict", true}}}}})
		case "logprobs":
			r = r.set("include", []any{"message.output_text.logprobs"}).set("top_logprobs", 2)
		}
		return r
	}
	content := []any{obj{{"type", "text"}, {"text", "What is the weather in Paris?"}}}
	if scenario == "image" {
		content = append(content, obj{{"type", "image_url"}, {"image_url", obj{{"url", pixel}}}})
	}
	r := obj{{"model", "fake-" + scenario}, {"messages", []any{obj{{"role", "user"}, {"content", content}}}}}
	if stream {
		r = append(r, member{"stream", true}, member{"stream_options", obj{{"include_usage", true}}})
	}
	if tools != nil {
		r = append(r, member{"tools", tools})
	}
	switch scenario {
	case "json":
		r = append(r, member{"response_format", obj{{"type", "json_schema"}, {"json_schema", obj{{"name", "place"}, {"schema", placeSchema}, {"strict", true}}}}})
	case "logprobs":
		r = append(r, member{"logprobs", true}, member{"top_logprobs", 2})
	}
	return r
}

func fixtureTools(api API, d *dialect, scenario string) []any {
	function := func(name, description string, schema obj) obj {
		f := obj{{"name", name}, {"description", description}, {"parameters", schema}}
		if api == Chat {
			return obj{{"type", "function"}, {"function", f}}
		}
		return append(obj{{"type", "function"}}, f.set("strict", true)...)
	}
	switch scenario {
	case "tool", "tools", "tool_text", "reasoning_tool", "length_tool", "demo":
		return []any{function("get_weather", "Returns the weather of a city.", weatherSchema)}
	case "custom":
		custom := obj{{"name", "apply_patch"}, {"description", "Applies a patch."}}
		switch {
		case api == Responses:
			return []any{append(obj{{"type", "custom"}}, custom...)}
		case d.strict:
			return []any{obj{{"type", "custom"}, {"custom", custom}}}
		}
		return []any{function("apply_patch", "Applies a patch.", inputSchema)}
	case "namespaced":
		if api == Responses {
			return []any{obj{{"type", "namespace"}, {"name", "travel"}, {"description", "Travel."}, {"tools", []any{function("get_weather", "", weatherSchema)}}}}
		}
		return []any{function("travel__get_weather", "", weatherSchema)}
	}
	return nil
}
