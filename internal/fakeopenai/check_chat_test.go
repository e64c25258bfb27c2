package fakeopenai

import (
	"fmt"
	"strings"
	"testing"
)

// chatBody is a good request with extra members put behind it.
func chatBody(extra string) string {
	return `{"model":"m","messages":[{"role":"user","content":"Say json"}]` + extra + `}`
}

func chatMessages(messages string) string { return `{"model":"m","messages":[` + messages + `]}` }

const (
	weatherTool = `{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}}`
	callA       = `{"id":"call_a","type":"function","function":{"name":"f","arguments":"{}"}}`
	callB       = `{"id":"call_b","type":"function","function":{"name":"f","arguments":"{}"}}`
	userHi      = `{"role":"user","content":"hi"}`
)

func outputOf(id string) string { return `{"role":"tool","tool_call_id":"` + id + `","content":"x"}` }

var chatRefusals = []struct {
	name, body           string
	message, param, code string
}{
	{"no model", `{"messages":[` + userHi + `]}`, "you must provide a model parameter", `null`, `null`},
	{"null model", `{"model":null,"messages":[` + userHi + `]}`, "Invalid type for 'model': expected a string, but got null instead.", `"model"`, `"invalid_type"`},
	{"no messages", `{"model":"m"}`, "Missing required parameter: 'messages'.", `"messages"`, `"missing_required_parameter"`},
	{"empty messages", chatMessages(""), "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", `"messages"`, `"empty_array"`},
	{"messages of a wrong type", `{"model":"m","messages":"hi"}`, "Invalid type for 'messages': expected an array of objects, but got a string instead.", `"messages"`, `"invalid_type"`},
	{"unknown parameter", chatBody(`,"input":"x"`), "Unknown parameter: 'input'.", `"input"`, `"unknown_parameter"`},
	{"vendor's parameter", chatBody(`,"top_k":3`), "Unknown parameter: 'top_k'.", `"top_k"`, `"unknown_parameter"`},
	{"responses' limit", chatBody(`,"max_output_tokens":30`), "Unknown parameter: 'max_output_tokens'.", `"max_output_tokens"`, `"unknown_parameter"`},
	{"unknown stream option", chatBody(`,"stream":true,"stream_options":{"x":1}`), "Unknown parameter: 'stream_options.x'.", `"stream_options.x"`, `"unknown_parameter"`},
	{"stream options without stream", chatBody(`,"stream_options":{"include_usage":true}`), "The 'stream_options' parameter is only allowed when 'stream' is enabled.", `"stream_options"`, `null`},
	{"both limits", chatBody(`,"max_tokens":5,"max_completion_tokens":5`), "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", `"max_tokens"`, `"invalid_parameter_combination"`},

	{"temperature as text", chatBody(`,"temperature":"hot"`), "Invalid type for 'temperature': expected a decimal, but got a string instead.", `"temperature"`, `"invalid_type"`},
	{"temperature too high", chatBody(`,"temperature":2.5`), "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.", `"temperature"`, `"decimal_above_max_value"`},
	{"n as decimal", chatBody(`,"n":1.5`), "Invalid type for 'n': expected an integer, but got a decimal instead.", `"n"`, `"invalid_type"`},
	{"too many copies", chatBody(`,"n":129`), "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 129 instead.", `"n"`, `"integer_above_max_value"`},
	{"n of zero", chatBody(`,"n":0`), "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.", `"n"`, `"integer_below_min_value"`},
	{"stream as text", chatBody(`,"stream":"yes"`), "Invalid type for 'stream': expected a boolean, but got a string instead.", `"stream"`, `"invalid_type"`},
	{"five stops", chatBody(`,"stop":["a","b","c","d","e"]`), "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.", `"stop"`, `"array_above_max_length"`},
	{"stop of a wrong type", chatBody(`,"stop":1`), "Invalid type for 'stop': expected one of a string or array of strings, but got an integer instead.", `"stop"`, `"invalid_type"`},
	{"effort", chatBody(`,"reasoning_effort":"enormous"`), "Invalid value: 'enormous'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'.", `"reasoning_effort"`, `"invalid_value"`},
	{"metadata of numbers", chatBody(`,"metadata":{"a":1}`), "Invalid type for 'metadata.a': expected a string, but got an integer instead.", `"metadata.a"`, `"invalid_type"`},
	{"max_tokens on a reasoning model", strings.Replace(chatBody(`,"max_tokens":5`), `"m"`, `"gpt-5/fake-text"`, 1), "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", `"max_tokens"`, `"unsupported_parameter"`},
	{"temperature on a reasoning model", strings.Replace(chatBody(`,"temperature":0.2`), `"m"`, `"o3"`, 1), "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", `"temperature"`, `"unsupported_value"`},
	{"penalty on a reasoning model", strings.Replace(chatBody(`,"presence_penalty":1`), `"m"`, `"gpt-6-pro"`, 1), "Unsupported parameter: 'presence_penalty' is not supported with this model.", `"presence_penalty"`, `"unsupported_parameter"`},

	{"unknown role", chatMessages(`{"role":"robot","content":"x"}`), "Invalid value: 'robot'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", `"messages[0].role"`, `"invalid_value"`},
	{"no role", chatMessages(`{"content":"x"}`), "Missing required parameter: 'messages[0].role'.", `"messages[0].role"`, `"missing_required_parameter"`},
	{"null content", chatMessages(`{"role":"user","content":null}`), "Invalid value for 'content': expected a string, got null.", `"messages.[0].content"`, `null`},
	{"assistant with nothing", chatMessages(`{"role":"assistant"}`), "Invalid value for 'content': expected a string, got null.", `"messages.[0].content"`, `null`},
	{"content as object", chatMessages(`{"role":"user","content":{}}`), "Invalid type for 'messages[0].content': expected one of a string or array of objects, but got an object instead.", `"messages[0].content"`, `"invalid_type"`},
	{"unknown message member", chatMessages(`{"role":"user","content":"x","reasoning_content":"y"}`), "Unknown parameter: 'messages[0].reasoning_content'.", `"messages[0].reasoning_content"`, `"unknown_parameter"`},
	{"input_text part", chatMessages(`{"role":"user","content":[{"type":"input_text","text":"x"}]}`), "Invalid value: 'input_text'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', 'audio', and 'file'.", `"messages[0].content[0].type"`, `"invalid_value"`},
	{"flat image", chatMessages(`{"role":"user","content":[{"type":"image_url","image_url":"https://x/y.png"}]}`), "Invalid type for 'messages[0].content[0].image_url': expected an object, but got a string instead.", `"messages[0].content[0].image_url"`, `"invalid_type"`},
	{"image in a tool message", chatMessages(`{"role":"tool","tool_call_id":"a","content":[{"type":"image_url","image_url":{"url":"x"}}]}`), "Invalid value: 'image_url'. Value must be 'text'.", `"messages[0].content[0].type"`, `"invalid_value"`},
	{"null tool_calls", chatMessages(`{"role":"assistant","content":"x","tool_calls":null}`), "Invalid type for 'messages[0].tool_calls': expected an array of objects, but got null instead.", `"messages[0].tool_calls"`, `"invalid_type"`},
	{"empty tool_calls", chatMessages(`{"role":"assistant","content":"x","tool_calls":[]}`), "Invalid 'messages[0].tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead.", `"messages[0].tool_calls"`, `"empty_array"`},
	{"flat call", chatMessages(`{"role":"assistant","tool_calls":[{"id":"a","type":"function","name":"f","arguments":"{}"}]}`), "Missing required parameter: 'messages[0].tool_calls[0].function'.", `"messages[0].tool_calls[0].function"`, `"missing_required_parameter"`},
	{"arguments as object", chatMessages(`{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":{}}}]}`), "Invalid type for 'messages[0].tool_calls[0].function.arguments': expected a string, but got an object instead.", `"messages[0].tool_calls[0].function.arguments"`, `"invalid_type"`},

	{"unanswered calls", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `,` + callB + `]},` + outputOf("call_a") + `,` + userHi), "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_b", `"messages.[3].role"`, `null`},
	{"unanswered at the end", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]}`), "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_a", `"messages.[2].role"`, `null`},
	{"something between call and output", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},{"role":"developer","content":"x"},` + outputOf("call_a")), "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_a", `"messages.[2].role"`, `null`},
	{"orphan output", chatMessages(userHi + `,` + outputOf("call_a")), "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", `"messages.[1].role"`, `null`},
	{"orphan output at the start", chatMessages(outputOf("call_a")), "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", `"messages.[0].role"`, `null`},
	{"a second output, later", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_a") + `,` + userHi + `,` + outputOf("call_a")), "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", `"messages.[4].role"`, `null`},
	{"output of another call", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_x")), "Invalid parameter: 'tool_call_id' of 'call_x' not found in 'tool_calls' of previous message.", `"messages.[2].tool_call_id"`, `null`},
	{"two outputs of a call", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_a") + `,` + outputOf("call_a")), "Invalid parameter: Duplicate value for 'tool_call_id' of 'call_a', in messages[2] and messages[3].", `"messages.[3].tool_call_id"`, `null`},
	{"two calls of one id", chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `,` + callA + `]},` + outputOf("call_a")), "Invalid parameter: Duplicate value for 'id' of 'call_a' in 'tool_calls' of messages[1].", `"messages.[1].tool_calls.[1].id"`, `null`},

	{"flat tool", chatBody(`,"tools":[{"type":"function","name":"f","parameters":{}}]`), "Missing required parameter: 'tools[0].function'.", `"tools[0].function"`, `"missing_required_parameter"`},
	{"hosted tool", chatBody(`,"tools":[{"type":"web_search"}]`), "Invalid value: 'web_search'. Supported values are: 'function' and 'custom'.", `"tools[0].type"`, `"invalid_value"`},
	{"no tools", chatBody(`,"tools":[]`), "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.", `"tools"`, `"empty_array"`},
	{"name with a dot", chatBody(`,"tools":[{"type":"function","function":{"name":"a.b"}}]`), "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", `"tools[0].function.name"`, `"invalid_value"`},
	{"long name", chatBody(`,"tools":[{"type":"function","function":{"name":"` + strings.Repeat("a", 65) + `"}}]`), "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.", `"tools[0].function.name"`, `"string_above_max_length"`},
	{"two tools of one name", chatBody(`,"tools":[` + weatherTool + `,` + weatherTool + `]`), "Tool names must be unique: 'get_weather' appears more than once.", `"tools[1].function.name"`, `"invalid_value"`},
	{"flat grammar", chatBody(`,"tools":[{"type":"custom","custom":{"name":"p","format":{"type":"grammar","syntax":"lark","definition":"x"}}}]`), "Missing required parameter: 'tools[0].custom.format.grammar'.", `"tools[0].custom.format.grammar"`, `"missing_required_parameter"`},
	{"choice without tools", chatBody(`,"tool_choice":"auto"`), "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", `"tool_choice"`, `null`},
	{"parallel without tools", chatBody(`,"parallel_tool_calls":true`), "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.", `"parallel_tool_calls"`, `null`},
	{"flat choice", chatBody(`,"tools":[` + weatherTool + `],"tool_choice":{"type":"function","name":"get_weather"}`), "Missing required parameter: 'tool_choice.function'.", `"tool_choice.function"`, `"missing_required_parameter"`},
	{"choice of another tool", chatBody(`,"tools":[` + weatherTool + `],"tool_choice":{"type":"function","function":{"name":"g"}}`), "Invalid value for 'tool_choice': no function named 'g' was specified in the 'tools' parameter.", `"tool_choice"`, `null`},
	{"Mistral's choice", chatBody(`,"tools":[` + weatherTool + `],"tool_choice":"any"`), "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.", `"tool_choice"`, `"invalid_value"`},
	{"strict but optional", chatBody(`,"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}}}]`), "Invalid schema for function 'f': In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'.", `"tools[0].function.parameters"`, `"invalid_function_parameters"`},
	{"strict but open", chatBody(`,"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{}}}}]`), "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be false.", `"tools[0].function.parameters"`, `"invalid_function_parameters"`},
	{"strict but open inside", chatBody(`,"response_format":{"type":"json_schema","json_schema":{"name":"r","strict":true,"schema":{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"type":"array","items":{"type":"object","properties":{}}}}}}}`), "Invalid schema for response_format 'r': In context=('properties', 'a', 'items'), 'additionalProperties' is required to be supplied and to be false.", `"response_format"`, `null`},
	{"flat format", chatBody(`,"response_format":{"type":"json_schema","name":"r","schema":{}}`), "Missing required parameter: 'response_format.json_schema'.", `"response_format.json_schema"`, `"missing_required_parameter"`},
	{"json unsaid", `{"model":"m","messages":[` + userHi + `],"response_format":{"type":"json_object"}}`, "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", `"messages"`, `null`},
	{"top_logprobs alone", chatBody(`,"top_logprobs":2`), "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", `"top_logprobs"`, `null`},
	{"too many top_logprobs", chatBody(`,"logprobs":true,"top_logprobs":21`), "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21 instead.", `"top_logprobs"`, `"integer_above_max_value"`},
}

func TestChatRefusals(t *testing.T) {
	s := New(Options{})
	for _, c := range chatRefusals {
		t.Run(c.name, func(t *testing.T) {
			status, body := send(s, "/v1/chat/completions", c.body)
			if status != 400 {
				t.Errorf("status %d", status)
			}
			same(t, body, openAIError(c.message, c.param, c.code))
		})
	}
}

// Requests that are unusual but right. A refusal of one of these would be the fake's mistake.
var chatAccepted = map[string]string{
	"nulls are absent":      chatBody(`,"temperature":null,"tools":null,"stop":null,"stream_options":null,"logit_bias":null,"n":null,"seed":null,"response_format":null,"tool_choice":null`),
	"two steps":             chatMessages(userHi + `,{"role":"assistant","content":null,"tool_calls":[` + callA + `]},` + outputOf("call_a") + `,{"role":"assistant","tool_calls":[` + callB + `]},` + outputOf("call_b")),
	"outputs in any order":  chatMessages(userHi + `,{"role":"assistant","content":"","tool_calls":[` + callA + `,` + callB + `]},` + outputOf("call_b") + `,` + outputOf("call_a") + `,` + userHi),
	"an id used again":      chatMessages(userHi + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_a") + `,{"role":"assistant","tool_calls":[` + callA + `]},` + outputOf("call_a")),
	"refusal only":          chatMessages(userHi + `,{"role":"assistant","content":null,"refusal":"no"},` + userHi),
	"names":                 chatMessages(`{"role":"system","name":"s","content":[{"type":"text","text":"x"}]},{"role":"user","name":"u","content":""}`),
	"file and audio":        chatMessages(`{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}},{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]}`),
	"custom tool":           chatBody(`,"tools":[{"type":"custom","custom":{"name":"p","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}}}],"tool_choice":{"type":"custom","custom":{"name":"p"}}`),
	"allowed tools":         chatBody(`,"tools":[` + weatherTool + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"get_weather"}}]}}`),
	"legacy functions":      chatMessages(userHi + `,{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"r"}`),
	"loose schema":          chatBody(`,"response_format":{"type":"json_schema","json_schema":{"name":"r","schema":{"type":"object","properties":{"a":{}}}}}`),
	"strict with $ref":      chatBody(`,"response_format":{"type":"json_schema","json_schema":{"name":"r","strict":true,"schema":{"type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":["string","null"]}}}}}`),
	"neutral on reasoning":  strings.Replace(chatBody(`,"temperature":1,"presence_penalty":0,"max_completion_tokens":50`), `"m"`, `"gpt-5"`, 1),
	"max_tokens elsewhere":  chatBody(`,"max_tokens":50,"temperature":0.2,"stop":"x","logit_bias":{"50256":-100},"seed":-1`),
	"json said by system":   chatMessages(`{"role":"system","content":"Answer in JSON."},` + userHi)[:len(chatMessages(`{"role":"system","content":"Answer in JSON."},`+userHi))-1] + `,"response_format":{"type":"json_object"}}`,
	"everything else known": chatBody(`,"store":true,"metadata":{"a":"b"},"user":"u","safety_identifier":"s","prompt_cache_key":"k","service_tier":"flex","verbosity":"low","prediction":{"type":"content","content":"x"},"modalities":["text"],"web_search_options":{}`),
}

func TestChatAccepts(t *testing.T) {
	s := New(Options{})
	for name, body := range chatAccepted {
		if status, answer := send(s, "/chat/completions", body); status != 200 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

// TestEveryChatMemberHasAType sends a value of a wrong type in every member, so that no row of the table is idle.
func TestEveryChatMemberHasAType(t *testing.T) {
	everyMember(t, chatRequest, func(name, value string) string {
		return fmt.Sprintf(`{"model":"m","messages":[%s],"stream":true,%q:%s}`, userHi, name, value)
	}, "/v1/chat/completions")
}

func everyMember(t *testing.T, table *shape, body func(name, value string) string, path string) {
	t.Helper()
	s := New(Options{})
	for name, field := range table.fields {
		if name == "model" || name == "messages" || name == "input" || name == "stream" {
			continue // these are in the body already
		}
		wrong := "true"
		if field.kind&boolean != 0 {
			wrong = `"x"`
		}
		status, answer := send(s, path, body(name, wrong))
		e, _ := parse(t, answer)["error"].(map[string]any)
		if status != 400 || e["code"] != "invalid_type" || e["param"] != name {
			t.Errorf("%s: %s gets %d %s", name, wrong, status, answer)
		}
	}
}
