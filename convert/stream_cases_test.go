package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/sse"
)

// streamCase is what one upstream sends and what a Responses client sees of it.
// The ladder that the events stand on is checked in each case and not written
// down; a Chat client's stream of the same is checked too.
type streamCase struct {
	name string
	// more are members of the client's request.
	more    string
	options Options
	// in are the data of the upstream's events. A line that begins with "event: "
	// or ":" is sent as it is.
	in []string
	// lost: the upstream's connection breaks behind them.
	lost bool
	// want are the deltas, the items that are done, and the end.
	want []string
}

// chunk is one with a delta, finish one with a finish_reason.
func chunk(delta string) string { return `{"choices":[{"index":0,"delta":` + delta + `}]}` }

func finish(reason string) string {
	return `{"choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}`
}

func content(s string) string { return chunk(`{"content":` + quoted(s) + `}`) }

func quoted(s string) string { return string(appendQuoted(nil, s)) }

func runCases(t *testing.T, upstream API, cases []streamCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out := c.play(t, upstream, Responses)
			told, faults := checkResponses(out)
			if len(faults) > 0 {
				t.Errorf("%s\n%s", strings.Join(faults, "\n"), out)
			}
			if got := traceOf(out); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			out = c.play(t, upstream, Chat)
			end, faults := checkChat(out, false)
			if len(faults) > 0 {
				t.Errorf("to Chat: %s\n%s", strings.Join(faults, "\n"), out)
			}
			if want := chatOf(told.response); end.err == nil && compact(textAndCalls(end)) != compact(want) {
				t.Errorf("a Chat client is told\n%s\na Responses client\n%s", show(textAndCalls(end)), show(want))
			}
		})
	}
}

// textAndCalls is what both clients must be told alike.
func textAndCalls(end chatEnd) any {
	return jsonMap{"content": end.content, "refusal": end.refusal, "reasoning": end.reasoning, "calls": append([]chatCallSeen{}, withoutIDs(end.calls)...)}
}

