package fakeopenai

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// refusal is one thing that a compatible server refuses of its own.
type refusal func(a *ask) *apiError

func itoa(n int) string { return strconv.Itoa(n) }

// refuseCustomTools: a server that knows function tools and no others.
func refuseCustomTools(a *ask) *apiError {
	for i, t := range objectsOf(a.body["tools"]) {
		if t["type"] != "function" {
			return refuse(fmt.Sprintf("tools[%d].type", i), "invalid_value", "type of tool must be function")
		}
	}
	return nil
}

// refuseDeveloper: chat templates know the roles system, user, assistant and tool.
func refuseDeveloper(a *ask) *apiError {
	for i, t := range a.turns {
		if t.role == "developer" {
			return refuse(nil, nil, "messages[%d].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`", i)
		}
	}
	return nil
}

// refuseMiddleSystem and refuseTwoAssistants are what llama.cpp says when a template raises. It is a 500.
func refuseMiddleSystem(a *ask) *apiError {
	for i, t := range a.turns {
		if i > 0 && (t.role == "system" || t.role == "developer") {
			return templateError(a, "System message must be at the beginning.")
		}
	}
	return nil
}

func refuseTwoAssistants(a *ask) *apiError {
	for i, t := range a.turns {
		if i > 0 && t.role == "assistant" && a.turns[i-1].role == "assistant" {
			return templateError(a, "Conversation roles must alternate user/assistant/user/assistant/...")
		}
	}
	return nil
}

func templateError(a *ask, what string) *apiError {
	if a.d.family == "llama.cpp" {
		return &apiError{status: 500, kind: "server_error", message: "Error rendering prompt with jinja template: \"" + what + "\""}
	}
	return refuse("messages", nil, "%s", what)
}

func refuseReasoningWithoutContent(a *ask) *apiError {
	for _, item := range objectsOf(a.body["input"]) {
		if _, ok := item["content"].([]any); item["type"] == "reasoning" && !ok {
			return refuse(nil, nil, "item['content'] is not an array")
		}
	}
	return nil
}

// refuseThinkLevel: Ollama takes a level only for models that have levels. Those of this package that reason do.
func refuseThinkLevel(a *ask) *apiError {
	effort := stringOf(a.body["reasoning_effort"])
	if effort == "" {
		effort = stringOf(objectAt(a.body, "reasoning")["effort"])
	}
	if effort == "" || effort == "none" || strings.Contains(a.scenario, "reasoning") || a.scenario == "demo" {
		return nil
	}
	return refuse(nil, nil, "think value %q is not supported for this model", effort)
}

// mistralFields are the members of Mistral's requests; the others those of an object inside. It knows
// stream_options, but not that it may hold include_usage.
var mistralFields = map[string][]string{
	"": {"model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata", "response_format",
		"tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction", "parallel_tool_calls", "prompt_mode",
		"reasoning_effort", "safe_prompt", "guardrails", "prompt_cache_key", "stream_options"},
	"stream_options": {"include_obfuscation"},
	"system":         {"role", "content"},
	"user":           {"role", "content"},
	"assistant":      {"role", "content", "tool_calls", "prefix"},
	"tool":           {"role", "content", "tool_call_id", "name"},
}

func refuseExtraFields(a *ask) *apiError {
	if err := extraFields(a.body, mistralFields[""], []any{"body"}); err != nil {
		return err
	}
	if err := extraFields(objectAt(a.body, "stream_options"), mistralFields["stream_options"], []any{"body", "stream_options"}); err != nil {
		return err
	}
	for i, m := range objectsOf(a.body["messages"]) {
		role := stringOf(m["role"])
		if mistralFields[role] == nil {
			return unprocessable([]any{"body", "messages", i}, "union_tag_invalid",
				"Input tag '"+role+"' found using 'role' does not match any of the expected tags: 'assistant', 'system', 'tool', 'user'", m)
		}
		if err := extraFields(m, mistralFields[role], []any{"body", "messages", i, role}); err != nil {
			return err
		}
	}
	for i, t := range objectsOf(a.body["tools"]) {
		if t["type"] != "function" {
			return unprocessable([]any{"body", "tools", i, "type"}, "enum", "Input should be 'function'", t["type"])
		}
	}
	return nil
}

func extraFields(m map[string]any, known []string, loc []any) *apiError {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, name) {
			return unprocessable(append(slices.Clone(loc), name), "extra_forbidden", "Extra inputs are not permitted", m[name])
		}
	}
	return nil
}

