package fakeopenai

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// moved are parameters of Chat Completions that the Responses API knows under another name, and says so.
var moved = map[string]string{"messages": "input", "response_format": "text.format", "reasoning_effort": "reasoning.effort"}

// responsesRequest is every member of a Responses request, client_metadata included, which Codex sends.
var responsesRequest = record(map[string]*shape{
	"model":                text(),
	"input":                {kind: str | array, expect: "one of a string or array of input items", items: &shape{kind: object}},
	"access_programs":      openObject(),
	"background":           flag(),
	"client_metadata":      openObject(),
	"context_management":   listOf(record(map[string]*shape{"type!": oneOf("compaction"), "compact_threshold": whole(1, 1e9)})),
	"conversation":         {kind: str | object, fields: map[string]*shape{"id": text()}, required: []string{"id"}},
	"frequency_penalty":    decimal(-2, 2),
	"image":                openObject(),
	"include":              listOf(oneOf(includable...)),
	"instructions":         text(),
	"max_output_tokens":    whole(16, 1e9),
	"max_tool_calls":       whole(1, 1e9),
	"metadata":             metadata,
	"moderation":           openObject(),
	"parallel_tool_calls":  flag(),
	"presence_penalty":     decimal(-2, 2),
	"previous_response_id": {kind: str, prefix: "resp"},
	"prompt":               record(map[string]*shape{"id!": text(), "version": text(), "variables": openObject()}),
	"prompt_cache_key":     text(),
	"prompt_cache_options": record(map[string]*shape{"mode": oneOf("implicit", "explicit"), "ttl": oneOf("30m", "12h"),
		"prewarm": flag(), "comparison_response_id": text()}),
	"prompt_cache_retention": oneOf("in_memory", "in-memory", "24h"),
	"reasoning": record(map[string]*shape{"effort": oneOf(efforts...), "summary": oneOf("auto", "concise", "detailed"),
		"generate_summary": oneOf("auto", "concise", "detailed"), "context": oneOf("auto", "current_turn", "all_turns"), "mode": oneOf("standard", "pro")}),
	"safety_identifier": {kind: str, maxLen: 64},
	"service_tier":      oneOf("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"),
	"store":             flag(),
	"stream":            flag(),
	"stream_options":    record(map[string]*shape{"include_obfuscation": flag()}),
	"temperature":       decimal(0, 2),
	"text":              record(map[string]*shape{"verbosity": oneOf("low", "medium", "high"), "format": textFormat}),
	"tool_choice":       responsesToolChoice,
	"tools":             listOf(responsesTool),
	"top_logprobs":      whole(0, 20),
	"top_p":             decimal(0, 1),
	"truncation":        oneOf("auto", "disabled"),
	"user":              text(),
})

var includable = []string{"file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
	"computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs"}

var textFormat = tagged("type", []string{"json_object", "json_schema", "text"}, map[string]*shape{
	"text":        record(map[string]*shape{"type!": text()}),
	"json_object": record(map[string]*shape{"type!": text()}),
	"json_schema": record(map[string]*shape{"type!": text(), "name!": functionName, "schema!": openObject(), "description": text(), "strict": flag()}),
})

// sealedType is an object of which only the type is checked: a hosted tool, or an item of one.
func sealedType(required ...string) *shape {
	s := &shape{kind: object, open: true, fields: map[string]*shape{"type": text()}, required: required}
	for _, name := range required {
		s.fields[name] = free()
	}
	return s
}

var customFormat = tagged("type", []string{"grammar", "text"}, map[string]*shape{
	"text":    record(map[string]*shape{"type!": text()}),
	"grammar": record(map[string]*shape{"type!": text(), "definition!": text(), "syntax!": oneOf("lark", "regex")}),
})

var toolTags = []string{"apply_patch", "code_interpreter", "computer", "computer_use_preview", "custom", "file_search", "function", "image_generation",
	"local_shell", "mcp", "namespace", "programmatic_tool_calling", "shell", "tool_search", "web_search", "web_search_2025_08_26",
	"web_search_preview", "web_search_preview_2025_03_11"}

