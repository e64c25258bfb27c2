package fakeopenai

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// functionName is what both APIs accept as the name of a function or custom tool.
var functionName = &shape{kind: str, nonEmpty: true, maxLen: 64, pattern: regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)}

var efforts = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}

// metadata is up to 16 pairs of strings.
var metadata = &shape{kind: object, open: true, fields: map[string]*shape{}, also: func(path string, v any) *apiError {
	m, _ := v.(map[string]any)
	if len(m) > 16 {
		return refuse(path, "object_above_max_properties", "Invalid '%s': too many properties. Expected an object with at most 16 properties, but got an object with %d properties instead.", path, len(m))
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := (&shape{kind: str, maxLen: 512, notNull: true}).check(path+"."+name, m[name]); err != nil {
			return err
		}
	}
	return nil
}}

// chatRequest is every member of a Chat Completions request.
var chatRequest = record(map[string]*shape{
	"messages":               some(listOf(chatMessage)),
	"model":                  text(),
	"audio":                  record(map[string]*shape{"format!": oneOf("wav", "aac", "mp3", "flac", "opus", "pcm16"), "voice!": free()}),
	"frequency_penalty":      decimal(-2, 2),
	"function_call":          {kind: str | object},
	"functions":              {kind: array, nonEmpty: true, maxItems: 128, items: chatFunction},
	"logit_bias":             openObject(),
	"logprobs":               flag(),
	"max_completion_tokens":  whole(1, 1e9),
	"max_tokens":             whole(1, 1e9),
	"metadata":               metadata,
	"modalities":             listOf(oneOf("text", "audio")),
	"moderation":             openObject(),
	"n":                      whole(1, 128),
	"parallel_tool_calls":    flag(),
	"prediction":             record(map[string]*shape{"type!": oneOf("content"), "content!": textOr(chatText)}),
	"presence_penalty":       decimal(-2, 2),
	"prompt_cache_key":       text(),
	"prompt_cache_options":   record(map[string]*shape{"mode": oneOf("implicit", "explicit"), "ttl": oneOf("30m")}),
	"prompt_cache_retention": oneOf("in_memory", "in-memory", "24h"),
	"reasoning_effort":       oneOf(efforts...),
	"response_format": tagged("type", []string{"text", "json_object", "json_schema"}, map[string]*shape{
		"text":        record(map[string]*shape{"type!": text()}),
		"json_object": record(map[string]*shape{"type!": text()}),
		"json_schema": record(map[string]*shape{"type!": text(), "json_schema!": record(map[string]*shape{
			"name!": functionName, "description": text(), "schema": openObject(), "strict": flag()})}),
	}),
	"safety_identifier":  {kind: str, maxLen: 64},
	"seed":               whole(-1<<63, 1<<63),
	"service_tier":       oneOf("auto", "default", "flex", "scale", "priority", "fast"),
	"stop":               {kind: str | array, items: text(), maxItems: 4, expect: "one of a string or array of strings"},
	"store":              flag(),
	"stream":             flag(),
	"stream_options":     record(map[string]*shape{"include_usage": flag(), "include_obfuscation": flag()}),
	"temperature":        decimal(0, 2),
	"tool_choice":        chatToolChoice,
	"tools":              {kind: array, nonEmpty: true, maxItems: 128, items: chatTool},
	"top_logprobs":       whole(0, 20),
	"top_p":              decimal(0, 1),
	"user":               text(),
	"verbosity":          oneOf("low", "medium", "high"),
	"web_search_options": record(map[string]*shape{"search_context_size": oneOf("low", "medium", "high"), "user_location": openObject()}),
})

var chatFunction = record(map[string]*shape{"name!": functionName, "description": text(), "parameters": openObject(), "strict": flag()})

var chatTool = tagged("type", []string{"function", "custom"}, map[string]*shape{
	"function": record(map[string]*shape{"type!": text(), "function!": chatFunction}),
	"custom": record(map[string]*shape{"type!": text(), "custom!": record(map[string]*shape{
		"name!": functionName, "description": text(),
		"format": tagged("type", []string{"text", "grammar"}, map[string]*shape{
			"text":    record(map[string]*shape{"type!": text()}),
			"grammar": record(map[string]*shape{"type!": text(), "grammar!": record(map[string]*shape{"definition!": text(), "syntax!": oneOf("lark", "regex")})}),
		})})}),
})

