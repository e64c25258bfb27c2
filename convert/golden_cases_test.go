package convert_test

import "github.com/labiium/chat2response/convert"

const (
	chatAPI      = convert.Chat
	responsesAPI = convert.Responses
)

// goldenCases are the 34 tricky cases of the mapping, under their numbers.
var goldenCases = []goldenCase{
	{"case 01: strict is said explicitly", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}}}]}`,
		checks: []string{
			`/sent/tools = [{"type":"function","name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]},"strict":false}]`,
			`/report = absent`,
		},
	}}},
	{"case 02: assistant history is never input_text", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"hello"},{"role":"assistant","content":[{"type":"text","text":"Hi"}]},{"role":"user","content":"go on"}]}`,
		checks: []string{
			`/sent/input/1 = {"type":"message","role":"assistant","content":"Hi"}`,
		},
	}}},
	{"case 03: a turn of tool calls only", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]},{"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}`,
		checks: []string{
			`/sent/input = [{"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"call_1","output":"ab"}]`,
		},
	}}},
	{"case 04: the result of a custom tool", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"custom","custom":{"name":"patch","input":"*** Begin"}},{"id":"call_2","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_2","content":"two"},{"role":"tool","tool_call_id":"call_1","content":"one"}]}`,
		checks: []string{
			`/sent/input/1 = {"type":"custom_tool_call","call_id":"call_1","name":"patch","input":"*** Begin"}`,
			`/sent/input/3 = {"type":"function_call_output","call_id":"call_2","output":"two"}`,
			`/sent/input/4 = {"type":"custom_tool_call_output","call_id":"call_1","output":"one"}`,
		},
	}}},
	{"case 05: parallel calls", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "lmstudio",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"R"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]},{"type":"function_call","call_id":"a","name":"f","arguments":"{\"n\":1}"},{"type":"function_call","call_id":"b","name":"g","arguments":"{}"},{"type":"function_call_output","call_id":"b","output":"out b"},{"type":"function_call_output","call_id":"a","output":"out a"}]}`,
		checks: []string{
			`/sent/messages = [
				{"role":"user","content":"x"},
				{"role":"assistant","content":"hi","reasoning_content":"R","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"n\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"a","content":"out a"},
				{"role":"tool","tool_call_id":"b","content":"out b"}]`,
			`/report = absent`,
		},
	}}},
	{"case 06: sequential pairs stay two steps", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "openai",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"1"},{"type":"function_call","call_id":"b","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"b","output":"2"}]}`,
		checks: []string{
			`/sent/messages = [
				{"role":"user","content":"x"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"a","content":"1"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"b","content":"2"}]`,
		},
	}}},
	{"case 07: an item between a call and its output", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "openai",
		request: `{"model":"m","input":[{"role":"user","content":"u"},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"role":"developer","content":"x"},{"type":"function_call_output","call_id":"a","output":"1"}]}`,
		checks: []string{
			`/sent/messages = [
				{"role":"user","content":"u"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"a","content":"1"},
				{"role":"developer","content":"x"}]`,
		},
	}}},
	{"case 08: the same index for different calls", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "ollama",
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"A","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"B","type":"function","function":{"name":"f","arguments":"{\"x\":2}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		checks: []string{
			`/final/status = "completed"`,
			`/final/output = [
				{"id":"fc_1","type":"function_call","status":"completed","call_id":"A","name":"f","arguments":"{\"x\":1}"},
				{"id":"fc_2","type":"function_call","status":"completed","call_id":"B","name":"f","arguments":"{\"x\":2}"}]`,
		},
	}}},
	{"case 09: neither index nor id", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "gemini",
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"function","name":"g","parameters":{"type":"object"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}},{"type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"arguments":"","call_id":"call_1","id":"fc_1","name":"f","status":"in_progress","type":"function_call"}`,
			`function_call_arguments.delta fc_1 "{}"`,
			`output_item.added @1 {"arguments":"","call_id":"call_2","id":"fc_2","name":"g","status":"in_progress","type":"function_call"}`,
			`function_call_arguments.delta fc_2 "{}"`,
			`function_call_arguments.done fc_1 "{}"`,
			`output_item.done @0 {"arguments":"{}","call_id":"call_1","id":"fc_1","name":"f","status":"completed","type":"function_call"}`,
			`function_call_arguments.done fc_2 "{}"`,
			`output_item.done @1 {"arguments":"{}","call_id":"call_2","id":"fc_2","name":"g","status":"completed","type":"function_call"}`,
			`completed completed`,
			`[DONE]`,
		},
		checks: []string{
			`/final/output/0/call_id = "call_1"`,
			`/final/output/1/call_id = "call_2"`,
		},
	}, {
		client: chatAPI, upstream: chatAPI, dialect: "gemini", // the reverse says tool_calls
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"tools":[{"type":"function","function":{"name":"f"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`delta {"content":"","refusal":null,"role":"assistant"}`,
			`delta {"tool_calls":[{"function":{"arguments":"","name":"f"},"id":"call_1","index":0,"type":"function"}]}`,
			`delta {"tool_calls":[{"function":{"arguments":"{}"},"index":0}]}`,
			`delta {} finish tool_calls`,
			`[DONE]`,
		},
	}}},
	{"case 10: interleaved arguments", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"f","arguments":""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"arguments":"","call_id":"a","id":"fc_1","name":"f","status":"in_progress","type":"function_call"}`,
			`output_item.added @1 {"arguments":"","call_id":"b","id":"fc_2","name":"f","status":"in_progress","type":"function_call"}`,
			`function_call_arguments.delta fc_1 "{\"a\":1}"`,
			`function_call_arguments.delta fc_2 "{}"`,
			`function_call_arguments.done fc_1 "{\"a\":1}"`,
			`output_item.done @0 {"arguments":"{\"a\":1}","call_id":"a","id":"fc_1","name":"f","status":"completed","type":"function_call"}`,
			`function_call_arguments.done fc_2 "{}"`,
			`output_item.done @1 {"arguments":"{}","call_id":"b","id":"fc_2","name":"f","status":"completed","type":"function_call"}`,
			`completed completed`,
			`[DONE]`,
		},
	}}},
	{"case 11: usage behind the finish", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`,
			`[DONE]`,
		},
		checks: []string{
			`/sent/stream_options = {"include_usage":true}`,
			`/final/usage = {"input_tokens":3,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":5}`,
		},
	}}},
	{"case 12: the upstream breaks off", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Once upon"}}]}`,
		},
		trace: []string{
			`output_item.added @0 {"content":[],"id":"msg_1","role":"assistant","status":"in_progress","type":"message"}`,
			`content_part.added msg_1 {"annotations":[],"logprobs":[],"text":"","type":"output_text"}`,
			`output_text.delta msg_1 "Once upon"`,
			`error "server_error" "The upstream's stream ended before the answer was complete (no finish_reason)."`,
			`failed failed {"code":"server_error","message":"The upstream's stream ended before the answer was complete (no finish_reason)."}`,
			`[DONE]`,
		},
		checks: []string{
			`/final/status = "failed"`,
			`/final/output/0/status = "incomplete"`,
			`/final/output/0/content/0/text = "Once upon"`,
		},
	}, {
		client: chatAPI, upstream: responsesAPI, // and a Responses upstream: no false stop
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`,
		stream: []string{
			`{"type":"response.created","sequence_number":0,"response":{"id":"resp_u","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]}}`,
			`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_u","type":"message","role":"assistant","status":"in_progress","content":[]}}`,
			`{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_u","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}`,
			`{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_u","output_index":0,"content_index":0,"delta":"Once upon","logprobs":[]}`,
		},
		trace: []string{
			`delta {"content":"","refusal":null,"role":"assistant"}`,
			`delta {"content":"Once upon"}`,
			`error {"code":"server_error","message":"The upstream's stream ended before the response was complete (no terminal event).","param":null,"type":"server_error"}`,
		},
	}}},
	{"case 13: white space around tool calls", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"\n\n"}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"content":"\n"}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			`[DONE]`,
		},
		checks: []string{
			`/final/output = [{"id":"fc_1","type":"function_call","status":"completed","call_id":"a","name":"f","arguments":"{}"}]`,
		},
	}}},
	{"case 14: the tokens end in the middle of a call", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"arguments":"","call_id":"a","id":"fc_1","name":"f","status":"in_progress","type":"function_call"}`,
			`function_call_arguments.delta fc_1 "{\"x"`,
			`function_call_arguments.done fc_1 "{\"x"`,
			`output_item.done @0 {"arguments":"{\"x","call_id":"a","id":"fc_1","name":"f","status":"incomplete","type":"function_call"}`,
			`incomplete incomplete`,
			`[DONE]`,
		},
		checks: []string{`/final/incomplete_details = {"reason":"max_output_tokens"}`},
	}, {
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]}`,
		answer:  `{"id":"resp_u","object":"response","created_at":1,"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"model":"m","output":[{"id":"fc_u","type":"function_call","status":"incomplete","call_id":"a","name":"f","arguments":"{\"x"}]}`,
		checks: []string{
			`/received/choices/0/finish_reason = "length"`,
			`/received/choices/0/message/tool_calls/0/function/arguments = "{\"x"`,
		},
	}}},
	{"case 15: usage without the reasoning", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "xai",
		request: `{"model":"m","input":"x"}`,
		answer:  `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}}`,
		checks: []string{
			`/received/usage/input_tokens = 10`, `/received/usage/output_tokens = 105`, `/received/usage/total_tokens = 115`,
			`/received/usage/output_tokens_details = {"reasoning_tokens":100}`,
		},
	}, {
		client: responsesAPI, upstream: chatAPI, dialect: "openai",
		request: `{"model":"m","input":"x"}`,
		answer:  `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":105,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}}`,
		checks: []string{
			`/received/usage/output_tokens = 105`, `/received/usage/total_tokens = 115`,
		},
	}}},
	{"case 16: a custom tool on a Chat-only upstream", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true,"tools":[{"type":"custom","name":"apply_patch","description":"Edits files.","format":{"type":"grammar","syntax":"lark","definition":"start: \"x\""}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"apply_patch","arguments":""}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"input\":\"*** Begin Patch\\n"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"<end> \\\"é\\\"\"}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"call_id":"c","id":"ctc_1","input":"","name":"apply_patch","status":"in_progress","type":"custom_tool_call"}`,
			`custom_tool_call_input.delta ctc_1 "*** Begin Patch\n"`,
			`custom_tool_call_input.delta ctc_1 "<end> \"é\""`,
			`custom_tool_call_input.done ctc_1 "*** Begin Patch\n<end> \"é\""`,
			`output_item.done @0 {"call_id":"c","id":"ctc_1","input":"*** Begin Patch\n<end> \"é\"","name":"apply_patch","status":"completed","type":"custom_tool_call"}`,
			`completed completed`,
			`[DONE]`,
		},
		checks: []string{
			`/sent/tools = [{"type":"function","function":{"name":"apply_patch","description":"Edits files.\nThe ` + "`input`" + ` must follow this lark grammar:\nstart: \"x\"","parameters":{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}}}]`,
		},
	}, {
		client: responsesAPI, upstream: chatAPI, // the next turn
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"custom_tool_call","id":"ctc_1","status":"completed","call_id":"c","name":"apply_patch","input":"*** Begin Patch\n<end> \"é\""},{"type":"custom_tool_call_output","call_id":"c","output":"done"}],"tools":[{"type":"custom","name":"apply_patch"}]}`,
		checks: []string{
			// The bytes of the first turn, or the prompt cache misses.
			`/sent/messages/1/tool_calls/0 = {"id":"c","type":"function","function":{"name":"apply_patch","arguments":"{\"input\":\"*** Begin Patch\\n<end> \\\"é\\\"\"}"}}`,
			`/sent/messages/2 = {"role":"tool","tool_call_id":"c","content":"done"}`,
		},
	}}},
	{"case 17: a namespace, as Codex sends it", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","stream":true,"store":false,"client_metadata":{"k":"v"},"tool_choice":"auto","parallel_tool_calls":true,"include":["reasoning.encrypted_content"],
			"input":[{"type":"message","id":"msg_a","role":"developer","content":[{"type":"input_text","text":"one"}]},{"type":"message","id":"msg_b","role":"developer","content":[{"type":"input_text","text":"two"},{"type":"input_text","text":"three"}]},{"type":"message","id":"msg_c","role":"user","content":[{"type":"input_text","text":"hello"}]}],
			"tools":[{"type":"namespace","name":"multi_agent_v1","description":"Agents.","tools":[{"type":"function","name":"spawn_agent","description":"Starts one.","strict":false,"parameters":{"type":"object","properties":{}}}]},{"type":"web_search","external_web_access":false}]}`,
		sealed: true,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"multi_agent_v1__spawn_agent","arguments":"{}"}}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			`[DONE]`,
		},
		checks: []string{
			`/sent/tools = [{"type":"function","function":{"name":"multi_agent_v1__spawn_agent","description":"Agents.\n\nStarts one.","parameters":{"type":"object","properties":{}}}}]`,
			`/sent/messages = [{"role":"system","content":"one\n\ntwo\n\nthree"},{"role":"user","content":"hello"}]`,
			`/sent/tool_choice = "auto"`,
			`/sent/client_metadata = absent`,
			`/report = ["tools[1]=dropped"]`,
			`/error = absent`,
			`/final/output = [{"id":"fc_1","type":"function_call","status":"completed","call_id":"c","name":"spawn_agent","namespace":"multi_agent_v1","arguments":"{}"}]`,
		},
	}}},
	{"case 18: the arguments of tool_search are an object", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"tool_search_call","call_id":"c","execution":"client","arguments":{"query":"agent"}},{"type":"tool_search_output","call_id":"c","execution":"client","status":"completed","tools":[{"type":"function","name":"spawn","description":"Starts an agent.","parameters":{"type":"object"},"strict":false}]}],
			"tools":[{"type":"tool_search","execution":"client","description":"Finds tools.","parameters":{"type":"object","properties":{"query":{"type":"string"}}}}]}`,
		answer: `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"d","type":"function","function":{"name":"tool_search","arguments":"{\"query\": \"more\"}"}}]},"finish_reason":"tool_calls"}]}`,
		checks: []string{
			`/sent/messages/1/tool_calls/0 = {"id":"c","type":"function","function":{"name":"tool_search","arguments":"{\"query\":\"agent\"}"}}`,
			`/sent/messages/2 = {"role":"tool","tool_call_id":"c","content":"[{\"name\":\"spawn\",\"description\":\"Starts an agent.\"}]"}`,
			`/sent/tools = [{"type":"function","function":{"name":"tool_search","description":"Finds tools.","parameters":{"type":"object","properties":{"query":{"type":"string"}}}}},{"type":"function","function":{"name":"spawn","description":"Starts an agent.","parameters":{"type":"object"}}}]`,
			`/received/output = [{"id":"tsc_1","type":"tool_search_call","status":"completed","call_id":"d","execution":"client","arguments":{"query":"more"}}]`,
		},
	}}},
	{"case 19: an item reference without a store", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"item_reference","id":"msg_1"},{"type":"item_reference","id":"rs_1"},{"role":"user","content":"y"}]}`,
		checks: []string{
			`/status = 404`,
			`/error/error/message = "Item with id 'msg_1' not found. Items are not persisted when ` + "`store`" + ` is set to false. Try again with ` + "`store`" + ` set to true, or remove this item from your input."`,
			`/error/error/type = "invalid_request_error"`,
			`/sent = absent`,
		},
	}}},
	{"case 20: json_object keeps the system message in the input", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"system","content":"Reply in JSON"},{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`,
		checks: []string{
			`/sent/input = [{"type":"message","role":"system","content":"Reply in JSON"},{"type":"message","role":"user","content":"x"}]`,
			`/sent/instructions = absent`,
			`/sent/text = {"format":{"type":"json_object"}}`,
		},
	}}},
	{"case 21: parameters that Responses does not know", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"n":1,"seed":7,"stop":null,"stream":true,"stream_options":{"include_usage":true},"max_tokens":1,"logit_bias":{}}`,
		stream: []string{
			`{"type":"response.created","sequence_number":0,"response":{"id":"resp_u","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]}}`,
			`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_u","type":"message","role":"assistant","status":"in_progress","content":[]}}`,
			`{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_u","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}`,
			`{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_u","output_index":0,"content_index":0,"delta":"Hi","logprobs":[]}`,
			`{"type":"response.output_text.done","sequence_number":4,"item_id":"msg_u","output_index":0,"content_index":0,"text":"Hi","logprobs":[]}`,
			`{"type":"response.content_part.done","sequence_number":5,"item_id":"msg_u","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hi","annotations":[]}}`,
			`{"type":"response.output_item.done","sequence_number":6,"output_index":0,"item":{"id":"msg_u","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[]}]}}`,
			`{"type":"response.completed","sequence_number":7,"response":{"id":"resp_u","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_u","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[]}]}],"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":3}}}`,
		},
		trace: []string{
			`delta {"content":"","refusal":null,"role":"assistant"}`,
			`delta {"content":"Hi"}`,
			`delta {} finish stop`,
			`no choices, id chatcmpl-u usage {"completion_tokens":2,"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,"reasoning_tokens":0,"rejected_prediction_tokens":0},"prompt_tokens":1,"prompt_tokens_details":{"audio_tokens":0,"cache_write_tokens":0,"cached_tokens":0},"total_tokens":3}`,
			`[DONE]`,
		},
		checks: []string{
			`/sent = {"model":"m","input":[{"type":"message","role":"user","content":"x"}],"max_output_tokens":16,"store":false,"stream":true}`,
			`/report = ["seed=dropped","max_tokens=raised to 16"]`,
		},
	}}},
	{"case 22: reasoning under two names is one", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "vllm",
		request: `{"model":"m","input":"x","stream":true}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"a","reasoning":"a"}}]}`,
			`{"choices":[{"index":0,"delta":{"content":"Hi"}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"id":"rs_1","summary":[],"type":"reasoning"}`,
			`reasoning_summary_part.added rs_1 {"text":"","type":"summary_text"}`,
			`reasoning_summary_text.delta rs_1 "a"`,
			`reasoning_summary_text.done rs_1 "a"`,
			`reasoning_summary_part.done rs_1 {"text":"a","type":"summary_text"}`,
			`output_item.done @0 {"id":"rs_1","summary":[{"text":"a","type":"summary_text"}],"type":"reasoning"}`,
			`output_item.added @1 {"content":[],"id":"msg_1","role":"assistant","status":"in_progress","type":"message"}`,
			`content_part.added msg_1 {"annotations":[],"logprobs":[],"text":"","type":"output_text"}`,
			`output_text.delta msg_1 "Hi"`,
			`output_text.done msg_1 "Hi"`,
			`content_part.done msg_1 {"annotations":[],"logprobs":[],"text":"Hi","type":"output_text"}`,
			`output_item.done @1 {"content":[{"annotations":[],"logprobs":[],"text":"Hi","type":"output_text"}],"id":"msg_1","role":"assistant","status":"completed","type":"message"}`,
			`completed completed`,
			`[DONE]`,
		},
	}}},
	{"case 23: an error in mid-stream", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"content":"Hi"}}],"error":null}`,
			`{"error":{"message":"boom","code":502}}`,
		},
		trace: []string{
			`output_item.added @0 {"content":[],"id":"msg_1","role":"assistant","status":"in_progress","type":"message"}`,
			`content_part.added msg_1 {"annotations":[],"logprobs":[],"text":"","type":"output_text"}`,
			`output_text.delta msg_1 "Hi"`,
			`error "server_error" "boom"`,
			`failed failed {"code":"server_error","message":"boom"}`,
			`[DONE]`,
		},
	}, {
		client: chatAPI, upstream: chatAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"content":"Hi"}}],"error":null}`,
			`{"error":{"message":"boom","code":502}}`,
		},
		trace: []string{
			`delta {"content":"","refusal":null,"role":"assistant"}`,
			`delta {"content":"Hi"}`,
			`error {"code":"server_error","message":"boom","param":null,"type":"server_error"}`,
		},
	}}},
	{"case 24: a refusal", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x"}`,
		answer:  `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"No"},"finish_reason":"stop"}]}`,
		checks: []string{
			`/received/status = "completed"`,
			`/received/output = [{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"refusal","refusal":"No"}]}]`,
		},
	}, {
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"}]}`,
		answer:  `{"id":"resp_u","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_u","type":"message","role":"assistant","status":"completed","content":[{"type":"refusal","refusal":"No"}]}]}`,
		checks: []string{
			`/received/choices/0/message/content = null`,
			`/received/choices/0/message/refusal = "No"`,
			`/received/choices/0/finish_reason = "stop"`,
		},
	}}},
	{"case 25: images in a tool's output", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "openai",
		request: `{"model":"m","input":[{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call","call_id":"b","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":[{"type":"input_text","text":"ok"},{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},{"type":"function_call_output","call_id":"b","output":"x"}]}`,
		checks: []string{
			`/sent/messages = [
				{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"a","content":"ok"},
				{"role":"tool","tool_call_id":"b","content":"x"},
				{"role":"user","content":[{"type":"text","text":"Attached output of tool call a:"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}]`,
		},
	}}},
	{"case 26: what is nested in one API is flat in the other", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI, dialect: "openai",
		request: `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"https://x/a.png","detail":"low"}}]}],
			"tools":[{"type":"custom","custom":{"name":"c","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: X"}}}},{"type":"function","function":{"name":"f"}}],
			"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}},
			"response_format":{"type":"json_schema","json_schema":{"name":"s","description":"d","schema":{"type":"object"},"strict":true}},
			"web_search_options":{"search_context_size":"low","user_location":{"type":"approximate","approximate":{"city":"Bonn","country":"DE"}}}}`,
		answer: `{"id":"resp_u","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_u","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"See it.","annotations":[{"type":"url_citation","start_index":0,"end_index":3,"url":"https://x","title":"X"}]}]}]}`,
		checks: []string{
			`/sent/input/0/content = [{"type":"input_text","text":"look"},{"type":"input_image","image_url":"https://x/a.png","detail":"low"}]`,
			`/sent/tools = [{"type":"custom","name":"c","format":{"type":"grammar","syntax":"lark","definition":"start: X"}},{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false},{"type":"web_search","search_context_size":"low","user_location":{"type":"approximate","city":"Bonn","country":"DE"}}]`,
			`/sent/tool_choice = {"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}`,
			`/sent/text/format = {"type":"json_schema","name":"s","description":"d","schema":{"type":"object"},"strict":true}`,
			`/received/choices/0/message/annotations = [{"type":"url_citation","url_citation":{"start_index":0,"end_index":3,"url":"https://x","title":"X"}}]`,
		},
	}, {
		client: responsesAPI, upstream: chatAPI, dialect: "openai",
		request: `{"model":"m-search","input":[{"role":"user","content":[{"type":"input_text","text":"look"},{"type":"input_image","image_url":"https://x/a.png","detail":"low"}]}],
			"tools":[{"type":"custom","name":"c","format":{"type":"grammar","syntax":"lark","definition":"start: X"}},{"type":"function","name":"f","parameters":{"type":"object"},"strict":false},{"type":"web_search","search_context_size":"low","user_location":{"type":"approximate","city":"Bonn"}}],
			"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]},
			"text":{"format":{"type":"json_schema","name":"s","schema":{"type":"object"},"strict":true}}}`,
		answer: `{"choices":[{"index":0,"message":{"role":"assistant","content":"See it.","annotations":[{"type":"url_citation","url_citation":{"start_index":0,"end_index":3,"url":"https://x","title":"X"}}]},"finish_reason":"stop"}]}`,
		checks: []string{
			`/sent/messages/0/content = [{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"https://x/a.png","detail":"low"}}]`,
			`/sent/tools = [{"type":"custom","custom":{"name":"c","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: X"}}}},{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]`,
			`/sent/tool_choice = {"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}`,
			`/sent/response_format = {"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"},"strict":true}}`,
			`/sent/web_search_options = {"search_context_size":"low","user_location":{"type":"approximate","approximate":{"city":"Bonn"}}}`,
			`/received/output/0/content/0/annotations = [{"type":"url_citation","start_index":0,"end_index":3,"url":"https://x","title":"X"}]`,
		},
	}}},
	{"case 27: log probabilities", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x","stream":true,"include":["message.output_text.logprobs"],"top_logprobs":1}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"é"},"logprobs":{"content":[{"token":"é","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169]}]}]}}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"content":[],"id":"msg_1","role":"assistant","status":"in_progress","type":"message"}`,
			`content_part.added msg_1 {"annotations":[],"logprobs":[],"text":"","type":"output_text"}`,
			`output_text.delta msg_1 "é" logprobs [{"logprob":-0.5,"token":"é","top_logprobs":[{"logprob":-0.5,"token":"é"}]}]`,
			`output_text.done msg_1 "é" logprobs [{"bytes":[195,169],"logprob":-0.5,"token":"é","top_logprobs":[{"bytes":[195,169],"logprob":-0.5,"token":"é"}]}]`,
			`content_part.done msg_1 {"annotations":[],"logprobs":[{"bytes":[195,169],"logprob":-0.5,"token":"é","top_logprobs":[{"bytes":[195,169],"logprob":-0.5,"token":"é"}]}],"text":"é","type":"output_text"}`,
			`output_item.done @0 {"content":[{"annotations":[],"logprobs":[{"bytes":[195,169],"logprob":-0.5,"token":"é","top_logprobs":[{"bytes":[195,169],"logprob":-0.5,"token":"é"}]}],"text":"é","type":"output_text"}],"id":"msg_1","role":"assistant","status":"completed","type":"message"}`,
			`completed completed`,
			`[DONE]`,
		},
		checks: []string{`/sent/logprobs = true`, `/sent/top_logprobs = 1`},
	}, {
		client: responsesAPI, upstream: chatAPI, // none requested: [], never null
		request: `{"model":"m","input":"x"}`,
		answer:  `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"logprobs":null,"finish_reason":"stop"}]}`,
		checks:  []string{`/received/output/0/content/0 = {"type":"output_text","text":"Hi","annotations":[],"logprobs":[]}`},
	}}},
	{"case 28: what an answer repeats is never null", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI,
		request: `{"model":"m","input":"x"}`,
		answer:  `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}`,
		checks: []string{
			`/received/temperature = 1`, `/received/top_p = 1`, `/received/presence_penalty = 0`, `/received/frequency_penalty = 0`,
			`/received/top_logprobs = 0`, `/received/service_tier = "default"`, `/received/truncation = "disabled"`,
			`/received/background = false`, `/received/reasoning = {"effort":null,"summary":null}`,
			`/received/text = {"format":{"type":"text"}}`, `/received/tool_choice = "auto"`, `/received/tools = []`,
			`/received/metadata = {}`, `/received/instructions = null`, `/received/usage = null`, `/received/error = null`,
			`/received/parallel_tool_calls = true`, `/received/previous_response_id = null`,
		},
	}}},
	{"case 29: two messages in one response", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}}]}`,
		answer:  `{"id":"resp_u","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","phase":"commentary","content":[{"type":"output_text","text":"Looking…","annotations":[]}]},{"id":"fc_1","type":"function_call","status":"completed","call_id":"a","name":"f","arguments":"{}"},{"id":"msg_2","type":"message","role":"assistant","status":"completed","phase":"final_answer","content":[{"type":"output_text","text":"Done.","annotations":[]}]}]}`,
		checks: []string{
			`/received/choices/0/message/content = "Looking…\n\nDone."`,
			`/received/choices/0/message/tool_calls = [{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]`,
			`/received/choices/0/finish_reason = "tool_calls"`,
			`/received/choices/1 = absent`,
		},
	}}},
	{"case 30: finished twice, and chunks without choices", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "openrouter",
		request: `{"model":"m","input":"x","stream":true}`,
		stream: []string{
			`: OPENROUTER PROCESSING`,
			`{"choices":[]}`,
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}`,
			`: OPENROUTER PROCESSING`,
			`{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}`,
			`{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}`,
			`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`,
			`[DONE]`,
		},
		trace: []string{
			`output_item.added @0 {"content":[],"id":"msg_1","role":"assistant","status":"in_progress","type":"message"}`,
			`content_part.added msg_1 {"annotations":[],"logprobs":[],"text":"","type":"output_text"}`,
			`output_text.delta msg_1 "Hi"`,
			`output_text.done msg_1 "Hi"`,
			`content_part.done msg_1 {"annotations":[],"logprobs":[],"text":"Hi","type":"output_text"}`,
			`output_item.done @0 {"content":[{"annotations":[],"logprobs":[],"text":"Hi","type":"output_text"}],"id":"msg_1","role":"assistant","status":"completed","type":"message"}`,
			`completed completed`,
			`[DONE]`,
		},
		checks: []string{`/final/usage/total_tokens = 2`},
	}}},
	{"case 31: llama.cpp and vLLM as Responses upstreams", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI, dialect: "llama.cpp",
		request: `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"Hi","reasoning_content":"think"},{"role":"user","content":"y"}],"tools":[{"type":"function","function":{"name":"f"}}]}`,
		checks: []string{
			`/sent/input/1 = {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"think"}]}`,
			`/sent/input/2 = {"type":"message","role":"assistant","content":"Hi"}`,
			`/sent/tools/0/strict = false`, // left out it would be true there
			`/sent/previous_response_id = absent`,
		},
	}, {
		client: chatAPI, upstream: responsesAPI, dialect: "vllm",
		request: `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"Hi","reasoning":"think"},{"role":"user","content":"y"}]}`,
		checks: []string{
			`/sent/input/1 = {"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"think"}]}`,
		},
	}}},
	{"case 32: functions of 2023", []goldenExchange{{
		client: chatAPI, upstream: responsesAPI,
		request: `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"a\":1}"}},{"role":"function","name":"f","content":"r"}],"functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":"auto"}`,
		answer:  `{"id":"resp_u","object":"response","created_at":1,"status":"completed","model":"m","output":[{"id":"fc_u","type":"function_call","status":"completed","call_id":"a","name":"f","arguments":"{}"}]}`,
		checks: []string{
			`/sent/tools = [{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}]`,
			`/sent/tool_choice = "auto"`,
			`/sent/parallel_tool_calls = false`,
			`/sent/input/1 = {"type":"function_call","call_id":"call_3907cd0c8919c7b21736491e","name":"f","arguments":"{\"a\":1}"}`,
			`/sent/input/2 = {"type":"function_call_output","call_id":"call_3907cd0c8919c7b21736491e","output":"r"}`,
			`/received/choices/0/message/function_call = {"name":"f","arguments":"{}"}`,
			`/received/choices/0/message/tool_calls = absent`,
			`/received/choices/0/finish_reason = "function_call"`,
		},
	}}},
	{"case 33: Gemini's thought signature comes back", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "gemini", sealed: true,
		request: `{"model":"m","input":"x","store":false,"stream":true,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}`,
		stream: []string{
			`{"choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}}]},"finish_reason":"stop"}]}`,
			`[DONE]`,
		},
		checks: []string{
			`/final/output/0/type = "reasoning"`,
			`/final/output/0/summary = []`,
			`/final/output/1/type = "function_call"`,
		},
	}, {
		client: responsesAPI, upstream: chatAPI, dialect: "gemini", sealed: true,
		request: `{"model":"m","store":false,"input":[{"role":"user","content":"x"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"$sealed"},{"type":"function_call","id":"fc_1","status":"completed","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"1"}]}`,
		checks: []string{
			`/sent/messages/1/tool_calls/0 = {"id":"a","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S"}}}`,
		},
	}, {
		client: responsesAPI, upstream: chatAPI, dialect: "gemini", // a call that another model made
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call","call_id":"b","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"1"},{"type":"function_call_output","call_id":"b","output":"2"}]}`,
		checks: []string{
			`/sent/messages/1/tool_calls/0/extra_content = {"google":{"thought_signature":"skip_thought_signature_validator"}}`,
			`/sent/messages/1/tool_calls/1/extra_content = absent`, // only the first of a step is signed
		},
	}}},
	{"case 34: DeepSeek wants reasoning in every message", []goldenExchange{{
		client: responsesAPI, upstream: chatAPI, dialect: "deepseek",
		request: `{"model":"m","input":[{"role":"user","content":"x"},{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[]}]},{"role":"user","content":"y"}]}`,
		checks: []string{
			`/sent/messages = [{"role":"user","content":"x"},{"role":"assistant","content":"Hi","reasoning_content":""},{"role":"user","content":"y"}]`,
		},
	}}},
}