var responsesTool = func() *shape {
	s := tagged("type", toolTags, map[string]*shape{
		"function": record(map[string]*shape{"type!": text(), "name!": functionName, "description": text(), "parameters": openObject(), "strict": flag(),
			"async": flag(), "allowed_callers": listOf(text()), "output_schema": openObject(), "defer_loading": flag()}),
		"custom": record(map[string]*shape{"type!": text(), "name!": functionName, "description": text(), "format": customFormat,
			"async": flag(), "allowed_callers": listOf(text()), "defer_loading": flag()}),
		"file_search":      sealedType("vector_store_ids"),
		"code_interpreter": sealedType("container"),
		"mcp":              sealedType("server_label"),
	})
	for _, tag := range toolTags {
		if s.byTag[tag] == nil {
			s.byTag[tag] = sealedType()
		}
	}
	s.byTag["namespace"] = record(map[string]*shape{"type!": text(), "name!": functionName, "description!": text(), "tools!": listOf(s)})
	return s
}()

var responsesToolChoice = func() *shape {
	s := &shape{kind: str | object, enum: []string{"none", "auto", "required"}, tag: "type", tagParam: ".type", byTag: map[string]*shape{
		"function":      record(map[string]*shape{"type!": text(), "name!": text(), "namespace": text()}),
		"custom":        record(map[string]*shape{"type!": text(), "name!": text(), "namespace": text()}),
		"mcp":           record(map[string]*shape{"type!": text(), "server_label!": text(), "name": text()}),
		"allowed_tools": record(map[string]*shape{"type!": text(), "mode!": oneOf("auto", "required"), "tools!": listOf(openObject())}),
	}}
	for _, tag := range toolTags {
		if s.byTag[tag] == nil && tag != "namespace" && tag != "tool_search" {
			s.byTag[tag] = record(map[string]*shape{"type!": text()})
		}
	}
	s.tags = slices.Sorted(maps.Keys(s.byTag))
	return s
}()

// Content parts of input messages.

var inputParts = map[string]*shape{
	"input_text": record(map[string]*shape{"type!": text(), "text!": text(), "prompt_cache_breakpoint": breakpoint}),
	"input_image": record(map[string]*shape{"type!": text(), "image_url": {kind: str, expect: "an image URL"}, "file_id": text(),
		"detail": oneOf("low", "high", "auto", "original"), "prompt_cache_breakpoint": breakpoint}),
	"input_file": record(map[string]*shape{"type!": text(), "file_data": text(), "file_id": text(), "file_url": text(), "filename": text(),
		"detail": oneOf("auto", "low", "high"), "prompt_cache_breakpoint": breakpoint}),
	"input_audio": record(map[string]*shape{"type!": text(), "input_audio!": record(map[string]*shape{"data!": text(), "format!": oneOf("mp3", "wav")})}),
}

var outputParts = map[string]*shape{
	"output_text": record(map[string]*shape{"type!": text(), "text!": text(), "annotations": listOf(openObject()), "logprobs": listOf(openObject())}),
	"refusal":     record(map[string]*shape{"type!": text(), "refusal!": text()}),
}

// partTags is what OpenAI lists when a part has no known type at all.
var partTags = []string{"input_text", "input_image", "input_audio", "output_text", "refusal", "input_file", "computer_screenshot", "summary_text", "encrypted_content"}

// parts is a list of content parts. A type that exists but does not belong here is an error about the part, one
// that does not exist an error about its type.
func parts(byTag map[string]*shape, order ...string) *shape {
	item := &shape{kind: object, tag: "type", tags: order, byTag: byTag}
	return textOr(&shape{kind: object, also: func(path string, v any) *apiError {
		part := v.(map[string]any)
		if kind := stringOf(part["type"]); kind != "" && !slices.Contains(partTags, kind) {
			return wrongValue(path+".type", kind, partTags)
		}
		return item.check(path, part)
	}})
}