// chatOf is that of a response.
func chatOf(r jsonMap) any {
	var end chatEnd
	var texts, thoughts []string
	for _, v := range listOf(r["output"]) {
		it := v.(jsonMap)
		name := flatName(strOf(it["namespace"]), strOf(it["name"]))
		switch it["type"] {
		case "function_call":
			end.calls = append(end.calls, chatCallSeen{Type: "function", Name: name, Args: strOf(it["arguments"])})
		case "custom_tool_call":
			end.calls = append(end.calls, chatCallSeen{Type: "custom", Name: name, Args: strOf(it["input"])})
		}
		text := ""
		for _, v := range append(listOf(it["summary"]), listOf(it["content"])...) {
			p := v.(jsonMap)
			end.refusal += strOf(p["refusal"])
			if it["type"] == "reasoning" {
				thoughts = append(thoughts, strOf(p["text"]))
			} else {
				text += strOf(p["text"])
			}
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	end.content, end.reasoning = strings.Join(texts, "\n\n"), strings.Join(thoughts, "\n\n")
	return textAndCalls(end)
}

// play is a client's stream of the case.
func (c *streamCase) play(t *testing.T, upstream, client API) []byte {
	t.Helper()
	body := `{"model":"m","input":"x","stream":true` + c.more + `}`
	req, err := Read(Responses, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	r := &testRoute{upstream: upstream, client: client, req: req}
	o := c.options
	o.NewID = func(prefix string) string { r.ids++; return fmt.Sprint(prefix, r.ids) }
	o.Now = func() time.Time { return time.Unix(1, 0) }
	if r.turn, err = req.To(upstream, o); err != nil {
		t.Fatal(err)
	}
	req.Out = client
	x := r.start()
	for _, line := range c.in {
		if !strings.HasPrefix(line, "event: ") && !strings.HasPrefix(line, ":") {
			line = "data: " + line
		}
		x.feed([]byte(line + "\n\n"))
	}
	var cause *Error
	if c.lost {
		cause = connectionLost
	}
	out := x.end(cause)
	if len(x.out.faults) > 0 {
		t.Error(x.out.faults)
	}
	return out
}

// traceOf says what a Responses stream tells, one line for each delta, item and
// end.
func traceOf(stream []byte) (lines []string) {
	var p sse.Parser
	err := p.Feed(stream, func(e sse.Event) error {
		var v jsonMap
		if json.Unmarshal(e.Data, &v) != nil {
			return nil
		}
		at := fmt.Sprint(v["output_index"])
		typ := strings.TrimPrefix(strOf(v["type"]), "response.")
		switch typ {
		case "created", "in_progress", "content_part.added", "content_part.done", "reasoning_summary_part.added", "reasoning_summary_part.done", "error",
			"output_item.added", "output_text.done", "refusal.done", "reasoning_summary_text.done", "reasoning_text.done",
			"function_call_arguments.done", "custom_tool_call_input.done":
		case "output_item.done":
			lines = append(lines, at+" = "+itemTrace(v["item"].(jsonMap)))
		case "completed", "incomplete", "failed":
			lines = append(lines, endTrace(typ, v["response"].(jsonMap)))
		case "output_text.annotation.added":
			a := v["annotation"].(jsonMap)
			lines = append(lines, fmt.Sprintf("%s cites %v %v-%v", at, a["url"], a["start_index"], a["end_index"]))
		default:
			family, step, _ := strings.Cut(typ, ".")
			if short := deltaNames[family]; short != "" {
				family = short
			}
			if step != "delta" {
				family += "." + step
			}
			lines = append(lines, strings.TrimSuffix(at+" "+family+" "+fmt.Sprintf("%q", v["delta"]), ` %!q(<nil>)`))
		}
		return nil
	})
	if err != nil {
		lines = append(lines, err.Error())
	}
	return lines
}

var deltaNames = map[string]string{
	"output_text": "text", "reasoning_summary_text": "summary", "reasoning_text": "reasoning",
	"function_call_arguments": "args", "custom_tool_call_input": "input",
}

func itemTrace(it jsonMap) string {
	var b strings.Builder
	b.WriteString(strOf(it["type"]))
	if it["status"] != nil && it["status"] != "completed" {
		b.WriteString(" " + strOf(it["status"]))
	}
	for _, key := range []string{"call_id", "namespace", "name"} {
		if it[key] != nil {
			b.WriteString(" " + strOf(it[key]))
		}
	}
	for _, key := range []string{"arguments", "input"} {
		if s, ok := it[key].(string); ok {
			fmt.Fprintf(&b, " %q", s)
		} else if it[key] != nil {
			b.WriteString(" " + compact(it[key]))
		}
	}
	for _, key := range []string{"execution", "action", "operation", "encrypted_function_args"} {
		if it[key] != nil {
			b.WriteString(" " + compact(it[key]))
		}
	}
	for _, v := range append(listOf(it["summary"]), listOf(it["content"])...) {
		p := v.(jsonMap)
		mark := map[string]string{"refusal": "refusal ", "reasoning_text": "raw "}[strOf(p["type"])]
		fmt.Fprintf(&b, " %s%q", mark, strOf(p["text"])+strOf(p["refusal"]))
		if n := len(listOf(p["annotations"])); n > 0 {
			fmt.Fprintf(&b, " citing %d", n)
		}
		if l := listOf(p["logprobs"]); len(l) > 0 {
			b.WriteString(" " + compact(l))
		}
	}
	return b.String()
}

func compact(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func endTrace(typ string, r jsonMap) string {
	switch typ {
	case "incomplete":
		typ += " " + strOf(r["incomplete_details"].(jsonMap)["reason"])
	case "failed":
		e := r["error"].(jsonMap)
		typ += fmt.Sprintf(" %v: %v", e["code"], e["message"])
		for _, v := range listOf(r["output"]) {
			if it := v.(jsonMap); it["status"] == "incomplete" {
				typ += " | " + itemTrace(it)
			}
		}
	}
	if u, _ := r["usage"].(jsonMap); u != nil {
		typ += fmt.Sprintf(" usage %v+%v=%v cached %v reasoning %v", u["input_tokens"], u["output_tokens"], u["total_tokens"],
			u["input_tokens_details"].(jsonMap)["cached_tokens"], u["output_tokens_details"].(jsonMap)["reasoning_tokens"])
	}
	if tier := r["service_tier"]; tier != "default" {
		typ += fmt.Sprint(" tier ", tier)
	}
	return typ
}

const noFinish = "failed server_error: The upstream's stream ended before the answer was complete (no finish_reason)."

// TestChatStreamRules are the rules of conversion.md §D.5 by their numbers, but
// for 10, which TestCalls has.
func TestChatStreamRules(t *testing.T) {
	runCases(t, Chat, []streamCase{
		{name: "1: the response begins before the first token", in: nil, want: []string{noFinish}},
		{name: "2: an error", in: []string{content("Hi"), `{"error":{"message":"boom","type":"overloaded","code":"overloaded"}}`, content("!"), finish("stop"), "[DONE]"},
			want: []string{`0 text "Hi"`, `failed overloaded: boom | message incomplete "Hi"`}},
		{name: "2: no error", in: []string{`{"error":null,"choices":[{"delta":{"content":"a"}}]}`, `{"error":false,"choices":[{"delta":{"content":"b"}}]}`,
			`{"error":"","choices":[{"delta":{"content":"c"}}]}`, finish("stop")},
			want: []string{`0 text "a"`, `0 text "b"`, `0 text "c"`, `0 = message "abc"`, "completed"}},
		{name: "3: the last usage counts, wherever it stands", in: []string{
			`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}`,
			`{"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`, finish("stop"), `{"choices":[],"usage":null}`},
			want: []string{`0 text "a"`, `0 text "b"`, `0 = message "ab"`, "completed usage 5+2=7 cached 0 reasoning 0"}},
		{name: "3: Groq", in: []string{content("a"), `{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"queue_time":0.1}}}`},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed usage 5+2=7 cached 0 reasoning 0"}},
		{name: "3: Moonshot", in: []string{content("a"), `{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"cached_tokens":3}}]}`, "[DONE]"},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed usage 5+2=7 cached 3 reasoning 0"}},
		{name: "3: usage of other types", in: []string{content("a"), `{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5.0,"completion_tokens":2,"total_tokens":"7","cost":{"usd":0.1}}}`},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed usage 5+2=7 cached 0 reasoning 0"}},
		{name: "3: usage that is none", in: []string{content("a"), `{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":"free"}`},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "4: Azure", in: []string{`{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}`, content("a"),
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop","content_filter_results":{}}]}`, `{"model":"","usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, "[DONE]"},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed usage 1+1=2 cached 0 reasoning 0"}},
		{name: "4: another choice", in: []string{`{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"length"},{"index":0,"delta":{"content":"yes"}}]}`, finish("stop")},
			want: []string{`0 text "yes"`, `0 = message "yes"`, "completed"}},
		{name: "5: whole messages in a stream", in: []string{`{"choices":[{"message":{"role":"assistant","content":"a"}}]}`, `{"choices":[{"message":{"content":"b"},"finish_reason":"stop"}]}`},
			want: []string{`0 text "a"`, `0 text "b"`, `0 = message "ab"`, "completed"}},
		{name: "6: reasoning under two names", in: []string{chunk(`{"reasoning_content":"a","reasoning":"a"}`), chunk(`{"reasoning":"b","reasoning_details":[{"type":"reasoning.text","text":"b"}]}`), content("c"), finish("stop")},
			want: []string{`0 summary "a"`, `0 summary "b"`, `0 = reasoning "ab"`, `1 text "c"`, `1 = message "c"`, "completed"}},
		{name: "6: only the details", in: []string{chunk(`{"reasoning_details":[{"type":"reasoning.summary","summary":"a"},{"type":"reasoning.text","text":"b"},{"type":"reasoning.encrypted","data":"x"}]}`), content("c"), finish("stop")},
			want: []string{`0 summary "ab"`, `0 = reasoning "ab"`, `1 text "c"`, `1 = message "c"`, "completed"}},
		{name: "6: reasoning behind text", in: []string{content("a"), chunk(`{"reasoning_content":"r"}`), content("b"), finish("stop")},
			want: []string{`0 text "a"`, `0 = message "a"`, `1 summary "r"`, `1 = reasoning "r"`, `2 text "b"`, `2 = message "b"`, "completed"}},
		{name: "6: reasoning only", in: []string{chunk(`{"reasoning_content":"r"}`), finish("stop")}, want: []string{`0 summary "r"`, `0 = reasoning "r"`, "completed"}},
		{name: "6: as text", options: Options{Reasoning: ReasoningText}, in: []string{chunk(`{"reasoning_content":"r"}`), content("a"), finish("stop")},
			want: []string{`0 reasoning "r"`, `0 = reasoning raw "r"`, `1 text "a"`, `1 = message "a"`, "completed"}},
		{name: "6: not shown", options: Options{Reasoning: ReasoningOff}, in: []string{content("a"), chunk(`{"reasoning_content":"r"}`), content("b"), finish("stop")},
			want: []string{`0 text "a"`, `0 text "b"`, `0 = message "ab"`, "completed"}},
		{name: "7: Mistral", in: []string{chunk(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]}]}`), chunk(`{"content":[{"type":"thinking","thinking":"s"},{"type":"text","text":"a"}]}`), content("b"), finish("model_length")},
			want: []string{`0 summary "r"`, `0 summary "s"`, `0 = reasoning "rs"`, `1 text "a"`, `1 text "b"`, `1 = message incomplete "ab"`, "incomplete max_output_tokens"}},
		{name: "7: white space before text", in: []string{content("\n"), content("\n "), content("a"), content(" "), finish("stop")},
			want: []string{`0 text "\n\n a"`, `0 text " "`, `0 = message "\n\n a "`, "completed"}},
		{name: "7: white space around calls", in: []string{content("\n\n"), chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), content("\n"), finish("tool_calls")},
			want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "7: nothing but white space", in: []string{content("\n"), content(" "), finish("stop")}, want: []string{`0 text "\n "`, `0 = message "\n "`, "completed"}},
		{name: "7: white space behind reasoning", in: []string{chunk(`{"reasoning":"r"}`), content("\n\n"), finish("stop")}, want: []string{`0 summary "r"`, `0 = reasoning "r"`, "completed"}},
		{name: "7: white space before reasoning", in: []string{content("\n"), chunk(`{"reasoning":"r"}`), content("a"), finish("stop")},
			want: []string{`0 summary "r"`, `0 = reasoning "r"`, `1 text "\na"`, `1 = message "\na"`, "completed"}},
		{name: "8: a refusal", in: []string{chunk(`{"content":null,"refusal":"N"}`), chunk(`{"refusal":"o"}`), finish("stop")}, want: []string{`0 refusal "N"`, `0 refusal "o"`, `0 = message refusal "No"`, "completed"}},
		{name: "8: a refusal between texts", in: []string{content("a"), chunk(`{"refusal":"No"}`), content("b"), finish("stop")},
			want: []string{`0 text "a"`, `0 refusal "No"`, `0 text "b"`, `0 = message "a" refusal "No" "b"`, "completed"}},
		{name: "9: log probabilities", more: `,"include":["message.output_text.logprobs"]`, in: []string{
			`{"choices":[{"delta":{"content":"é"},"logprobs":{"content":[{"token":"é","logprob":-1,"bytes":null,"top_logprobs":[{"token":"e","logprob":-2,"bytes":[101]}]}]}}]}`, finish("stop")},
			want: []string{`0 text "é"`, `0 = message "é" [{"bytes":[195,169],"logprob":-1,"token":"é","top_logprobs":[{"bytes":[101],"logprob":-2,"token":"e"}]}]`, "completed"}},
		{name: "9: log probabilities of white space that is held", more: `,"include":["message.output_text.logprobs"]`, in: []string{
			`{"choices":[{"delta":{"content":" "},"logprobs":{"content":[{"token":" ","logprob":-1,"bytes":[32]}]}}]}`, `{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-2,"bytes":[97]}]}}]}`, finish("stop")},
			want: []string{`0 text " a"`, `0 = message " a" [{"bytes":[32],"logprob":-1,"token":" ","top_logprobs":[]},{"bytes":[97],"logprob":-2,"token":"a","top_logprobs":[]}]`, "completed"}},
		{name: "9: nobody asked for them", in: []string{`{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-1,"bytes":null}]}}]}`, finish("stop")},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "11: finish twice, and text in its chunk", in: []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`, content("b"), finish("length"), `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, "[DONE]", content("c")},
			want: []string{`0 text "a"`, `0 text "b"`, `0 = message "ab"`, "completed usage 1+1=2 cached 0 reasoning 0"}},
		{name: "12: usage behind finish", in: []string{content("a"), finish("stop"), `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, "[DONE]"},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed usage 1+1=2 cached 0 reasoning 0"}},
		{name: "12: cut", in: []string{content("a")}, want: []string{`0 text "a"`, noFinish + ` | message incomplete "a"`}},
		{name: "12: the connection breaks", in: []string{content("a")}, lost: true, want: []string{`0 text "a"`, `failed server_error: The upstream's connection broke. | message incomplete "a"`}},
		{name: "12: it breaks behind finish", in: []string{content("a"), finish("stop")}, lost: true, want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "12: [DONE] without finish", in: []string{content("a"), "[DONE]"}, want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "12: [DONE] without anything", in: []string{"[DONE]"}, want: []string{noFinish}},
		{name: "12: an empty answer", in: []string{chunk(`{"role":"assistant","content":""}`), finish("stop"), "[DONE]"}, want: []string{`0 = message ""`, "completed"}},
		{name: "12: an empty answer that ran out", in: []string{finish("length")}, want: []string{`0 = message incomplete ""`, "incomplete max_output_tokens"}},
		{name: "12: the words for an end", in: []string{content("a"), finish("SAFETY")}, want: []string{`0 text "a"`, `0 = message incomplete "a"`, "incomplete content_filter"}},
		{name: "12: unknown words for it", in: []string{content("a"), finish("bored")}, want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "12: it gave up", in: []string{content("a"), finish("insufficient_system_resource"), "[DONE]"},
			want: []string{`0 text "a"`, `failed server_error: The upstream stopped with finish_reason 'insufficient_system_resource'. | message incomplete "a"`}},
		{name: "14: remarks", in: []string{": OPENROUTER PROCESSING", "ping", `{"type":"ping"}`, `"ok"`, `[]`, ``, content("a"), "event: ping\ndata: {}", finish("stop"), "[DONE]"},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "a chunk of other types is not lost in silence", in: []string{content("a"), `{"choices":[{"index":0,"delta":{"content":"b","tool_calls":"none"}}]}`, finish("stop")},
			want: []string{`0 text "a"`, `failed server_error: The upstream sent a chunk that could not be read. | message incomplete "a"`}},
		{name: "half characters", in: []string{content("a"), chunk("{\"content\":\"\xe4\"}"), chunk("{\"content\":\"\xb8\xad\"}"), chunk(`{"content":"\ud83d"}`), finish("stop")},
			want: []string{`0 text "a"`, `0 text "�"`, `0 text "�"`, `0 text "�"`, `0 = message "a���"`, "completed"}},
		{name: "members that mean nothing may be anything", in: []string{`{"id":7,"created":"now","model":null,"object":null,"system_fingerprint":{},"service_tier":3,"choices":[{"index":0,"delta":{"role":1,"content":"a","annotations":"x","audio":4},"logprobs":[]}]}`, finish("stop")},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "service_tier", in: []string{`{"service_tier":"auto","choices":[]}`, `{"service_tier":"flex","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`, `{"service_tier":null,"choices":[]}`},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed tier flex"}},
	})
}

