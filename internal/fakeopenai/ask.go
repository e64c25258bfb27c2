package fakeopenai

import (
	"encoding/json"
	"strings"
)

// ask is what a scenario needs to know of a request, the same for both APIs.
type ask struct {
	api      API
	d        *dialect
	model    string
	scenario string
	body     map[string]any // the request itself, to echo
	turns    []turn         // the whole conversation, an earlier response's included
	offers   []offer
	choice   choice
	format   format

	stream       bool
	includeUsage bool // stream_options.include_usage
	obfuscate    bool
	parallel     bool
	limit        int // tokens, 0 without limit
	stop         []string
	logprobs     bool
	topLogprobs  int
	copies       int  // n of Chat Completions
	summary      bool // Responses: the client wants a reasoning summary
	sealed       bool // Responses: it wants encrypted_content
}

// turn is one step of the conversation.
type turn struct {
	role   string // system, developer, user, assistant, tool
	text   string
	images []string // media types, or "url" and "file" for those that are elsewhere
	calls  []call   // of an assistant
	callID string   // of a tool: the call that it answers
}

type call struct{ id, name string }

// offer is one tool that the model may call.
type offer struct {
	name, namespace string
	description     string
	custom          bool
	schema          map[string]any
}

type choice struct {
	mode string // auto, none, required
	name string // the tool that is forced
}

type format struct {
	kind   string // text, json_object, json_schema
	schema map[string]any
}

// Small readers of decoded JSON. A value of another type reads as empty: the checks have refused it by now, or
// the dialect does not care.

func stringOf(v any) string { s, _ := v.(string); return s }

func objectAt(m map[string]any, name string) map[string]any {
	inner, _ := m[name].(map[string]any)
	return inner
}