// itemShape is one type of input item: its members, and the prefix of its id.
func itemShape(prefix string, fields map[string]*shape) *shape {
	s := record(fields)
	s.fields["type"], s.fields["id"] = text(), itemID(prefix)
	return s
}

var (
	callID     = &shape{kind: str, nonEmpty: true, maxLen: 64}
	itemStatus = oneOf("in_progress", "completed", "incomplete")
	outputText = parts(inputParts, "input_text", "input_image", "input_file")
	toolOutput = map[string]*shape{"call_id!": callID, "output!": outputText, "status": itemStatus, "name": text(), "caller": openObject()}
)

var messageRoles = []string{"assistant", "system", "developer", "user"}

// messageItem is a message of any role; the role decides what its content may be.
var messageItem = &shape{kind: object, also: func(path string, v any) *apiError {
	content := parts(inputParts, "input_text", "input_image", "input_file")
	if v.(map[string]any)["role"] == "assistant" {
		content = parts(outputParts, "output_text", "refusal")
	}
	s := itemShape("msg", map[string]*shape{"role!": oneOf(messageRoles...), "content!": content, "status": itemStatus,
		"phase": oneOf("commentary", "final_answer")})
	s.oddFirst = v.(map[string]any)["role"] != "tool"
	return s.check(path, v)
}}

var reasoningItemShape = itemShape("rs", map[string]*shape{
	"summary!":          listOf(record(map[string]*shape{"type!": oneOf("summary_text"), "text!": text()})),
	"content":           {kind: array, also: noRawReasoning},
	"encrypted_content": text(), "status": itemStatus})

// noRawReasoning: OpenAI's own models show no raw reasoning, so none can come back.
func noRawReasoning(path string, v any) *apiError {
	if n := len(v.([]any)); n > 0 {
		return refuse(path, "array_above_max_length", "Invalid '%s': array too long. Expected an array with maximum length 0, but got an array with length %d instead.", path, n)
	}
	return nil
}

// inputItem is every type of input item.
var inputItem = func() *shape {
	s := &shape{kind: object, tag: "type", byTag: map[string]*shape{
		"message":                 messageItem,
		"reasoning":               reasoningItemShape,
		"item_reference":          record(map[string]*shape{"type": text(), "id!": text()}),
		"function_call":           itemShape("fc", map[string]*shape{"call_id!": callID, "name!": functionName, "arguments!": text(), "namespace": text(), "status": itemStatus, "async": flag(), "caller": openObject()}),
		"function_call_output":    itemShape("fco", toolOutput),
		"custom_tool_call":        itemShape("ctc", map[string]*shape{"call_id!": callID, "name!": functionName, "input!": text(), "namespace": text(), "status": itemStatus, "async": flag(), "caller": openObject()}),
		"custom_tool_call_output": itemShape("ctco", toolOutput),
		"tool_search_call":        itemShape("tsc", map[string]*shape{"call_id": callID, "arguments!": free(), "execution": oneOf("server", "client"), "status": itemStatus}),
		"tool_search_output":      itemShape("tso", map[string]*shape{"call_id": callID, "tools!": listOf(responsesTool), "execution": oneOf("server", "client"), "status": itemStatus}),
		"additional_tools":        itemShape("at", map[string]*shape{"role!": oneOf("developer"), "tools!": listOf(responsesTool)}),
		"local_shell_call":        itemShape("lsh", map[string]*shape{"call_id!": callID, "action!": openObject(), "status": itemStatus}),
		"local_shell_call_output": itemShape("", map[string]*shape{"call_id": callID, "output!": text(), "status": itemStatus}),
		"shell_call":              itemShape("sh", map[string]*shape{"call_id!": callID, "action!": openObject(), "status": itemStatus, "environment": openObject(), "caller": openObject()}),
		"shell_call_output":       itemShape("sh", map[string]*shape{"call_id!": callID, "output!": listOf(openObject()), "status": itemStatus, "max_output_length": whole(0, 1e9), "caller": openObject()}),
		"apply_patch_call":        itemShape("apc", map[string]*shape{"call_id!": callID, "operation!": openObject(), "status!": oneOf("in_progress", "completed"), "caller": openObject()}),
		"apply_patch_call_output": itemShape("apc", map[string]*shape{"call_id!": callID, "output": text(), "status!": oneOf("completed", "failed"), "caller": openObject()}),
		"computer_call":           itemShape("cu", map[string]*shape{"call_id!": callID, "action": openObject(), "actions": listOf(openObject()), "pending_safety_checks": listOf(openObject()), "status": itemStatus}),
		"computer_call_output":    itemShape("cu", map[string]*shape{"call_id!": callID, "output!": openObject(), "acknowledged_safety_checks": listOf(openObject()), "status": itemStatus}),
	}}
	for tag, prefix := range map[string]string{"file_search_call": "fs", "web_search_call": "ws", "image_generation_call": "ig", "code_interpreter_call": "ci",
		"mcp_list_tools": "mcpl", "mcp_approval_request": "mcpr", "mcp_approval_response": "", "mcp_call": "mcp", "compaction": "cmp",
		"compaction_trigger": "", "configuration_update": "", "program": "", "program_output": ""} {
		open := sealedType()
		open.fields["id"] = itemID(prefix)
		s.byTag[tag] = open
	}
	s.tags = slices.Sorted(maps.Keys(s.byTag))
	return s
}()