func TestChatStreamErrors(t *testing.T) {
	text := `0 text "a"`
	for _, c := range []struct{ name, in, want string }{
		{"OpenAI's object", `{"error":{"message":"boom","type":"server_error","param":null,"code":null}}`, "server_error: boom"},
		{"a string", `{"error":"boom"}`, "server_error: boom"},
		{"a string beside a message", `{"error":"Not Found","message":"no such model"}`, "server_error: no such model"},
		{"xAI", `{"code":"Client specified an invalid argument","error":"boom"}`, "Client specified an invalid argument: boom"},
		{"old vLLM", `{"object":"error","message":"boom","type":"InternalServerError","param":null,"code":500}`, "server_error: boom"},
		{"Mistral", `{"object":"error","message":"boom","type":"invalid_request_error","param":null,"code":"3280","raw_status_code":500}`, "server_error: boom"},
		{"Google's list", `[{"error":{"code":429,"message":"boom","status":"RESOURCE_EXHAUSTED"}}]`, "rate_limit_exceeded: boom"},
		{"OpenRouter", `{"id":"g","error":{"code":502,"message":"boom"},"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"error"}]}`, "server_error: boom"},
		{"a numeric code", `{"error":{"message":"boom","code":429}}`, "rate_limit_exceeded: boom"},
		{"a numeric status", `{"error":{"message":"boom","status":429}}`, "rate_limit_exceeded: boom"},
		{"no quota", `{"error":{"message":"boom","type":"insufficient_quota"}}`, "insufficient_quota: boom"},
		{"a context that is too long", `{"error":{"message":"This model's maximum context length is 8 tokens.","code":400}}`, "context_length_exceeded: This model's maximum context length is 8 tokens."},
		{"a message that is none", `{"error":{"message":{"a":1}}}`, `server_error: {"a":1}`},
		{"an empty object", `{"error":{}}`, "server_error: The upstream reported an error without a message."},
		{"event: error", "event: error\ndata: {\"error\":{\"message\":\"boom\"}}", "server_error: boom"},
		{"event: error, flat", "event: error\ndata: {\"message\":\"boom\",\"code\":429}", "rate_limit_exceeded: boom"},
		{"event: error, FastAPI", "event: error\ndata: {\"detail\":\"boom\"}", "server_error: boom"},
		{"event: error, a string", "event: error\ndata: \"boom\"", "server_error: boom"},
		{"event: error, no JSON", "event: error\ndata: boom", "server_error: boom"},
		{"event: error, nothing", "event: error\ndata:", "server_error: The upstream reported an error without a message."},
	} {
		runCases(t, Chat, []streamCase{{name: c.name, in: []string{content("a"), c.in, finish("stop")}, want: []string{text, "failed " + c.want + ` | message incomplete "a"`}}})
	}
}

