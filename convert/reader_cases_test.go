package convert

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Events of a Responses upstream.

func opened(more string) string {
	return `{"type":"response.created","response":{"id":"resp_up","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]` + more + `}}`
}

func added(at int, item string) string {
	return fmt.Sprintf(`{"type":"response.output_item.added","output_index":%d,"item":%s}`, at, item)
}

func itemDone(at int, item string) string {
	return fmt.Sprintf(`{"type":"response.output_item.done","output_index":%d,"item":%s}`, at, item)
}

func partAdded(id string, at, part int) string {
	return fmt.Sprintf(`{"type":"response.content_part.added","item_id":"%s","output_index":%d,"content_index":%d,"part":{"type":"output_text","text":"","annotations":[]}}`, id, at, part)
}

// deltaOf is a delta of an item: of its text, or of the family that is named.
func deltaOf(family, id string, at int, text string) string {
	return fmt.Sprintf(`{"type":"response.%s.delta","item_id":"%s","output_index":%d,"content_index":0,"summary_index":0,"delta":%s}`, family, id, at, quoted(text))
}

func ended(status string, items ...string) string {
	more := ""
	switch status {
	case "incomplete":
		more = `,"incomplete_details":{"reason":"content_filter"}`
	case "failed":
		more = `,"error":{"code":"rate_limit_exceeded","message":"boom"}`
	}
	return `{"type":"response.` + status + `","response":{"id":"resp_up","object":"response","created_at":1,"status":"` + status + `","model":"m","output":[` + strings.Join(items, ",") + `]` + more + `}}`
}

func messageItem(id, text string) string {
	return `{"type":"message","id":"` + id + `","status":"completed","role":"assistant","content":[{"type":"output_text","text":` + quoted(text) + `,"annotations":[],"logprobs":[]}]}`
}

func callItem(id, callID, name, args string) string {
	return `{"type":"function_call","id":"` + id + `","status":"completed","call_id":"` + callID + `","name":"` + name + `","arguments":` + quoted(args) + `}`
}

func reasoningOf(id, text string) string {
	return `{"type":"reasoning","id":"` + id + `","summary":[{"type":"summary_text","text":` + quoted(text) + `}]}`
}

const noTerminal = "failed server_error: The upstream's stream ended before the response was complete (no terminal event)."