// checkItem checks one input item. One without a type is a message if it has a role, else a reference.
func checkItem(path string, item map[string]any) *apiError {
	if isReference(item) {
		return inputItem.byTag["item_reference"].check(path, item)
	}
	if _, typed := item["type"]; !typed {
		return messageItem.check(path, item)
	}
	return inputItem.check(path, item)
}

// checkResponses returns what OpenAI says to a faulty request to /v1/responses.
func checkResponses(body map[string]any, mem *memory, _ *dialect) *apiError {
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if to := moved[name]; to != "" {
			return unsupportedParameter(name, ". In the Responses API, this parameter has moved to '"+to+"'. Try again with the new parameter. See the API documentation for more information: https://platform.openai.com/docs/api-reference/responses/create.")
		}
		if responsesRequest.fields[name] == nil {
			return unknownParameter(name)
		}
	}
	if err := presence(body); err != nil {
		return err
	}
	if err := responsesRequest.check("", body); err != nil {
		return err
	}
	for i, item := range objectsOf(body["input"]) {
		if err := checkItem(fmt.Sprintf("input[%d]", i), item); err != nil {
			return err
		}
	}
	for _, rule := range []func(map[string]any, *memory) *apiError{
		stateRule, toolsRule, formatRule, backgroundRule, pairingRule, reasoningRule, reasoningModelRule,
	} {
		if err := rule(body, mem); err != nil {
			return err
		}
	}
	return nil
}

func presence(body map[string]any) *apiError {
	model, ok := body["model"]
	switch {
	case !ok && body["prompt"] == nil:
		return missingParameter("model")
	case ok && model == nil:
		return wrongType("model", "a string", nil)
	case model == "":
		return refuse("model", "model_not_found", "The requested model '' does not exist.")
	}
	for _, name := range []string{"previous_response_id", "conversation", "prompt"} {
		if body[name] != nil {
			return nil
		}
	}
	input, ok := body["input"]
	if !ok {
		return missingParameter("input")
	}
	if input == nil {
		return wrongType("input", responsesRequest.fields["input"].expected(), nil)
	}
	if list, ok := input.([]any); input == "" || ok && len(list) == 0 {
		return refuse("input", "missing_required_parameter", "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.")
	}
	return nil
}