func objectsOf(v any) []map[string]any {
	list, _ := v.([]any)
	out := make([]map[string]any, 0, len(list))
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func floatOf(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

func intOf(v any) int { f, _ := floatOf(v); return int(f) }

func stringsOf(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// content reads the text and the images out of a message's or an output's content, in either API's form.
func content(v any) (text string, images []string) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	var texts []string
	for _, part := range objectsOf(v) {
		switch part["type"] {
		case "text", "input_text", "output_text", "summary_text", "reasoning_text":
			texts = append(texts, stringOf(part["text"]))
		case "refusal":
			texts = append(texts, stringOf(part["refusal"]))
		case "image_url":
			images = append(images, mediaType(stringOf(objectAt(part, "image_url")["url"]), nil))
		case "input_image":
			images = append(images, mediaType(stringOf(part["image_url"]), part["file_id"]))
		}
	}
	return strings.Join(texts, ""), images
}

func mediaType(url string, fileID any) string {
	if rest, ok := strings.CutPrefix(url, "data:"); ok {
		kind, _, _ := strings.Cut(rest, ";")
		return kind
	}
	if fileID != nil {
		return "file"
	}
	return "url"
}

// readChat reads a request that checkChat has passed.
func readChat(body map[string]any) ask {
	a := ask{api: Chat, body: body, parallel: body["parallel_tool_calls"] != false}
	a.stream = body["stream"] == true
	options := objectAt(body, "stream_options")
	a.includeUsage = options["include_usage"] == true
	a.obfuscate = options["include_obfuscation"] != false
	a.limit = intOf(body["max_tokens"])
	if n := intOf(body["max_completion_tokens"]); n > 0 {
		a.limit = n
	}
	a.stop = stringsOf(body["stop"])
	a.logprobs = body["logprobs"] == true
	a.topLogprobs = intOf(body["top_logprobs"])
	a.copies = max(1, intOf(body["n"]))
	for _, t := range objectsOf(body["tools"]) {
		inner := objectAt(t, "function")
		if t["type"] == "custom" {
			inner = objectAt(t, "custom")
		}
		a.offers = append(a.offers, offer{name: stringOf(inner["name"]), description: stringOf(inner["description"]),
			custom: t["type"] == "custom", schema: objectAt(inner, "parameters")})
	}
	for _, f := range objectsOf(body["functions"]) {
		a.offers = append(a.offers, offer{name: stringOf(f["name"]), description: stringOf(f["description"]), schema: objectAt(f, "parameters")})
	}
	a.choice = readChoice(body["tool_choice"])
	f := objectAt(body, "response_format")
	a.format = format{kind: stringOf(f["type"]), schema: objectAt(objectAt(f, "json_schema"), "schema")}
	for _, m := range objectsOf(body["messages"]) {
		t := turn{role: stringOf(m["role"]), callID: stringOf(m["tool_call_id"])}
		t.text, t.images = content(m["content"])
		for _, c := range objectsOf(m["tool_calls"]) {
			t.calls = append(t.calls, call{id: stringOf(c["id"]), name: stringOf(objectAt(c, stringOf(c["type"]))["name"])})
		}
		if f := objectAt(m, "function_call"); f != nil {
			t.calls = append(t.calls, call{id: stringOf(f["name"]), name: stringOf(f["name"])})
		}
		if t.role == "function" { // the legacy form answers by name
			t.role, t.callID = "tool", stringOf(m["name"])
		}
		a.turns = append(a.turns, t)
	}
	return a
}

func readChoice(v any) choice {
	if s, ok := v.(string); ok {
		return choice{mode: s}
	}
	m, _ := v.(map[string]any)
	if m == nil {
		return choice{mode: "auto"}
	}
	if m["type"] == "allowed_tools" {
		if inner := objectAt(m, "allowed_tools"); inner != nil {
			return choice{mode: stringOf(inner["mode"])}
		}
		return choice{mode: stringOf(m["mode"])}
	}
	name := stringOf(m["name"])
	if name == "" {
		name = stringOf(objectAt(m, stringOf(m["type"]))["name"])
	}
	return choice{mode: "required", name: name}
}

// readResponses reads a request that checkResponses has passed. History holds the input and output items of the
// responses that it continues, references resolved.
func readResponses(body map[string]any, history []map[string]any) ask {
	a := ask{api: Responses, body: body, parallel: body["parallel_tool_calls"] != false, copies: 1}
	a.stream = body["stream"] == true
	a.obfuscate = objectAt(body, "stream_options")["include_obfuscation"] != false
	a.limit = intOf(body["max_output_tokens"])
	include := stringsOf(body["include"])
	for _, i := range include {
		a.logprobs = a.logprobs || i == "message.output_text.logprobs"
		a.sealed = a.sealed || i == "reasoning.encrypted_content"
	}
	a.topLogprobs = intOf(body["top_logprobs"])
	a.logprobs = a.logprobs || a.topLogprobs > 0
	reasoning := objectAt(body, "reasoning")
	a.summary = reasoning["summary"] != nil || reasoning["generate_summary"] != nil
	a.addTools(objectsOf(body["tools"]), "")
	a.choice = readChoice(body["tool_choice"])
	f := objectAt(objectAt(body, "text"), "format")
	a.format = format{kind: stringOf(f["type"]), schema: objectAt(f, "schema")}
	if s := stringOf(body["instructions"]); s != "" {
		a.turns = append(a.turns, turn{role: "system", text: s})
	}
	for _, item := range history {
		a.addItem(item)
	}
	return a
}

func (a *ask) addTools(tools []map[string]any, namespace string) {
	for _, t := range tools {
		switch t["type"] {
		case "function", "custom":
			a.offers = append(a.offers, offer{name: stringOf(t["name"]), namespace: namespace, description: stringOf(t["description"]),
				custom: t["type"] == "custom", schema: objectAt(t, "parameters")})
		case "namespace":
			a.addTools(objectsOf(t["tools"]), stringOf(t["name"]))
		}
	}
}

func (a *ask) addItem(item map[string]any) {
	kind := stringOf(item["type"])
	switch {
	case kind == "" || kind == "message":
		t := turn{role: stringOf(item["role"])}
		t.text, t.images = content(item["content"])
		a.turns = append(a.turns, t)
	case kind == "additional_tools" || kind == "tool_search_output":
		a.addTools(objectsOf(item["tools"]), "")
		if kind == "tool_search_output" {
			a.turns = append(a.turns, turn{role: "tool", callID: stringOf(item["call_id"])})
		}
	case strings.HasSuffix(kind, "_call_output"):
		t := turn{role: "tool", callID: stringOf(item["call_id"])}
		t.text, t.images = content(item["output"])
		a.turns = append(a.turns, t)
	case kind == "function_call" || kind == "custom_tool_call" || kind == "tool_search_call":
		c := call{id: stringOf(item["call_id"]), name: stringOf(item["name"])}
		if ns := stringOf(item["namespace"]); ns != "" {
			c.name = ns + "." + c.name
		}
		a.turns = append(a.turns, turn{role: "assistant", calls: []call{c}})
	}
}

// lastUser is the text of the newest message of the user.
func (a *ask) lastUser() string {
	for i := len(a.turns) - 1; i >= 0; i-- {
		if a.turns[i].role == "user" {
			return a.turns[i].text
		}
	}
	return ""
}

// images are the media types of all images of the conversation, in order.
func (a *ask) images() (types []string) {
	for _, t := range a.turns {
		types = append(types, t.images...)
	}
	return types
}

// outputs are the tool outputs that the model has not answered yet: all since the newest question, if the
// newest words of the assistant are calls. A user message behind an output does not matter: it may carry the
// images of that output, or steer the model.
func (a *ask) outputs() (outputs []turn) {
	newest := len(a.turns) - 1
	for newest >= 0 && a.turns[newest].role != "assistant" {
		newest--
	}
	if newest < 0 || len(a.turns[newest].calls) == 0 {
		return nil
	}
	asked := newest
	for asked >= 0 && a.turns[asked].role != "user" {
		asked--
	}
	for _, t := range a.turns[asked+1:] {
		if t.role == "tool" {
			outputs = append(outputs, t)
		}
	}
	return outputs
}

// callName is the name of the tool that the call with this id was for.
func (a *ask) callName(id string) string {
	for _, t := range a.turns {
		for _, c := range t.calls {
			if c.id == id {
				return c.name
			}
		}
	}
	return "the tool"
}

// countCalls is how many calls the conversation holds. Kimi numbers its calls through.
func (a *ask) countCalls() (n int) {
	for _, t := range a.turns {
		n += len(t.calls)
	}
	return n
}

// words is the size of the prompt in the tokens of this package: one a word.
func (a *ask) words() (n int) {
	for _, t := range a.turns {
		n += len(strings.Fields(t.text)) + 4
	}
	return n + 7*len(a.offers)
}
