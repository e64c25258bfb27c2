package fakeopenai

import (
	"fmt"
	"strings"
	"testing"
)

func input(items string) string { return `{"model":"m","input":[` + items + `]}` }

// inputBody is a good request with extra members put behind it.
func inputBody(extra string) string { return `{"model":"m","input":"Say json"` + extra + `}` }

const (
	itemHi   = `{"role":"user","content":"hi"}`
	itemCall = `{"type":"function_call","call_id":"call_a","name":"f","arguments":"{}"}`
	itemOut  = `{"type":"function_call_output","call_id":"call_a","output":"x"}`
	flatTool = `{"type":"function","name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}`
)

var responsesRefusals = []struct {
	name, body           string
	message, param, code string
}{
	{"messages", `{"model":"m","messages":[` + userHi + `]}`, "Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'. Try again with the new parameter. See the API documentation for more information: https://platform.openai.com/docs/api-reference/responses/create.", `"messages"`, `"unsupported_parameter"`},
	{"response_format", inputBody(`,"response_format":{"type":"text"}`), "Unsupported parameter: 'response_format'. In the Responses API, this parameter has moved to 'text.format'. Try again with the new parameter. See the API documentation for more information: https://platform.openai.com/docs/api-reference/responses/create.", `"response_format"`, `"unsupported_parameter"`},
	{"stop", inputBody(`,"stop":["x"]`), "Unknown parameter: 'stop'.", `"stop"`, `"unknown_parameter"`},
	{"n", inputBody(`,"n":1`), "Unknown parameter: 'n'.", `"n"`, `"unknown_parameter"`},
	{"seed", inputBody(`,"seed":1`), "Unknown parameter: 'seed'.", `"seed"`, `"unknown_parameter"`},
	{"logit_bias", inputBody(`,"logit_bias":{}`), "Unknown parameter: 'logit_bias'.", `"logit_bias"`, `"unknown_parameter"`},
	{"max_tokens", inputBody(`,"max_tokens":20`), "Unknown parameter: 'max_tokens'.", `"max_tokens"`, `"unknown_parameter"`},
	{"include_usage", inputBody(`,"stream":true,"stream_options":{"include_usage":true}`), "Unknown parameter: 'stream_options.include_usage'.", `"stream_options.include_usage"`, `"unknown_parameter"`},
	{"no model", `{"input":"hi"}`, "Missing required parameter: 'model'.", `"model"`, `"missing_required_parameter"`},
	{"null model", `{"model":null,"input":"hi"}`, "Invalid type for 'model': expected a string, but got null instead.", `"model"`, `"invalid_type"`},
	{"empty model", `{"model":"","input":"hi"}`, "The requested model '' does not exist.", `"model"`, `"model_not_found"`},
	{"no input", `{"model":"m"}`, "Missing required parameter: 'input'.", `"input"`, `"missing_required_parameter"`},
	{"null input", `{"model":"m","input":null}`, "Invalid type for 'input': expected one of a string or array of input items, but got null instead.", `"input"`, `"invalid_type"`},
	{"empty input", `{"model":"m","input":[]}`, `One of "input" or "previous_response_id" or 'prompt' or 'conversation' must be provided.`, `"input"`, `"missing_required_parameter"`},
	{"object input", `{"model":"m","input":{}}`, "Invalid type for 'input': expected one of a string or array of input items, but got an object instead.", `"input"`, `"invalid_type"`},
	{"strings as items", `{"model":"m","input":["hi"]}`, "Invalid type for 'input[0]': expected an object, but got a string instead.", `"input[0]"`, `"invalid_type"`},
	{"small limit", inputBody(`,"max_output_tokens":15`), "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.", `"max_output_tokens"`, `"integer_below_min_value"`},
	{"no tool calls at all", inputBody(`,"max_tool_calls":0`), "Invalid 'max_tool_calls': integer below minimum value. Expected a value >= 1, but got 0 instead.", `"max_tool_calls"`, `"integer_below_min_value"`},
	{"include", inputBody(`,"include":["x"]`), "Invalid value: 'x'. Supported values are: 'file_search_call.results', 'web_search_call.results', 'web_search_call.action.sources', 'message.input_image.image_url', 'computer_call_output.output.image_url', 'code_interpreter_call.outputs', 'reasoning.encrypted_content', and 'message.output_text.logprobs'.", `"include[0]"`, `"invalid_value"`},
	{"temperature on a reasoning model", strings.Replace(inputBody(`,"temperature":0`), `"m"`, `"gpt-5"`, 1), "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", `"temperature"`, `"unsupported_value"`},

	{"tool role", input(itemHi + `,{"role":"tool","content":"x","tool_call_id":"a"}`), "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and 'user'.", `"input[1].role"`, `"invalid_value"`},
	{"calls in a message", input(itemHi + `,{"role":"assistant","tool_calls":[` + callA + `]}`), "Unknown parameter: 'input[1].tool_calls'.", `"input[1].tool_calls"`, `"unknown_parameter"`},
	{"name of a message", input(`{"role":"user","content":"x","name":"ann"}`), "Unknown parameter: 'input[0].name'.", `"input[0].name"`, `"unknown_parameter"`},
	{"unknown item", input(`{"type":"thought","text":"x"}`), "Invalid value: 'thought'. Supported values are: " + quotedList(inputItem.tags) + ".", `"input[0]"`, `"invalid_value"`},
	{"text part", input(`{"role":"user","content":[{"type":"text","text":"x"}]}`), "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', 'input_audio', 'output_text', 'refusal', 'input_file', 'computer_screenshot', 'summary_text', and 'encrypted_content'.", `"input[0].content[0].type"`, `"invalid_value"`},
	{"input_text of the assistant", input(`{"role":"assistant","content":[{"type":"input_text","text":"x"}]}`), "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.", `"input[0].content[0]"`, `"invalid_value"`},
	{"output_text of the user", input(`{"role":"user","content":[{"type":"output_text","text":"x"}]}`), "Invalid value: 'output_text'. Supported values are: 'input_text', 'input_image', and 'input_file'.", `"input[0].content[0]"`, `"invalid_value"`},
	{"nested image", input(`{"role":"user","content":[{"type":"input_image","image_url":{"url":"x"}}]}`), "Invalid type for 'input[0].content[0].image_url': expected an image URL, but got an object instead.", `"input[0].content[0].image_url"`, `"invalid_type"`},
	{"null content", input(`{"role":"user","content":null}`), "Invalid type for 'input[0].content': expected one of a string or array of objects, but got null instead.", `"input[0].content"`, `"invalid_type"`},
	{"id of a message", input(`{"type":"message","id":"item_1","role":"user","content":"x"}`), "Invalid 'input[0].id': 'item_1'. Expected an ID that begins with 'msg'.", `"input[0].id"`, `"invalid_value"`},
	{"id of a call", input(itemHi + `,{"type":"function_call","id":"call_a","call_id":"call_a","name":"f","arguments":"{}"},` + itemOut), "Invalid 'input[1].id': 'call_a'. Expected an ID that begins with 'fc'.", `"input[1].id"`, `"invalid_value"`},
	{"id of a custom call", input(itemHi + `,{"type":"custom_tool_call","id":"fc_1","call_id":"a","name":"f","input":""}`), "Invalid 'input[1].id': 'fc_1'. Expected an ID that begins with 'ctc'.", `"input[1].id"`, `"invalid_value"`},
	{"id of an output", input(itemHi + `,` + itemCall + `,{"type":"function_call_output","id":"fc_1","call_id":"call_a","output":"x"}`), "Invalid 'input[2].id': 'fc_1'. Expected an ID that begins with 'fco'.", `"input[2].id"`, `"invalid_value"`},
	{"id of reasoning", input(`{"type":"reasoning","id":"msg_1","summary":[]}`), "Invalid 'input[0].id': 'msg_1'. Expected an ID that begins with 'rs'.", `"input[0].id"`, `"invalid_value"`},
	{"long id", input(`{"type":"message","id":"msg_` + strings.Repeat("a", 61) + `","role":"user","content":"x"}`), "Invalid 'input[0].id': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.", `"input[0].id"`, `"string_above_max_length"`},
	{"long call id", input(itemHi + `,{"type":"function_call","call_id":"` + strings.Repeat("a", 65) + `","name":"f","arguments":"{}"}`), "Invalid 'input[1].call_id': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.", `"input[1].call_id"`, `"string_above_max_length"`},
	{"arguments as object", input(itemHi + `,{"type":"function_call","call_id":"a","name":"f","arguments":{}}`), "Invalid type for 'input[1].arguments': expected a string, but got an object instead.", `"input[1].arguments"`, `"invalid_type"`},
	{"no output member", input(itemHi + `,` + itemCall + `,{"type":"function_call_output","call_id":"call_a"}`), "Missing required parameter: 'input[2].output'.", `"input[2].output"`, `"missing_required_parameter"`},
	{"output with chat parts", input(itemHi + `,` + itemCall + `,{"type":"function_call_output","call_id":"call_a","output":[{"type":"text","text":"x"}]}`), "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', 'input_audio', 'output_text', 'refusal', 'input_file', 'computer_screenshot', 'summary_text', and 'encrypted_content'.", `"input[2].output[0].type"`, `"invalid_value"`},
	{"no summary", input(`{"type":"reasoning","id":"rs_1"}`), "Missing required parameter: 'input[0].summary'.", `"input[0].summary"`, `"missing_required_parameter"`},
	{"raw reasoning", input(`{"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"x"}]}`), "Invalid 'input[0].content': array too long. Expected an array with maximum length 0, but got an array with length 1 instead.", `"input[0].content"`, `"array_above_max_length"`},

	{"call without output", input(itemHi + `,` + itemCall + `,` + itemHi), "No tool output found for function call call_a.", `"input"`, `null`},
	{"output without call", input(itemHi + `,` + itemOut), "No tool call found for function call output with call_id call_a.", `"input"`, `null`},
	{"output before its call", input(itemHi + `,` + itemOut + `,` + itemCall), "No tool call found for function call output with call_id call_a.", `"input"`, `null`},
	{"function output of a custom call", input(itemHi + `,{"type":"custom_tool_call","call_id":"call_a","name":"f","input":""},` + itemOut), "No tool call found for function call output with call_id call_a.", `"input"`, `null`},
	{"two calls of one id", input(itemHi + `,` + itemCall + `,` + itemCall + `,` + itemOut), "Duplicate call_id 'call_a' found in input. Each function call must have a unique call_id.", `"input"`, `null`},
	{"an item twice", input(`{"type":"message","id":"msg_1","role":"user","content":"x"},{"type":"message","id":"msg_1","role":"user","content":"x"}`), "Duplicate item found with id msg_1. Remove duplicate items from your input and try again.", `"input"`, `null`},
	{"foreign sealed reasoning", input(itemHi + `,{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA_opaque"},{"role":"assistant","content":"x"}`), "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be decrypted or parsed.", `null`, `"invalid_encrypted_content"`},
	{"reasoning alone", input(itemHi + `,{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + seal("x") + `"},` + itemHi), "Item 'rs_1' of type 'reasoning' was provided without its required following item.", `"input"`, `null`},
	{"reasoning last", input(itemHi + `,{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + seal("x") + `"}`), "Item 'rs_1' of type 'reasoning' was provided without its required following item.", `"input"`, `null`},
	{"unknown earlier response", inputBody(`,"previous_response_id":"resp_x"`), "Previous response with id 'resp_x' not found.", `"previous_response_id"`, `"previous_response_not_found"`},
	{"response and conversation", inputBody(`,"previous_response_id":"resp_x","conversation":"conv_x"`), "Mutually exclusive parameters: Ensure you are only providing one of: 'previous_response_id' or 'conversation'.", `"previous_response_id"`, `"mutually_exclusive_parameters"`},

	{"nested tool", inputBody(`,"tools":[` + weatherTool + `]`), "Missing required parameter: 'tools[0].name'.", `"tools[0].name"`, `"missing_required_parameter"`},
	{"tool without a type", inputBody(`,"tools":[{"name":"f"}]`), "Missing required parameter: 'tools[0].type'.", `"tools[0].type"`, `"missing_required_parameter"`},
	{"unknown tool", inputBody(`,"tools":[{"type":"functions","name":"f"}]`), "Invalid value: 'functions'. Supported values are: " + quotedList(toolTags) + ".", `"tools[0].type"`, `"invalid_value"`},
	{"nested grammar", inputBody(`,"tools":[{"type":"custom","name":"p","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"x"}}}]`), "Missing required parameter: 'tools[0].format.definition'.", `"tools[0].format.definition"`, `"missing_required_parameter"`},
	{"name with a space", inputBody(`,"tools":[{"type":"function","name":"a b"}]`), "Invalid 'tools[0].name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", `"tools[0].name"`, `"invalid_value"`},
	{"two tools of one name", inputBody(`,"tools":[` + flatTool + `,` + flatTool + `]`), "Tool names must be unique: 'get_weather' appears more than once.", `"tools[1].name"`, `"invalid_value"`},
	{"tool in a namespace", inputBody(`,"tools":[{"type":"namespace","name":"n","description":"d","tools":[{"type":"function"}]}]`), "Missing required parameter: 'tools[0].tools[0].name'.", `"tools[0].tools[0].name"`, `"missing_required_parameter"`},
	{"nested choice", inputBody(`,"tools":[` + flatTool + `],"tool_choice":{"type":"function","function":{"name":"get_weather"}}`), "Missing required parameter: 'tool_choice.name'.", `"tool_choice.name"`, `"missing_required_parameter"`},
	{"choice without tools", inputBody(`,"tool_choice":"required"`), "Tool choice 'required' must be specified with 'tools' parameter.", `"tool_choice"`, `null`},
	{"choice of another tool", inputBody(`,"tools":[` + flatTool + `],"tool_choice":{"type":"function","name":"g"}`), "Tool choice 'function' not found in 'tools' parameter.", `"tool_choice"`, `null`},
	{"strict but optional", inputBody(`,"tools":[{"type":"function","name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}}]`), "Invalid schema for function 'f': In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'a'.", `"tools[0].parameters"`, `"invalid_function_parameters"`},
	{"nested format", inputBody(`,"text":{"format":{"type":"json_schema","json_schema":{"name":"r","schema":{}}}}`), "Missing required parameter: 'text.format.name'.", `"text.format.name"`, `"missing_required_parameter"`},
	{"strict format", inputBody(`,"text":{"format":{"type":"json_schema","name":"r","strict":true,"schema":{"type":"object","properties":{}}}}`), "Invalid schema for response_format 'r': In context=(), 'additionalProperties' is required to be supplied and to be false.", `"text.format.schema"`, `"invalid_json_schema"`},
	{"json said only in instructions", `{"model":"m","input":"hi","instructions":"json!","text":{"format":{"type":"json_object"}}}`, "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.", `"input"`, `null`},
	{"background unstored", inputBody(`,"background":true,"store":false`), "Background responses must be stored. Set 'store' to true to use 'background'.", `"background"`, `null`},
}

func TestResponsesRefusals(t *testing.T) {
	s := New(Options{})
	for _, c := range responsesRefusals {
		t.Run(c.name, func(t *testing.T) {
			status, body := send(s, "/v1/responses", c.body)
			if status != 400 {
				t.Errorf("status %d", status)
			}
			same(t, body, openAIError(c.message, c.param, c.code))
		})
	}
}

func TestResponsesNotFound(t *testing.T) {
	s := New(Options{})
	gone := "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
	for body, want := range map[string]string{
		inputBody(`,"conversation":"conv_x"`):                                                               openAIError("Conversation with id 'conv_x' not found.", `"conversation"`, `null`),
		inputBody(`,"conversation":{"id":"conv_y"}`):                                                        openAIError("Conversation with id 'conv_y' not found.", `"conversation"`, `null`),
		`{"model":"m","prompt":{"id":"pmpt_1"}}`:                                                            openAIError("Prompt with id 'pmpt_1' not found.", `null`, `null`),
		input(itemHi + `,{"type":"item_reference","id":"rs_1"}`):                                            openAIError(gone, `"input"`, `null`),
		input(itemHi + `,{"id":"rs_1"}`):                                                                    openAIError(gone, `"input"`, `null`),
		input(itemHi + `,{"type":"reasoning","id":"rs_1","summary":[]},{"role":"assistant","content":"x"}`): openAIError(gone, `"input"`, `null`),
	} {
		status, answer := send(s, "/v1/responses", body)
		if status != 404 {
			t.Errorf("%s: status %d", body, status)
		}
		same(t, answer, want)
	}
}

// codexTurn is a request as Codex makes it: two developer messages, a replayed turn, all kinds of tools.
func codexTurn(sealed string) string {
	return `{"model":"gpt-5.5","stream":false,"store":false,"input":[
	{"type":"message","id":"msg_1","role":"developer","content":[{"type":"input_text","text":"You are an agent."},{"type":"input_text","text":"Be brief."}]},
	{"type":"message","id":"msg_2","role":"user","content":[{"type":"input_text","text":"Look: "},{"type":"input_image","image_url":"` + pixel + `","detail":"high"}]},
	{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"**Plan**"}],"content":null,"encrypted_content":"` + sealed + `"},
	{"type":"message","id":"msg_3","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"Looking."}]},
	{"type":"function_call","status":"completed","id":"fc_1","name":"exec_command","arguments":"{}","call_id":"call_1"},
	{"type":"custom_tool_call","status":"completed","id":"ctc_1","name":"apply_patch","input":"x","call_id":"call_2"},
	{"type":"tool_search_call","call_id":"call_3","execution":"client","arguments":{"query":"agent"}},
	{"type":"function_call_output","id":"fco_1","call_id":"call_1","output":"done"},
	{"type":"custom_tool_call_output","id":"ctco_1","call_id":"call_2","output":"ok"},
	{"type":"tool_search_output","call_id":"call_3","execution":"client","status":"completed","tools":[{"type":"function","name":"spawn","parameters":{"type":"object","properties":{}}}]}],
	"tools":[{"type":"function","name":"exec_command","description":"d","strict":false,"parameters":{"type":"object","properties":{"cmd":{"type":"string"},"tty":{"type":"boolean"}},"required":["cmd"],"additionalProperties":false}},
	{"type":"custom","name":"apply_patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
	{"type":"namespace","name":"multi_agent_v1","description":"d","tools":[{"type":"function","name":"spawn_agent","strict":false,"parameters":{"type":"object","properties":{}}}]},
	{"type":"tool_search","execution":"client","description":"d","parameters":{"type":"object"}},
	{"type":"web_search","external_web_access":true,"search_content_types":["text"]}],
	"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"high","summary":"auto","context":"all_turns"},"include":["reasoning.encrypted_content"],
	"prompt_cache_key":"k","client_metadata":{"a":"b"},"text":{"verbosity":"low"}}`
}

var responsesAccepted = map[string]string{
	"Codex":                   codexTurn(seal("plan")),
	"Codex's newest":          `{"model":"gpt-6.1-sol","store":false,"input":[{"type":"additional_tools","id":"at_1","role":"developer","tools":[{"type":"namespace","name":"functions","description":"","tools":[{"type":"custom","name":"exec","description":"d","format":{"type":"grammar","syntax":"lark","definition":"x"}}]}]},` + itemHi + `],"tool_choice":"auto"}`,
	"nulls are absent":        inputBody(`,"temperature":null,"tools":null,"instructions":null,"previous_response_id":null,"conversation":null,"text":null,"reasoning":null,"max_output_tokens":null,"background":null,"store":null,"metadata":null`),
	"a bare list of roles":    input(`{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"assistant","content":"a"},` + itemHi),
	"outputs out of order":    input(itemHi + `,` + itemCall + `,` + strings.ReplaceAll(itemCall, "call_a", "call_b") + `,` + strings.ReplaceAll(itemOut, "call_a", "call_b") + `,{"role":"user","content":"steer"},` + itemOut),
	"output of parts":         input(itemHi + `,` + itemCall + `,{"type":"function_call_output","call_id":"call_a","output":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"` + pixel + `"}]}`),
	"namespaced":              input(itemHi + `,{"type":"function_call","call_id":"call_a","name":"f","namespace":"ns","arguments":"{}"},` + itemOut),
	"hosted history":          input(itemHi + `,{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"x"}},{"role":"assistant","content":[{"type":"output_text","text":"x","annotations":[{"type":"url_citation","start_index":0,"end_index":1,"url":"u","title":"t"}]}]}`),
	"shell and patches":       input(itemHi + `,{"type":"shell_call","call_id":"a","action":{"commands":["ls"]}},{"type":"shell_call_output","call_id":"a","output":[{"stdout":"x"}]},{"type":"apply_patch_call","call_id":"b","status":"completed","operation":{"type":"delete_file","path":"x"}},{"type":"apply_patch_call_output","call_id":"b","status":"completed"},{"type":"local_shell_call","call_id":"c","action":{"type":"exec"}},{"type":"local_shell_call_output","id":"c","output":"x"}`),
	"penalties and the rest":  inputBody(`,"presence_penalty":0.5,"frequency_penalty":0,"top_logprobs":2,"include":["message.output_text.logprobs"],"truncation":"auto","safety_identifier":"s","user":"u","service_tier":"flex","stream_options":{"include_obfuscation":false},"max_output_tokens":16`),
	"choice of a custom tool": inputBody(`,"tools":[{"type":"custom","name":"p"}],"tool_choice":{"type":"custom","name":"p"}`),
	"choice none, no tools":   inputBody(`,"tool_choice":"none","tools":[]`),
	"strict":                  inputBody(`,"tools":[` + strings.Replace(flatTool, `"parameters"`, `"strict":true,"parameters"`, 1) + `],"tool_choice":{"type":"function","name":"get_weather"}`),
	"json_object":             inputBody(`,"text":{"format":{"type":"json_object"}}`),
}

func TestResponsesAccepts(t *testing.T) {
	s := New(Options{})
	for name, body := range responsesAccepted {
		if status, answer := send(s, "/responses", body); status != 200 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

func TestEveryResponsesMemberHasAType(t *testing.T) {
	everyMember(t, responsesRequest, func(name, value string) string {
		return fmt.Sprintf(`{"model":"m","input":"hi",%q:%s}`, name, value)
	}, "/v1/responses")
}

// TestMemory: what was stored can be continued and referred to, what was not cannot.
func TestMemory(t *testing.T) {
	s := New(Options{})
	tool := `,"tools":[` + flatTool + `]`
	status, first := send(s, "/v1/responses", `{"model":"fake-reasoning_tool","input":"Weather?"`+tool+`}`)
	if status != 200 {
		t.Fatal(first)
	}
	r := parse(t, first)
	output := objectsOf(r["output"])
	id, reason, call := r["id"].(string), output[0]["id"].(string), output[1]
	out := `{"type":"function_call_output","call_id":"` + call["call_id"].(string) + `","output":"18 degrees"}`
	want := "get_weather returned: 18 degrees"

	status, next := send(s, "/v1/responses", `{"model":"fake-reasoning_tool","previous_response_id":"`+id+`","input":[`+out+`]`+tool+`}`)
	if status != 200 || !strings.Contains(next, want) {
		t.Errorf("by previous_response_id: %d %s", status, next)
	}
	if parse(t, next)["previous_response_id"] != id {
		t.Errorf("previous_response_id is not echoed: %s", next)
	}
	refs := `{"role":"user","content":"Weather?"},{"type":"item_reference","id":"` + reason + `"},{"type":"item_reference","id":"` + call["id"].(string) + `"},` + out
	if status, next = send(s, "/v1/responses", `{"model":"fake-reasoning_tool","input":[`+refs+`]`+tool+`}`); status != 200 || !strings.Contains(next, want) {
		t.Errorf("by references: %d %s", status, next)
	}
	status, next = send(s, "/v1/responses", `{"model":"fake-reasoning_tool","previous_response_id":"`+id+`","input":"and?"`+tool+`}`)
	if status != 400 || !strings.Contains(next, "No tool output found for function call "+call["call_id"].(string)+".") {
		t.Errorf("without the output: %d %s", status, next)
	}
	callAlone := `{"role":"user","content":"Weather?"},{"type":"item_reference","id":"` + call["id"].(string) + `"},` + out
	status, next = send(s, "/v1/responses", `{"model":"m","input":[`+callAlone+`]}`)
	if status != 400 || !strings.Contains(next, "was provided without its required 'reasoning' item: '"+reason+"'.") {
		t.Errorf("without the reasoning: %d %s", status, next)
	}

	_, unstored := send(s, "/v1/responses", inputBody(`,"store":false`))
	id = parse(t, unstored)["id"].(string)
	if status, _ = send(s, "/v1/responses", inputBody(`,"previous_response_id":"`+id+`"`)); status != 400 {
		t.Errorf("an unstored response was found")
	}
	s.Reset()
	if status, _ = send(s, "/v1/responses", `{"model":"m","input":[`+refs+`]}`); status != 404 {
		t.Errorf("after Reset: %d", status)
	}
}