// stateRule checks what a request says of stored things: earlier responses, conversations, prompts, items.
func stateRule(body map[string]any, mem *memory) *apiError {
	previous, conversation := stringOf(body["previous_response_id"]), body["conversation"]
	if previous != "" && conversation != nil {
		return refuse("previous_response_id", "mutually_exclusive_parameters", "Mutually exclusive parameters: Ensure you are only providing one of: 'previous_response_id' or 'conversation'.")
	}
	if previous != "" {
		if _, ok := mem.conversation(previous); !ok {
			return noPreviousResponse(previous)
		}
	}
	if conversation != nil {
		id := stringOf(conversation)
		if m, ok := conversation.(map[string]any); ok {
			id = stringOf(m["id"])
		}
		return notFound("conversation", "Conversation with id '"+id+"' not found.")
	}
	if prompt := objectAt(body, "prompt"); prompt != nil {
		return notFound(nil, "Prompt with id '"+stringOf(prompt["id"])+"' not found.")
	}
	for _, item := range objectsOf(body["input"]) {
		id := stringOf(item["id"])
		if _, ok := mem.item(id); isReference(item) && !ok {
			return notFound("input", "Item with id '"+id+"' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.")
		}
	}
	return nil
}

func notFound(param any, message string) *apiError {
	return &apiError{status: 404, kind: "invalid_request_error", param: param, message: message}
}

func noPreviousResponse(id string) *apiError {
	return refuse("previous_response_id", "previous_response_not_found", "Previous response with id '%s' not found.", id)
}

// toolsRule checks names, strict schemas and tool_choice over all tools, those of additional_tools items included.
func toolsRule(body map[string]any, _ *memory) *apiError {
	tools := objectsOf(body["tools"])
	named := map[string]bool{}
	for i, t := range tools {
		if err := checkTool(t, fmt.Sprintf("tools[%d]", i), named); err != nil {
			return err
		}
	}
	for _, item := range objectsOf(body["input"]) {
		tools = append(tools, objectsOf(item["tools"])...)
	}
	for _, t := range tools {
		named[stringOf(t["type"])+"/"+stringOf(t["name"])] = true
	}
	if choice := body["tool_choice"]; choice == "required" && len(tools) == 0 {
		return refuse("tool_choice", nil, "Tool choice 'required' must be specified with 'tools' parameter.")
	}
	choice, _ := body["tool_choice"].(map[string]any)
	kind, name := stringOf(choice["type"]), stringOf(choice["name"])
	if choice == nil || kind == "allowed_tools" || kind == "mcp" {
		return nil
	}
	if !named[kind+"/"+name] && !named["namespace/"+stringOf(choice["namespace"])] {
		return refuse("tool_choice", nil, "Tool choice '%s' not found in 'tools' parameter.", kind)
	}
	return nil
}

func checkTool(t map[string]any, at string, named map[string]bool) *apiError {
	kind, name := stringOf(t["type"]), stringOf(t["name"])
	if kind == "namespace" {
		inner := map[string]bool{}
		for i, t := range objectsOf(t["tools"]) {
			if err := checkTool(t, fmt.Sprintf("%s.tools[%d]", at, i), inner); err != nil {
				return err
			}
		}
	}
	if name == "" {
		return nil
	}
	if named[name] {
		return refuse(at+".name", "invalid_value", "Tool names must be unique: '%s' appears more than once.", name)
	}
	named[name] = true
	if kind == "function" && t["strict"] == true {
		return strictSchema("function '"+name+"'", t["parameters"], at+".parameters", "invalid_function_parameters")
	}
	return nil
}

func formatRule(body map[string]any, _ *memory) *apiError {
	format := objectAt(objectAt(body, "text"), "format")
	switch format["type"] {
	case "json_object":
		for _, item := range inputItems(body) {
			if text, _ := content(item["content"]); strings.Contains(strings.ToLower(text), "json") {
				return nil
			}
		}
		return refuse("input", nil, "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.")
	case "json_schema":
		if format["strict"] == true {
			return strictSchema("response_format '"+stringOf(format["name"])+"'", format["schema"], "text.format.schema", "invalid_json_schema")
		}
	}
	return nil
}