// TestResponsesReader: what a Responses upstream leaves out or mixes up is mended.
func TestResponsesReader(t *testing.T) {
	hello := []string{`0 text "Hi"`, `0 = message "Hi"`, "completed"}
	runCases(t, Responses, []streamCase{
		{name: "no response.created", in: []string{added(0, messageItem("m", "")), partAdded("m", 0, 0), deltaOf("output_text", "m", 0, "Hi"), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "response.created twice, and late", in: []string{`{"type":"response.in_progress","response":{"id":"resp_up","status":"in_progress","output":null}}`, opened(""), opened(""), itemDone(0, messageItem("m", "Hi")), ended("completed")}, want: hello},
		{name: "no output_item.added", in: []string{opened(""), partAdded("m", 0, 0), deltaOf("output_text", "m", 0, "Hi"), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "no content_part.added", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "Hi"), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "only deltas and an end", in: []string{deltaOf("output_text", "m", 0, "H"), deltaOf("output_text", "m", 0, "i"), ended("completed")}, want: []string{`0 text "H"`, `0 text "i"`, `0 = message "Hi"`, "completed"}},
		{name: "no deltas", in: []string{opened(""), added(0, messageItem("m", "")), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "only output_item.done", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "only response.completed", in: []string{ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "no output_item.done", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "H"), ended("completed", messageItem("m", "Hi"))}, want: []string{`0 text "H"`, `0 text "i"`, `0 = message "Hi"`, "completed"}},
		{name: "an empty output at the end", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), ended("completed")}, want: hello},
		{name: "an output that is null at the end", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), `{"type":"response.completed","response":{"id":"resp_up","output":null}}`}, want: hello},
		{name: "no response at the end", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), `{"type":"response.completed"}`}, want: hello},
		{name: "no answer at all", in: []string{opened(""), ended("completed")}, want: []string{"completed"}},
		{name: "text done without deltas", in: []string{opened(""), added(0, messageItem("m", "")), partAdded("m", 0, 0), `{"type":"response.output_text.done","item_id":"m","output_index":0,"content_index":0,"text":"Hi"}`, ended("completed")}, want: hello},
		{name: "a part done without deltas", in: []string{opened(""), added(0, messageItem("m", "")), `{"type":"response.content_part.done","item_id":"m","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hi"}}`, ended("completed")}, want: hello},
		{name: "done says more than the deltas", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "H"), itemDone(0, messageItem("m", "Hi")), ended("completed")}, want: []string{`0 text "H"`, `0 text "i"`, `0 = message "Hi"`, "completed"}},
		{name: "done says something else than the deltas", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "\nHi"), itemDone(0, messageItem("m", "Hi")), ended("completed", messageItem("m", "Hi"))}, want: []string{`0 text "\nHi"`, `0 = message "\nHi"`, "completed"}},
		{name: "done twice, and deltas behind it", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), itemDone(0, messageItem("m", "Hi")), deltaOf("output_text", "m", 0, "!"), ended("completed", messageItem("m", "Hi"))}, want: hello},
		{name: "added twice", in: []string{opened(""), added(0, messageItem("m", "")), added(0, messageItem("m", "")), itemDone(0, messageItem("m", "Hi")), ended("completed")}, want: hello},
		{name: "half characters", in: []string{opened(""), "{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"delta\":\"\xe4\"}", "{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"delta\":\"\xb8\xad\"}", ended("completed")},
			want: []string{`0 text "�"`, `0 text "�"`, `0 = message "��"`, "completed"}},
		{name: "the response's id changes", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), strings.Replace(ended("completed"), "resp_up", "resp_other", 1)}, want: hello},
		{name: "the item's id changes", in: []string{opened(""), added(0, messageItem("m1", "")), deltaOf("output_text", "m2", 0, "Hi"), itemDone(0, messageItem("m3", "Hi")), ended("completed", messageItem("m4", "Hi"))}, want: hello},
		{name: "no ids", in: []string{opened(""), added(0, `{"type":"message","role":"assistant"}`), `{"type":"response.output_text.delta","output_index":0,"delta":"Hi"}`, itemDone(0, `{"type":"message","role":"assistant","content":"Hi"}`), ended("completed", `{"role":"assistant","content":"Hi"}`)}, want: hello},
		{name: "no ids and no places", in: []string{opened(""), `{"type":"response.reasoning_summary_text.delta","delta":"r"}`, `{"type":"response.output_text.delta","delta":"Hi"}`, ended("completed")},
			want: []string{`0 summary "r"`, `1 text "Hi"`, `0 = reasoning "r"`, `1 = message "Hi"`, "completed"}},
		{name: "the status is that of the response", in: []string{opened(""), `{"type":"response.completed","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[` + messageItem("m", "Hi") + `]}}`}, want: []string{`0 text "Hi"`, `0 = message "Hi"`, "incomplete max_output_tokens"}},
		{name: "a failure that is called completed", in: []string{opened(""), `{"type":"response.completed","response":{"status":"failed","error":{"code":"server_error","message":"boom"}}}`}, want: []string{"failed server_error: boom"}},
		{name: "cancelled", in: []string{opened(""), `{"type":"response.completed","response":{"status":"cancelled"}}`}, want: []string{"failed cancelled: The response was cancelled."}},
		{name: "incomplete", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "Hi"), ended("incomplete")}, want: []string{`0 text "Hi"`, `0 = message incomplete "Hi"`, "incomplete content_filter"}},
		{name: "incomplete without a reason", in: []string{opened(""), `{"type":"response.incomplete","response":{"output":[]}}`}, want: []string{"incomplete max_output_tokens"}},
		{name: "terminal events twice", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), ended("completed"), ended("failed"), "[DONE]"}, want: hello},
		{name: "[DONE] without a terminal event", in: []string{opened(""), deltaOf("output_text", "m", 0, "Hi"), "[DONE]"}, want: []string{`0 text "Hi"`, noTerminal + ` | message incomplete "Hi"`}},
		{name: "cut", in: []string{opened(""), itemDone(0, reasoningOf("r", "R")), added(1, messageItem("m", "")), deltaOf("output_text", "m", 1, "Hi")}, lost: true,
			want: []string{`0 summary "R"`, `0 = reasoning "R"`, `1 text "Hi"`, `failed server_error: The upstream's connection broke. | message incomplete "Hi"`}},
		{name: "nothing", want: []string{noTerminal}},
	})
}