var chatToolChoice = &shape{kind: str | object, enum: []string{"none", "auto", "required"}, tag: "type", tagParam: ".type",
	tags: []string{"function", "allowed_tools", "custom"},
	byTag: map[string]*shape{
		"function": record(map[string]*shape{"type!": text(), "function!": record(map[string]*shape{"name!": text()})}),
		"custom":   record(map[string]*shape{"type!": text(), "custom!": record(map[string]*shape{"name!": text()})}),
		"allowed_tools": record(map[string]*shape{"type!": text(), "allowed_tools!": record(map[string]*shape{
			"mode!": oneOf("auto", "required"), "tools!": listOf(openObject())})}),
	}}

var breakpoint = openObject()

var chatText = record(map[string]*shape{"type!": oneOf("text"), "text!": text(), "prompt_cache_breakpoint": breakpoint})

var chatPartOrder = []string{"text", "image_url", "input_audio", "refusal", "audio", "file"}

// chatParts are the content parts that the role of a message allows.
func chatParts(allowed ...string) *shape {
	all := map[string]*shape{
		"text": chatText,
		"image_url": record(map[string]*shape{"type!": text(), "prompt_cache_breakpoint": breakpoint, "image_url!": record(map[string]*shape{
			"url!": text(), "detail": oneOf("auto", "low", "high", "original")})}),
		"input_audio": record(map[string]*shape{"type!": text(), "prompt_cache_breakpoint": breakpoint, "input_audio!": record(map[string]*shape{
			"data!": text(), "format!": oneOf("wav", "mp3")})}),
		"file": record(map[string]*shape{"type!": text(), "prompt_cache_breakpoint": breakpoint, "file!": record(map[string]*shape{
			"file_id": text(), "file_data": text(), "filename": text()})}),
		"refusal": record(map[string]*shape{"type!": text(), "refusal!": text()}),
	}
	order := allowed
	if len(allowed) > 2 { // a user message lists every part there is
		order = chatPartOrder
	}
	maps.DeleteFunc(all, func(name string, _ *shape) bool { return !slices.Contains(allowed, name) })
	return some(textOr(tagged("type", order, all)))
}

var chatToolCall = tagged("type", []string{"function", "custom"}, map[string]*shape{
	"function": record(map[string]*shape{"id!": {kind: str, nonEmpty: true}, "type!": text(),
		"function!": record(map[string]*shape{"name!": functionName, "arguments!": text()})}),
	"custom": record(map[string]*shape{"id!": {kind: str, nonEmpty: true}, "type!": text(),
		"custom!": record(map[string]*shape{"name!": functionName, "input!": text()})}),
})

var chatMessage = &shape{kind: object, tag: "role", tagParam: ".role",
	tags: []string{"system", "assistant", "user", "function", "tool", "developer"},
	byTag: map[string]*shape{
		"system":    record(map[string]*shape{"role!": text(), "content!": orNull(chatParts("text")), "name": text()}),
		"developer": record(map[string]*shape{"role!": text(), "content!": orNull(chatParts("text")), "name": text()}),
		"user":      record(map[string]*shape{"role!": text(), "content!": orNull(chatParts("text", "image_url", "input_audio", "file")), "name": text()}),
		"assistant": record(map[string]*shape{"role!": text(), "content": chatParts("text", "refusal"), "name": text(), "refusal": text(),
			"annotations": free(), "audio": openObject(),
			"tool_calls":    {kind: array, items: chatToolCall, nonEmpty: true, notNull: true},
			"function_call": {kind: object, notNull: true, fields: map[string]*shape{"name": text(), "arguments": text()}, required: []string{"name", "arguments"}}}),
		"tool":     record(map[string]*shape{"role!": text(), "content!": orNull(chatParts("text")), "tool_call_id!": text()}),
		"function": record(map[string]*shape{"role!": text(), "content!": orNull(text()), "name!": text()}),
	}}