func TestChatStreamAnnotations(t *testing.T) {
	cite := func(url string, start, end int) string {
		return fmt.Sprintf(`{"annotations":[{"type":"url_citation","url_citation":{"url":"%s","title":"t","start_index":%d,"end_index":%d}}]}`, url, start, end)
	}
	call := chunk(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`)
	runCases(t, Chat, []streamCase{
		{name: "between the deltas", in: []string{content("é1"), chunk(cite("u", 0, 2)), content("2"), chunk(cite("v", 2, 3)), finish("stop")},
			want: []string{`0 text "é1"`, "0 cites u 0-2", `0 text "2"`, "0 cites v 2-3", `0 = message "é12" citing 2`, "completed"}},
		{name: "in one chunk with its text", in: []string{chunk(`{"content":"a",` + cite("u", 0, 1)[1:]), finish("stop")}, want: []string{`0 text "a"`, "0 cites u 0-1", `0 = message "a" citing 1`, "completed"}},
		{name: "before its text", in: []string{chunk(cite("u", 0, 1)), content("a"), finish("stop")}, want: []string{"0 cites u 0-1", `0 text "a"`, `0 = message "a" citing 1`, "completed"}},
		{name: "of the text behind a call", in: []string{content("éa"), call, content("bc"), chunk(cite("u", 2, 4)), finish("stop")},
			want: []string{`0 text "éa"`, `0 = message "éa"`, `1 args "{}"`, `2 text "bc"`, "2 cites u 0-2", `2 = message "bc" citing 1`, `1 = function_call a f "{}"`, "completed"}},
		{name: "counting white space that was dropped", in: []string{content("\n\n"), call, content("a"), chunk(cite("u", 2, 3)), finish("stop")},
			want: []string{`0 args "{}"`, `1 text "a"`, "1 cites u 0-1", `1 = message "a" citing 1`, `0 = function_call a f "{}"`, "completed"}},
		{name: "of other kinds, or broken", in: []string{content("a"), chunk(`{"annotations":[{"type":"file","file":{}},7,null,{"type":"url_citation"}]}`), finish("stop")},
			want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "within a refusal", in: []string{chunk(`{"refusal":"No"}`), chunk(cite("u", 0, 1)), finish("stop")}, want: []string{`0 refusal "No"`, `0 = message refusal "No"`, "completed"}},
	})
}