// unprocessable is Mistral's 422: the verdict of its validator stands where others have the message.
func unprocessable(loc []any, kind, msg string, input any) *apiError {
	err := refuse(nil, nil, "%s", msg)
	err.status = 422
	err.detail = obj{{"detail", []any{obj{{"type", kind}, {"loc", loc}, {"msg", msg}, {"input", input}}}}}
	return err
}

func refuseRequired(a *ask) *apiError {
	if a.body["tool_choice"] == "required" {
		return unprocessable([]any{"body", "tool_choice"}, "enum", "Input should be 'auto', 'none' or 'any'", "required")
	}
	return nil
}

var mistralCallID = regexp.MustCompile(`^[a-zA-Z0-9]{9}$`)

func refuseLongCallIDs(a *ask) *apiError {
	for _, t := range a.turns {
		ids := []string{t.callID}
		for _, c := range t.calls {
			ids = append(ids, c.id)
		}
		for _, id := range ids {
			if id != "" && !mistralCallID.MatchString(id) {
				return refuse(nil, "3280", "Tool call id was %s but must be a-z, A-Z, 0-9, with a length of 9.", id)
			}
		}
	}
	return nil
}

// refuseUnevenOutputs: each call is answered directly behind it, and nothing else is.
func refuseUnevenOutputs(a *ask) *apiError {
	if chatPairingRule(a.body) == nil {
		return nil
	}
	switch a.d.family {
	case "mistral":
		return refuse(nil, "3230", "Not the same number of function calls and responses")
	case "kimi":
		return refuse(nil, nil, "Invalid request: tool_call_id is not found")
	}
	err := chatPairingRule(a.body)
	err.code = "invalid_request_error"
	return err
}

// refuseForgottenReasoning: DeepSeek wants the reasoning of a tool loop back on each message that called.
func refuseForgottenReasoning(a *ask) *apiError {
	for _, m := range objectsOf(a.body["messages"]) {
		if _, ok := m["reasoning_content"].(string); m["tool_calls"] != nil && !ok {
			return refuse(nil, "invalid_request_error", "The `reasoning_content` in the thinking mode must be passed back to the API.")
		}
	}
	return nil
}

func refuseReasoningContent(a *ask) *apiError {
	for i, m := range objectsOf(a.body["messages"]) {
		if _, ok := m["reasoning_content"]; ok {
			return refuse(nil, nil, "'messages.%d' : for 'role:assistant' the following must be satisfied[('messages.%d' : property 'reasoning_content' is unsupported)]", i, i)
		}
	}
	return nil
}

// refuseUnsigned: Gemini wants the thought signature back that it put on the first call of a step.
func refuseUnsigned(a *ask) *apiError {
	for i, m := range objectsOf(a.body["messages"]) {
		calls := objectsOf(m["tool_calls"])
		if len(calls) == 0 {
			continue
		}
		extra := objectAt(calls[0], "extra_content")
		signature := stringOf(objectAt(extra, "google")["thought_signature"])
		if signature == "" {
			signature = stringOf(objectAt(extra, "vertex")["thought_signature"])
		}
		name := stringOf(objectAt(calls[0], "function")["name"])
		if signature == "" {
			return refuse(nil, nil, "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:%s` , position %d.", name, i+1)
		}
		if signature != "skip_thought_signature_validator" && signature != thoughtSignature(name) {
			return refuse(nil, nil, "Thought signature is not valid")
		}
	}
	return nil
}

func thoughtSignature(name string) string { return scramble("signature/"+name, 44) }

func refuseTemperature(a *ask) *apiError {
	if f, ok := floatOf(a.body["temperature"]); ok && f != 1 {
		return refuse(nil, nil, "invalid temperature: only 1 is allowed for this model")
	}
	return nil
}

// refuseForGLM: the parameters that Z.ai's endpoint does not know.
func refuseForGLM(a *ask) *apiError {
	for _, name := range []string{"max_completion_tokens", "stream_options", "presence_penalty", "frequency_penalty"} {
		if a.body[name] != nil {
			return refuse(nil, nil, "API 调用参数有误，请检查文档。(%s)", name)
		}
	}
	if choice := a.body["tool_choice"]; choice != nil && choice != "auto" {
		return refuse(nil, nil, "tool_choice: only auto is supported")
	}
	for _, t := range objectsOf(a.body["tools"]) {
		if objectAt(t, "function")["strict"] != nil {
			return refuse(nil, nil, "API 调用参数有误，请检查文档。(strict)")
		}
	}
	for _, m := range objectsOf(a.body["messages"]) {
		if m["name"] != nil {
			return refuse(nil, nil, "API 调用参数有误，请检查文档。(name)")
		}
	}
	return nil
}