// checkChat returns what OpenAI says to a faulty request to /v1/chat/completions.
func checkChat(body map[string]any) *apiError {
	if _, ok := body["model"]; !ok {
		return refuse(nil, nil, "you must provide a model parameter")
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if _, ok := chatRequest.fields[name]; !ok {
			return unknownParameter(name)
		}
	}
	for _, name := range []string{"model", "messages"} {
		value, ok := body[name]
		if !ok {
			return missingParameter(name)
		}
		if value == nil {
			return wrongType(name, chatRequest.fields[name].expected(), nil)
		}
	}
	if err := chatRequest.check("", body); err != nil {
		return err
	}
	for _, rule := range []func(map[string]any) *apiError{
		chatModelRule, chatContentRule, chatPairingRule, chatToolRule, chatFormatRule, chatLogprobRule, chatReasoningModelRule,
	} {
		if err := rule(body); err != nil {
			return err
		}
	}
	return nil
}

func chatModelRule(body map[string]any) *apiError {
	if body["model"] == "" {
		return refuse(nil, nil, "you must provide a model parameter")
	}
	if _, ok := body["stream_options"].(map[string]any); ok && body["stream"] != true {
		return refuse("stream_options", nil, "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if body["max_tokens"] != nil && body["max_completion_tokens"] != nil {
		return refuse("max_tokens", "invalid_parameter_combination", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	}
	return nil
}

// chatContentRule has the older wording that OpenAI keeps for null content.
func chatContentRule(body map[string]any) *apiError {
	for i, m := range objectsOf(body["messages"]) {
		if m["content"] != nil {
			continue
		}
		if m["role"] == "assistant" && (m["tool_calls"] != nil || m["function_call"] != nil || m["refusal"] != nil || m["audio"] != nil) {
			continue
		}
		return refuse(fmt.Sprintf("messages.[%d].content", i), nil, "Invalid value for 'content': expected a string, got null.")
	}
	return nil
}

// chatPairingRule checks that the calls of an assistant message are answered, each once, by the messages right behind it.
func chatPairingRule(body map[string]any) *apiError {
	messages := objectsOf(body["messages"])
	var open []string            // calls that still wait for their output
	answered := map[string]int{} // the message that answered a call
	var callsAt int
	for i, m := range messages {
		role := stringOf(m["role"])
		if role == "tool" {
			id := stringOf(m["tool_call_id"])
			at, dup := answered[id]
			switch {
			case i == 0 || callsAt != i-1 && stringOf(messages[i-1]["role"]) != "tool" || !hasCalls(messages, callsAt):
				return refuse(fmt.Sprintf("messages.[%d].role", i), nil,
					"Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.")
			case dup && at > callsAt:
				return refuse(fmt.Sprintf("messages.[%d].tool_call_id", i), nil,
					"Invalid parameter: Duplicate value for 'tool_call_id' of '%s', in messages[%d] and messages[%d].", id, at, i)
			case !slices.Contains(open, id):
				return refuse(fmt.Sprintf("messages.[%d].tool_call_id", i), nil,
					"Invalid parameter: 'tool_call_id' of '%s' not found in 'tool_calls' of previous message.", id)
			}
			answered[id] = i
			open = slices.DeleteFunc(open, func(o string) bool { return o == id })
			continue
		}
		if len(open) > 0 {
			return unanswered(open, i)
		}
		if role != "assistant" {
			continue
		}
		for j, c := range objectsOf(m["tool_calls"]) {
			id := stringOf(c["id"])
			if slices.Contains(open, id) {
				return refuse(fmt.Sprintf("messages.[%d].tool_calls.[%d].id", i, j), nil,
					"Invalid parameter: Duplicate value for 'id' of '%s' in 'tool_calls' of messages[%d].", id, i)
			}
			open = append(open, id)
		}
		if len(open) > 0 {
			callsAt = i
		}
	}
	if len(open) > 0 {
		return unanswered(open, len(messages))
	}
	return nil
}

func hasCalls(messages []map[string]any, i int) bool {
	return len(objectsOf(messages[i]["tool_calls"])) > 0
}

func unanswered(ids []string, at int) *apiError {
	return refuse(fmt.Sprintf("messages.[%d].role", at), nil,
		"An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s", strings.Join(ids, ", "))
}

// chatToolRule checks tools against each other. That names must differ is known, its wording is not.
func chatToolRule(body map[string]any) *apiError {
	tools := objectsOf(body["tools"])
	if len(tools) == 0 {
		for _, name := range []string{"tool_choice", "parallel_tool_calls"} {
			if body[name] != nil {
				return refuse(name, nil, "Invalid value for '%s': '%s' is only allowed when 'tools' are specified.", name, name)
			}
		}
	}
	if body["function_call"] != nil && body["functions"] == nil {
		return refuse("function_call", nil, "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are specified.")
	}
	named := map[string]bool{}
	for i, t := range tools {
		inner := objectAt(t, stringOf(t["type"]))
		name := stringOf(inner["name"])
		if named[stringOf(t["type"])+name] {
			return refuse(fmt.Sprintf("tools[%d].%s.name", i, t["type"]), "invalid_value", "Tool names must be unique: '%s' appears more than once.", name)
		}
		named[stringOf(t["type"])+name] = true
		if inner["strict"] == true {
			if err := strictSchema("function '"+name+"'", inner["parameters"], fmt.Sprintf("tools[%d].function.parameters", i), "invalid_function_parameters"); err != nil {
				return err
			}
		}
	}
	choice, _ := body["tool_choice"].(map[string]any)
	if kind := stringOf(choice["type"]); kind == "function" || kind == "custom" {
		if name := stringOf(objectAt(choice, kind)["name"]); !named[kind+name] {
			return refuse("tool_choice", nil, "Invalid value for 'tool_choice': no %s named '%s' was specified in the 'tools' parameter.", kind, name)
		}
	}
	return nil
}

func chatFormatRule(body map[string]any) *apiError {
	format, _ := body["response_format"].(map[string]any)
	switch format["type"] {
	case "json_object":
		if !strings.Contains(strings.ToLower(string(toJSON(body["messages"]))), "json") {
			return refuse("messages", nil, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
		}
	case "json_schema":
		inner := objectAt(format, "json_schema")
		if inner["strict"] == true {
			return strictSchema("response_format '"+stringOf(inner["name"])+"'", inner["schema"], "response_format", nil)
		}
	}
	return nil
}

func chatLogprobRule(body map[string]any) *apiError {
	if body["top_logprobs"] != nil && body["logprobs"] != true {
		return refuse("top_logprobs", nil, "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.")
	}
	return nil
}

// reasoningModel names the families that take no sampling parameters. A fake model is one of them when such a
// name stands before the slash: "gpt-5/fake-text".
var reasoningModel = regexp.MustCompile(`^(o[1-9]|gpt-[5-9])`)

func chatReasoningModelRule(body map[string]any) *apiError {
	if !reasoningModel.MatchString(stringOf(body["model"])) {
		return nil
	}
	if body["max_tokens"] != nil {
		return unsupportedParameter("max_tokens", " is not supported with this model. Use 'max_completion_tokens' instead.")
	}
	return samplingRule(body, "temperature", "top_p", "presence_penalty", "frequency_penalty", "stop", "logprobs", "top_logprobs", "logit_bias")
}

// samplingRule refuses the named parameters as OpenAI's reasoning models do. Their neutral values pass.
func samplingRule(body map[string]any, names ...string) *apiError {
	for _, name := range names {
		value := body[name]
		if value == nil || value == false {
			continue
		}
		f, isNumber := floatOf(value)
		switch name {
		case "temperature", "top_p":
			if f != 1 {
				return refuse(name, "unsupported_value", "Unsupported value: '%s' does not support %v with this model. Only the default (1) value is supported.", name, value)
			}
			continue
		case "presence_penalty", "frequency_penalty":
			if isNumber && f == 0 {
				continue
			}
		}
		return unsupportedParameter(name, " is not supported with this model.")
	}
	return nil
}
