package convert

import (
	"maps"
	"strings"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// object is an object of a request, as far as its members are known by name.
type object struct {
	members map[string]bool
	inner   map[string]*object // of those that are objects, or lists of some
}

func objectOf[T any](inner map[string]*object) *object { return &object{memberNames[T](), inner} }

// requests are the requests of both APIs. The tree is finite and written down, and each of its nodes is built once: the
// labels that [Loss.Field] gives are its paths, and each of them with "unknown" behind it.
var requests = func() []*object {
	under := func(name string, o *object) map[string]*object { return map[string]*object{name: o} }
	leaf := func(names ...string) *object {
		o := &object{members: map[string]bool{}}
		for _, name := range names {
			o.members[name] = true
		}
		return o
	}
	cache := leaf("mode", "ttl", "prewarm", "comparison_response_id")
	call := objectOf[chat.FunctionCall](nil)
	part := objectOf[chat.Part](map[string]*object{"image_url": objectOf[chat.ImageURL](nil), "file": objectOf[chat.File](nil)})
	custom := objectOf[chat.Custom](under("format", objectOf[chat.Format](under("grammar", objectOf[chat.Grammar](nil)))))
	named := objectOf[chat.Named](nil)
	choice := map[string]*object{"function": named, "custom": named}
	allowed := objectOf[chat.AllowedTools](under("tools", objectOf[chat.ToolChoice](choice)))
	inChat := objectOf[chat.Request](map[string]*object{
		"messages": objectOf[chat.Message](map[string]*object{
			"content": part, "function_call": call, "reasoning_details": objectOf[chat.ReasoningBlock](nil),
			"tool_calls": objectOf[chat.ToolCall](map[string]*object{"function": call, "custom": objectOf[chat.CustomCall](nil)}),
		}),
		"tools":                objectOf[chat.Tool](map[string]*object{"function": objectOf[chat.Function](nil), "custom": custom}),
		"functions":            objectOf[chat.Function](nil),
		"tool_choice":          objectOf[chat.ToolChoice](map[string]*object{"function": named, "custom": named, "allowed_tools": allowed}),
		"response_format":      objectOf[chat.ResponseFormat](under("json_schema", objectOf[chat.JSONSchema](nil))),
		"stream_options":       objectOf[chat.StreamOptions](nil),
		"web_search_options":   objectOf[chat.WebSearchOptions](under("user_location", objectOf[chat.UserLocation](nil))),
		"prompt_cache_options": cache,
	})

	reasoning := objectOf[responses.Reasoning](nil)
	text := objectOf[responses.TextConfig](under("format", objectOf[responses.TextFormat](nil)))
	content := objectOf[responses.Part](nil)
	// A namespace has tools; one in a namespace is as deep as anybody nests them.
	inner := map[string]*object{"format": objectOf[responses.Format](nil), "environment": leaf("type")}
	tool := maps.Clone(inner)
	tool["tools"] = objectOf[responses.Tool](inner)
	tools := objectOf[responses.Tool](tool)
	inResponses := objectOf[responses.Request](map[string]*object{
		"input": objectOf[responses.Item](map[string]*object{
			"content": content, "output": content, "summary": content, "tools": tools, "reasoning": reasoning, "text": text,
		}),
		"tools":                tools,
		"tool_choice":          objectOf[responses.ToolChoice](under("tools", objectOf[responses.ToolChoice](nil))),
		"reasoning":            reasoning,
		"text":                 text,
		"stream_options":       objectOf[responses.StreamOptions](nil),
		"prompt_cache_options": cache,
	})
	return []*object{inChat, inResponses}
}()

// fieldOf is a path of a request without indices, as far as either API has it; what stands behind it is "unknown".
// stray is of a member of the object at the path that its API does not have.
func fieldOf(path string, stray bool) string {
	if path == "" {
		return "unknown"
	}
	b := make([]byte, 0, len("messages.tool_calls.function.unknown"))
	at := [2]*object{requests[0], requests[1]}
	for more := true; more; {
		var segment string
		segment, path, more = strings.Cut(path, ".")
		name, _, _ := strings.Cut(segment, "[")
		known := false
		for i, o := range at {
			if at[i] = nil; o == nil || !o.members[name] {
				continue
			}
			known, at[i] = true, o.inner[name]
		}
		if !known {
			return string(append(b, "unknown"...)) // what is behind it is the client's invention too
		}
		b = append(append(b, name...), '.')
	}
	if stray {
		return string(append(b, "unknown"...))
	}
	return string(b[:len(b)-1])
}