func TestResponsesReaderErrors(t *testing.T) {
	text, open := `0 text "a"`, ` | message incomplete "a"`
	begin := []string{opened(""), deltaOf("output_text", "m", 0, "a")}
	for _, c := range []struct {
		name string
		in   []string
		want string
	}{
		{"response.failed alone", []string{ended("failed")}, "rate_limit_exceeded: boom"},
		{"error, flat, alone", []string{`{"type":"error","code":"server_error","message":"boom","param":null}`}, "server_error: boom"},
		{"error, nested, alone", []string{`{"type":"error","error":{"type":"server_error","code":"overloaded","message":"boom"}}`}, "overloaded: boom"},
		{"error without a type", []string{`{"error":{"message":"boom"}}`}, "server_error: boom"},
		{"event: error without a type", []string{"event: error\ndata: {\"message\":\"boom\"}"}, "server_error: boom"},
		{"event: error with a string", []string{"event: error\ndata: boom"}, "server_error: boom"},
		{"a numeric code", []string{`{"type":"error","code":429,"message":"boom"}`}, "rate_limit_exceeded: boom"},
		{"a context that is too long", []string{`{"type":"error","code":null,"message":"Your input exceeds the context window of this model."}`}, "context_length_exceeded: Your input exceeds the context window of this model."},
		{"error, then response.failed", []string{`{"type":"error","code":"a","message":"b"}`, ended("failed")}, "rate_limit_exceeded: boom"},
		{"error, then response.failed without one", []string{`{"type":"error","code":"a","message":"b"}`, `{"type":"response.failed","response":{"status":"failed","error":null}}`}, "a: b"},
		{"response.failed without an error", []string{`{"type":"response.failed","response":{"status":"failed","error":null}}`}, "server_error: The upstream's response failed."},
		{"a context that is too long, under another code", []string{`{"type":"response.failed","response":{"error":{"code":"server_error","message":"prompt is too long"}}}`}, "context_length_exceeded: prompt is too long"},
		{"an error without a message", []string{`{"type":"response.failed","response":{"error":{"code":"bio_policy","message":""}}}`}, "bio_policy: The upstream's response failed."},
		{"an error without a code", []string{`{"type":"response.failed","response":{"error":{"message":"boom"}}}`}, "server_error: boom"},
		{"an error that is a string", []string{`{"type":"response.failed","response":{"error":"boom","usage":"none"}}`}, "server_error: The upstream's response failed."},
		{"an event of other types", []string{`{"type":"response.output_text.delta","item_id":7,"delta":"b"}`}, "server_error: The upstream sent an event of type 'response.output_text.delta' that could not be read."},
	} {
		runCases(t, Responses, []streamCase{{name: c.name, in: append(slices.Clone(begin), c.in...), want: []string{text, "failed " + c.want + open}}})
	}
	runCases(t, Responses, []streamCase{
		{name: "an error that the server got over", in: append(slices.Clone(begin), `{"type":"error","code":"a","message":"b"}`, ended("completed")), want: []string{text, `0 = message "a"`, "completed"}},
		{name: "a terminal event of other types", in: append(slices.Clone(begin), `{"type":"response.completed","response":{"id":"x","created_at":"now","usage":{"input_tokens":"3"},"output":[`+messageItem("m", "ab")+`]}}`), want: []string{text, `0 text "b"`, `0 = message "ab"`, "completed"}},
		{name: "remarks", in: append(slices.Clone(begin), `{"type":"keepalive","sequence_number":3}`, `{"type":"ping"}`, `7`, `{}`, ": comment", ended("completed")), want: []string{text, `0 = message "a"`, "completed"}},
	})
}