func backgroundRule(body map[string]any, _ *memory) *apiError {
	if body["background"] != true {
		return nil
	}
	if body["store"] == false {
		return refuse("background", nil, "Background responses must be stored. Set 'store' to true to use 'background'.")
	}
	return unsupportedParameter("background", " is not supported by this fake server.")
}

// pairingRule checks that every call has one output and every output a call, wherever they stand in the list,
// what an earlier response holds included. That the ids of two calls must differ is known, its wording is not.
func pairingRule(body map[string]any, mem *memory) *apiError {
	calls, outputs := map[string]string{}, map[string]bool{}
	var order []string
	seen := map[string]bool{}
	for _, item := range mem.history(body, dialects["openai"]) {
		if id := stringOf(item["id"]); id != "" {
			if seen[id] {
				return refuse("input", nil, "Duplicate item found with id %s. Remove duplicate items from your input and try again.", id)
			}
			seen[id] = true
		}
		kind, id := stringOf(item["type"]), stringOf(item["call_id"])
		word := callWords[kind]
		switch {
		case word == "" || id == "":
		case strings.HasSuffix(kind, "_output"):
			if calls[id] != word {
				return refuse("input", nil, "No tool call found for %s output with call_id %s.", word, id)
			}
			outputs[id] = true
		case calls[id] != "":
			return refuse("input", nil, "Duplicate call_id '%s' found in input. Each %s must have a unique call_id.", id, word)
		default:
			calls[id] = word
			order = append(order, id)
		}
	}
	for _, id := range order {
		if !outputs[id] {
			return refuse("input", nil, "No tool output found for %s %s.", calls[id], id)
		}
	}
	return nil
}

// callWords are how OpenAI's messages name calls. Hosted tools have no outputs of their own.
var callWords = map[string]string{
	"function_call": "function call", "function_call_output": "function call",
	"custom_tool_call": "custom tool call", "custom_tool_call_output": "custom tool call",
	"shell_call": "shell call", "shell_call_output": "shell call",
	"apply_patch_call": "apply patch call", "apply_patch_call_output": "apply patch call",
	"computer_call": "computer call", "computer_call_output": "computer call",
}

// reasoningRule checks reasoning items: each is followed by what it led to, and its sealed content is this
// server's own. An item whose id this server gave out must keep the reasoning before it.
func reasoningRule(body map[string]any, mem *memory) *apiError {
	history := mem.history(body, dialects["openai"])
	given := map[string]bool{}
	for _, item := range history {
		given[stringOf(item["id"])] = true
	}
	for i, item := range history {
		id := stringOf(item["id"])
		if item["type"] != "reasoning" {
			if needs := mem.reasonFor(id); needs != "" && !given[needs] {
				return refuse("input", nil, "Item '%s' of type '%s' was provided without its required 'reasoning' item: '%s'.", id, item["type"], needs)
			}
			continue
		}
		if sealed := stringOf(item["encrypted_content"]); sealed != "" {
			if _, ok := unseal(sealed); !ok {
				return refuse(nil, "invalid_encrypted_content", "The encrypted content for item %s could not be verified. Reason: Encrypted content could not be decrypted or parsed.", id)
			}
		} else if _, known := mem.item(id); !known {
			return notFound("input", "Item with id '"+id+"' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.")
		}
		if i+1 == len(history) || !madeByModel(history[i+1]) {
			return refuse("input", nil, "Item '%s' of type 'reasoning' was provided without its required following item.", id)
		}
	}
	return nil
}

func madeByModel(item map[string]any) bool {
	kind := stringOf(item["type"])
	return kind == "reasoning" || strings.HasSuffix(kind, "_call") || item["role"] == "assistant"
}

func reasoningModelRule(body map[string]any, _ *memory) *apiError {
	if !reasoningModel.MatchString(stringOf(body["model"])) {
		return nil
	}
	return samplingRule(body, "temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs")
}