// TestResponsesReaderCalls: calls, reasoning and hosted tools.
func TestResponsesReaderCalls(t *testing.T) {
	runCases(t, Responses, []streamCase{
		{name: "Ollama: both calls at one place", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), deltaOf("function_call_arguments", "fc_1", 0, `{"x":1}`), itemDone(0, callItem("fc_1", "a", "f", `{"x":1}`)),
			added(0, callItem("fc_2", "b", "f", "")), deltaOf("function_call_arguments", "fc_2", 0, `{"x":2}`), itemDone(0, callItem("fc_2", "b", "f", `{"x":2}`)), ended("completed", callItem("fc_1", "a", "f", `{"x":1}`), callItem("fc_2", "b", "f", `{"x":2}`))},
			want: []string{`0 args "{\"x\":1}"`, `0 = function_call a f "{\"x\":1}"`, `1 args "{\"x\":2}"`, `1 = function_call b f "{\"x\":2}"`, "completed"}},
		{name: "calls that alternate", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), added(1, callItem("fc_2", "b", "f", "")), deltaOf("function_call_arguments", "fc_2", 1, `{}`), deltaOf("function_call_arguments", "fc_1", 0, `{}`),
			itemDone(1, callItem("fc_2", "b", "f", `{}`)), itemDone(0, callItem("fc_1", "a", "f", `{}`)), ended("completed")},
			want: []string{`1 args "{}"`, `0 args "{}"`, `1 = function_call b f "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "no argument deltas", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), itemDone(0, callItem("fc_1", "a", "f", `{}`)), ended("completed")}, want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "no arguments", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), `{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":0,"arguments":""}`, itemDone(0, callItem("fc_1", "a", "f", ``)), ended("completed")}, want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "no arguments, as the answer broke off", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), ended("incomplete")}, want: []string{`0 = function_call incomplete a f ""`, "incomplete content_filter"}},
		{name: "arguments that are not whole", in: []string{opened(""), added(0, callItem("fc_1", "a", "f", "")), deltaOf("function_call_arguments", "fc_1", 0, `{"x`), ended("completed")}, want: []string{`0 args "{\"x"`, `0 = function_call incomplete a f "{\"x"`, "completed"}},
		{name: "no output_item.added", in: []string{opened(""), deltaOf("function_call_arguments", "fc_1", 0, `{}`), itemDone(0, callItem("fc_1", "a", "f", `{}`)), ended("completed")}, want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "the name comes with the end", in: []string{opened(""), added(0, callItem("fc_1", "a", "", "")), deltaOf("function_call_arguments", "fc_1", 0, `{}`), itemDone(0, callItem("fc_1", "a", "f", `{}`)), ended("completed")}, want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "no name", in: []string{opened(""), itemDone(0, callItem("fc_1", "a", "", `{}`)), ended("completed", callItem("fc_1", "a", "", `{}`))}, want: []string{`0 args "{}"`, `0 = function_call a unknown_tool "{}"`, "completed"}},
		{name: "call ids that are empty or the same", in: []string{ended("completed", callItem("fc_1", "", "f", `{}`), callItem("fc_2", "a", "f", `{}`), callItem("fc_3", "a", "f", `{}`))},
			want: []string{`0 args "{}"`, `0 = function_call call_1 f "{}"`, `1 args "{}"`, `1 = function_call a f "{}"`, `2 args "{}"`, `2 = function_call call_2 f "{}"`, "completed"}},
		{name: "a custom tool", in: []string{opened(""), added(0, `{"type":"custom_tool_call","id":"ctc_1","call_id":"a","name":"p","input":""}`), deltaOf("custom_tool_call_input", "ctc_1", 0, "x"), itemDone(0, `{"type":"custom_tool_call","id":"ctc_1","call_id":"a","name":"p","input":"xy"}`), ended("completed")},
			want: []string{`0 input "x"`, `0 input "y"`, `0 = custom_tool_call a p "xy"`, "completed"}},

		{name: "reasoning without a part", in: []string{opened(""), added(0, `{"type":"reasoning","id":"r","summary":[]}`), deltaOf("reasoning_summary_text", "r", 0, "R"), itemDone(0, reasoningOf("r", "R")), itemDone(1, messageItem("m", "Hi")), ended("completed")},
			want: []string{`0 summary "R"`, `0 = reasoning "R"`, `1 text "Hi"`, `1 = message "Hi"`, "completed"}},
		{name: "reasoning under the name of Open Responses", in: []string{opened(""), added(0, `{"type":"reasoning","id":"r","summary":[]}`), deltaOf("reasoning", "r", 0, "R"), `{"type":"response.reasoning.done","item_id":"r","output_index":0,"content_index":0,"text":"R"}`, ended("completed")},
			want: []string{`0 reasoning "R"`, `0 = reasoning raw "R"`, "completed"}},
		{name: "raw reasoning", in: []string{opened(""), added(0, `{"type":"reasoning","id":"r","summary":[],"content":[]}`), `{"type":"response.content_part.added","item_id":"r","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":""}}`, deltaOf("reasoning_text", "r", 0, "R"),
			itemDone(0, `{"type":"reasoning","id":"r","summary":[],"content":[{"type":"reasoning_text","text":"R"}],"encrypted_content":"E"}`), ended("completed")}, want: []string{`0 reasoning "R"`, `0 = reasoning raw "R"`, "completed"}},
		{name: "two parts of a summary", in: []string{opened(""), itemDone(0, `{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"A"},{"type":"summary_text","text":"B"}]}`), ended("completed")},
			want: []string{`0 summary "A"`, `0 summary "B"`, `0 = reasoning "A" "B"`, "completed"}},

		{name: "web search", in: []string{opened(""), added(0, `{"type":"web_search_call","id":"ws_1","status":"in_progress"}`), `{"type":"response.web_search_call.in_progress","item_id":"ws_1","output_index":0}`, `{"type":"response.web_search_call.completed","item_id":"ws_1","output_index":0}`,
			itemDone(0, `{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}`), itemDone(1, messageItem("m", "Hi")), ended("completed")},
			want: []string{"0 web_search_call.in_progress", "0 web_search_call.completed", `0 = web_search_call {"query":"q","type":"search"}`, `1 text "Hi"`, `1 = message "Hi"`, "completed"}},
		{name: "web search, not announced, at a place that is taken", in: []string{opened(""), itemDone(0, messageItem("m", "Hi")), `{"type":"response.web_search_call.searching","item_id":"ws_1","output_index":0}`, ended("completed")},
			want: []string{`0 text "Hi"`, `0 = message "Hi"`, "1 web_search_call.searching", "1 = web_search_call", "completed"}},
		{name: "log probabilities without bytes", in: []string{opened(""), added(0, messageItem("m", "")), partAdded("m", 0, 0), `{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"é","logprobs":[{"token":"é","logprob":-1,"top_logprobs":[{"token":"e","logprob":-2}]}]}`, ended("completed")},
			want: []string{`0 text "é"`, `0 = message "é" [{"bytes":[195,169],"logprob":-1,"token":"é","top_logprobs":[{"bytes":[101],"logprob":-2,"token":"e"}]}]`, "completed"}},
		{name: "a citation", in: []string{opened(""), added(0, messageItem("m", "")), deltaOf("output_text", "m", 0, "Hi"), `{"type":"response.output_text.annotation.added","item_id":"m","output_index":0,"content_index":0,"annotation_index":9,"annotation":{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":2}}`, ended("completed")},
			want: []string{`0 text "Hi"`, "0 cites u 0-2", `0 = message "Hi" citing 1`, "completed"}},
		{name: "a citation that only the item has", in: []string{opened(""), itemDone(0, `{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":2}]}]}`), ended("completed")},
			want: []string{`0 text "Hi"`, "0 cites u 0-2", `0 = message "Hi" citing 1`, "completed"}},
		{name: "a refusal", in: []string{opened(""), itemDone(0, `{"type":"message","id":"m","role":"assistant","content":[{"type":"refusal","refusal":"No"}]}`), ended("completed")}, want: []string{`0 refusal "No"`, `0 = message refusal "No"`, "completed"}},
		{name: "text that is called text", in: []string{opened(""), itemDone(0, `{"type":"message","id":"m","role":"assistant","content":[{"type":"text","text":"Hi"}]}`), ended("completed")}, want: []string{`0 text "Hi"`, `0 = message "Hi"`, "completed"}},
	})
}

// TestFraming: nothing that an upstream sends can end an event of the client's
// early or begin one of its own (reliability.md A3).
func TestFraming(t *testing.T) {
	evil := "a\r\ndata: {\"type\":\"error\"}\n\nevent: error\rdata: x\u2028\u2029\u0085\x00"
	pretty := func(s string) string {
		return strings.NewReplacer(`{"`, "{\r\ndata:  \"", `,"`, ",\rdata: \t\"").Replace(s)
	}
	for _, c := range []streamCase{
		{in: []string{pretty(opened("")), pretty(added(0, `{"type":"message","id":`+quoted(evil)+`,"status":"in_progress","role":"assistant","content":[],"x":{"y":[1,2]}}`)), pretty(itemDone(0, messageItem("m", "z"))),
			pretty(`{"type":"response.web_search_call.searching","item_id":"ws_1","output_index":1,"new":{"a":[1,{"b":2}]}}`), `{"type":"response.new\nevent: error","item_id":"m"}`, `{"type":"response.bad name\r","x":1}`,
			itemDone(2, callItem("fc_1", "a", "f", evil)), ended("completed")}},
		{in: []string{opened(""), deltaOf("output_text", "m", 0, evil), `{"type":"response.failed","response":{"error":{"code":` + quoted(evil) + `,"message":` + quoted(evil) + `}}}`}},
	} {
		for _, client := range bothAPIs {
			out := c.play(t, Responses, client)
			var faults []string
			if client == Chat {
				_, faults = checkChat(out, false)
			} else {
				_, faults = checkResponses(out)
			}
			if len(faults) > 0 {
				t.Errorf("%s: %s\n%s", client, strings.Join(faults, "\n"), out)
			}
		}
	}
	c := streamCase{in: []string{content(evil), finish("stop")}}
	if end, faults := checkChat(c.play(t, Chat, Chat), false); len(faults) > 0 || end.content != evil {
		t.Errorf("%q, %v", end.content, faults)
	}
}

// TestManyItems: the cost of an item does not grow with those before it.
func TestManyItems(t *testing.T) {
	linear(t, func(n int) streamCase {
		in := []string{opened("")}
		var all []string
		for i := range n {
			in = append(in, added(i, messageItem(fmt.Sprint("m", i), "")), deltaOf("output_text", fmt.Sprint("m", i), i, "a"))
			all = append(all, messageItem(fmt.Sprint("m", i), "ab"))
		}
		return streamCase{in: append(in, ended("completed", all...))}
	}, Responses)
}
