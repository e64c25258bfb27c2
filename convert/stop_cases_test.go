package convert

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labiium/chat2response/sse"
)

// stopCase is a text of a Responses upstream, in the pieces in which it comes,
// and what of it a Chat client with stop sequences is told.
type stopCase struct {
	name   string
	stops  []string
	pieces []string
	want   string
	cut    bool // a stop sequence came
}

var stopCases = []stopCase{
	{"none", []string{"STOP"}, []string{"Hello", " world"}, "Hello world", false},
	{"in one piece", []string{"STOP"}, []string{"aSTOPb"}, "a", true},
	{"at the beginning", []string{"STOP"}, []string{"STOPb"}, "", true},
	{"at the very end", []string{"STOP"}, []string{"a", "ST", "OP"}, "a", true},
	{"across pieces", []string{"STOP"}, []string{"aS", "T", "OPb"}, "a", true},
	{"only its beginning", []string{"STOP"}, []string{"aST", "ART", "ST"}, "aSTARTST", false},
	{"it begins twice", []string{"aab"}, []string{"a", "a", "a", "b"}, "a", true},
	{"a line end", []string{"\n"}, []string{"a", "\n", "b"}, "a", true},
	{"several letters of another script", []string{"。終"}, []string{"你好", "。", "終", "x"}, "你好", true},
	{"half of a letter is not its beginning", []string{"é"}, []string{"Ã", "ê", "é"}, "Ãê", true},
	{"a letter of four bytes", []string{"🚀!"}, []string{"a🚀", "!b"}, "a", true},
	{"two: the one that is complete first", []string{"abc", "b"}, []string{"xa", "bc"}, "xa", true},
	{"two: the same in one piece", []string{"abc", "b"}, []string{"xabc"}, "xa", true},
	{"two: the longer one, where they end together", []string{"c", "bc"}, []string{"xabc"}, "xa", true},
	{"two that hold back different lengths", []string{"abcd", "cx"}, []string{"ab", "c", "x"}, "ab", true},
	{"one that is in the other", []string{"ab", "zabz"}, []string{"za", "b"}, "z", true},
	{"empty ones do not count", []string{"", "b"}, []string{"ab"}, "a", true},
	{"longer than the text", []string{strings.Repeat("x", 100)}, []string{"xxx", "xx"}, "xxxxx", false},
}

// stopTurn is a Chat client's request with stop sequences on its way to a
// Responses upstream.
func stopTurn(t *testing.T, stops []string, more string) (*Request, *Turn) {
	t.Helper()
	body := `{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"stop":` + compact(stops) + more + `}`
	req, err := Read(Chat, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	turn, err := req.To(Responses, Options{NewID: func(p string) string { n++; return fmt.Sprint(p, n) }, Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return req, turn
}

func playStop(t *testing.T, out API, stops, in []string) (stream []byte, cancelled int) {
	t.Helper()
	req, turn := stopTurn(t, stops, "")
	req.Out = out
	var w writes
	sender := sse.NewWriter(&w, nil)
	reader := turn.Reader(req.Writer(sender), func() { cancelled++ })
	for _, line := range in {
		if err := reader.Event(sse.Event{Data: []byte(line)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := reader.Close(connectionLost); err != nil { // what a cancelled upstream looks like
		t.Fatal(err)
	}
	sender.Send()
	return w.Bytes(), cancelled
}

func textStream(pieces []string) []string {
	in := []string{opened(""), added(0, messageItem("m", "")), partAdded("m", 0, 0)}
	for _, p := range pieces {
		in = append(in, deltaOf("output_text", "m", 0, p))
	}
	whole := messageItem("m", strings.Join(pieces, ""))
	return append(in, itemDone(0, whole), added(1, callItem("fc", "a", "f", "")), itemDone(1, callItem("fc", "a", "f", "{}")), ended("completed", whole, callItem("fc", "a", "f", "{}")))
}

func TestStopSequences(t *testing.T) {
	for _, c := range stopCases {
		t.Run(c.name, func(t *testing.T) {
			whole := strings.Join(c.pieces, "")
			// However the text is divided, what comes of it is the same.
			divisions := [][]string{c.pieces, {whole}, strings.Split(whole, "")}
			for i := range whole {
				divisions = append(divisions, []string{whole[:i], whole[i:]})
			}
			for _, pieces := range divisions {
				pieces = slices.DeleteFunc(slices.Clone(pieces), func(s string) bool { return s == "" })
				stream, cancelled := playStop(t, Chat, c.stops, textStream(pieces))
				end, faults := checkChat(stream, false)
				if len(faults) > 0 || end.content != c.want || cancelled != map[bool]int{true: 1}[c.cut] {
					t.Errorf("%q: %q, cancelled %d times, %v\n%s", pieces, end.content, cancelled, faults, stream)
				}
				// A call behind a stop sequence is not told of.
				if want := map[bool]string{true: "stop", false: "tool_calls"}[c.cut]; end.finish != want {
					t.Errorf("%q: finish_reason %s, want %s", pieces, end.finish, want)
				}
				stream, _ = playStop(t, Responses, c.stops, textStream(pieces))
				if _, faults := checkResponses(stream); len(faults) > 0 {
					t.Errorf("%q: %v\n%s", pieces, faults, stream)
				}
			}
			_, turn := stopTurn(t, c.stops, "")
			resp, err := turn.Answer([]byte(`{"id":"r","status":"completed","output":[` + messageItem("m", whole) + `,` + callItem("fc", "a", "f", "{}") + `]}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Output[0].Content.Parts[0].Str(); got != c.want || (len(resp.Output) == 1) != c.cut {
				t.Errorf("whole: %q and %d items", got, len(resp.Output))
			}
		})
	}
}

// TestStopElsewhere: parts and items before the one that a stop sequence ends
// stay whole, those beside it end, and those behind it are not there.
func TestStopElsewhere(t *testing.T) {
	twoParts := `{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"one","annotations":[],"logprobs":[]},{"type":"output_text","text":"two STOP three","annotations":[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":2}],"logprobs":[]},{"type":"output_text","text":"four","annotations":[],"logprobs":[]}]}`
	for _, c := range []struct {
		name string
		in   []string
		want []string
	}{
		{"in the second part", []string{opened(""), itemDone(0, twoParts), ended("completed")},
			[]string{`0 text "one"`, `0 text "two "`, `0 = message "one" "two "`, "completed"}},
		{"beside a call", []string{opened(""), added(0, callItem("fc", "a", "f", "")), deltaOf("function_call_arguments", "fc", 0, `{"x`), deltaOf("output_text", "m", 1, "a STOP b"), deltaOf("function_call_arguments", "fc", 0, `":1}`)},
			[]string{`0 args "{\"x"`, `1 text "a "`, `0 = function_call incomplete a f "{\"x"`, `1 = message "a "`, "completed"}},
		{"not in a refusal, nor in reasoning or arguments", []string{opened(""), itemDone(0, reasoningOf("r", "STOP")), itemDone(1, callItem("fc", "a", "f", `{"x":"STOP"}`)), itemDone(2, `{"type":"message","id":"m","role":"assistant","content":[{"type":"refusal","refusal":"STOP"}]}`), ended("completed")},
			[]string{`0 summary "STOP"`, `0 = reasoning "STOP"`, `1 args "{\"x\":\"STOP\"}"`, `1 = function_call a f "{\"x\":\"STOP\"}"`, `2 refusal "STOP"`, `2 = message refusal "STOP"`, "completed"}},
		{"not across two messages", []string{opened(""), itemDone(0, messageItem("m1", "ST")), itemDone(1, messageItem("m2", "OP")), ended("completed")},
			[]string{`0 text "ST"`, `0 = message "ST"`, `1 text "OP"`, `1 = message "OP"`, "completed"}},
		{"only in what the end has", []string{opened(""), ended("completed", messageItem("m", "a STOP"), messageItem("n", "b"))}, []string{`0 text "a "`, `0 = message "a "`, "completed"}},
		{"in the text that an incomplete answer ends with", []string{opened(""), ended("incomplete", messageItem("m", "a STOP b"))}, []string{`0 text "a "`, `0 = message "a "`, "completed"}},
		{"an error while text is held back", []string{opened(""), deltaOf("output_text", "m", 0, "a ST"), ended("failed")}, []string{`0 text "a "`, `failed rate_limit_exceeded: boom | message incomplete "a "`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream, _ := playStop(t, Responses, []string{"STOP"}, c.in)
			_, faults := checkResponses(stream)
			if got := traceOf(stream); len(faults) > 0 || !slices.Equal(got, c.want) {
				t.Errorf("%v\ngot\n  %s\nwant\n  %s", faults, strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// TestStopLogprobs: a token's log probability goes out with its text.
func TestStopLogprobs(t *testing.T) {
	token := func(s string) string {
		return `{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":` + quoted(s) + `,"logprobs":[{"token":` + quoted(s) + `,"logprob":-1,"top_logprobs":[]}]}`
	}
	stream, _ := playStop(t, Chat, []string{"STOP"}, []string{opened(""), token("a"), token(" S"), token("U"), token("ST"), token("OP"), ended("completed")})
	end, faults := checkChat(stream, false)
	var tokens []string
	for _, v := range end.logprobs {
		tokens = append(tokens, strOf(v.(jsonMap)["token"]))
	}
	if want := []string{"a", " S", "U"}; len(faults) > 0 || end.content != "a SU" || !slices.Equal(tokens, want) {
		t.Errorf("%q with the tokens %q, want %q; %v", end.content, tokens, want, faults)
	}
}

// TestLongTextIsLinear: neither a long text nor long arguments are copied for
// each piece of them.
func TestLongTextIsLinear(t *testing.T) {
	linear(t, func(n int) streamCase {
		in := []string{opened("")}
		for range n {
			in = append(in, deltaOf("output_text", "m", 0, "some words of it "))
		}
		return streamCase{in: append(in, ended("completed"))}
	}, Responses)
	for _, tools := range []string{"", customTools} {
		linear(t, func(n int) streamCase {
			in := []string{toolCalls(`{"index":0,"id":"a","function":{"name":"patch","arguments":"{\"input\":\""}}`)}
			for range n {
				in = append(in, toolCalls(`{"index":0,"id":"a","function":{"name":"patch","arguments":"some words of it "}}`))
			}
			return streamCase{more: tools, in: append(in, toolCalls(`{"index":0,"function":{"arguments":"\"}"}}`), finish("tool_calls"))}
		}, Chat)
	}
	linear(t, func(n int) streamCase { // with a stop sequence that keeps beginning
		in := []string{content(" ")}
		for range n {
			in = append(in, content("\n "))
		}
		return streamCase{in: append(in, finish("stop"))}
	}, Chat)
}

// TestAnswersThatAreNone: an answer that is not whole is an error, not an answer.
func TestAnswersThatAreNone(t *testing.T) {
	for _, c := range []struct {
		upstream API
		in       string
		want     Error
	}{
		{Chat, ``, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Chat, `<html>`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Chat, `{}`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Chat, `{"choices":[]}`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Chat, `{"choices":[{"message":{"content":"a"`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Chat, `{"error":{"message":"boom","code":429}}`, Error{Status: 429, Type: "rate_limit_error", Message: "boom"}},
		{Chat, `[{"error":{"message":"boom","code":403}}]`, Error{Status: 403, Type: "permission_error", Message: "boom"}},
		{Chat, `{"object":"error","message":"boom","type":"x","code":400}`, Error{Status: 400, Type: "x", Message: "boom"}},
		{Chat, `{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}`, Error{Status: 502, Type: "server_error", Code: "server_error"}},
		{Responses, ``, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Responses, `[]`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Responses, `{"id":"r","status":"completed","output":[`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Responses, `{"error":"boom"}`, Error{Status: 502, Message: "boom"}},
		{Responses, `{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"boom"},"output":[]}`, Error{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "boom"}},
		{Responses, `{"id":"r","status":"failed","error":{"code":"image_too_large","message":"boom"},"output":[]}`, Error{Status: 400, Type: "invalid_request_error", Code: "image_too_large", Message: "boom"}},
		{Responses, `{"id":"r","status":"failed","error":{"code":"vector_store_timeout","message":"boom"},"output":[]}`, Error{Status: 504, Code: "vector_store_timeout", Message: "boom"}},
		{Responses, `{"id":"r","status":"cancelled","output":[]}`, Error{Status: 500, Code: "cancelled"}},
		{Responses, `{"id":"r","status":"in_progress","output":[]}`, Error{Status: 502, Code: "bad_upstream_answer"}},
		{Responses, `{"id":"r","status":"queued","output":[]}`, Error{Status: 502, Code: "bad_upstream_answer"}},
	} {
		req, err := Read(Responses, []byte(`{"model":"m","input":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		turn, err := req.To(c.upstream, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = turn.Answer([]byte(c.in))
		e, ok := err.(*Error)
		if !ok {
			t.Errorf("%s: %s: %v", c.upstream, c.in, err)
			continue
		}
		if e.Status != c.want.Status || c.want.Type != "" && e.Type != c.want.Type || e.Code != c.want.Code || c.want.Message != "" && e.Message != c.want.Message {
			t.Errorf("%s: %s: %+v, want %+v", c.upstream, c.in, *e, c.want)
		}
	}
}

// TestUnanswerable: what a Chat client cannot be asked to do is an error.
func TestUnanswerable(t *testing.T) {
	req, turn := stopTurn(t, nil, "")
	for _, typ := range []string{"mcp_approval_request", "computer_call", "shell_call", "local_shell_call", "apply_patch_call"} {
		item := `{"type":"` + typ + `","id":"x","call_id":"c"}`
		resp, err := turn.Answer([]byte(`{"id":"r","status":"completed","output":[` + item + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := req.Write(resp); err == nil || err.(*Error).Status != 502 {
			t.Errorf("%s: %v", typ, err)
		}
		c := streamCase{in: []string{opened(""), itemDone(0, item), ended("completed")}}
		end, faults := checkChat(c.play(t, Responses, Chat), false)
		if end.err == nil || len(faults) > 0 {
			t.Errorf("%s: %v, %v", typ, end, faults)
		}
	}
}

// TestUsage is the table of conversion.md §C.3, and back.
func TestUsage(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"OpenAI", `{"prompt_tokens":10,"completion_tokens":105,"total_tokens":115,"completion_tokens_details":{"reasoning_tokens":100}}`, `10+105=115 cached 0 written 0 reasoning 100`},
		{"xAI", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115,"prompt_tokens_details":{"cached_tokens":18},"completion_tokens_details":{"reasoning_tokens":100}}`, `10+105=115 cached 10 written 0 reasoning 100`},
		{"DeepSeek", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":4}`, `10+5=15 cached 4 written 0 reasoning 0`},
		{"DeepSeek, beside details without it", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_cache_hit_tokens":4,"prompt_tokens_details":{"audio_tokens":0}}`, `10+5=15 cached 4 written 0 reasoning 0`},
		{"Moonshot", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cached_tokens":4}`, `10+5=15 cached 4 written 0 reasoning 0`},
		{"Anthropic's name", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"cache_creation_input_tokens":3}`, `10+5=15 cached 0 written 3 reasoning 0`},
		{"flat reasoning", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"reasoning_tokens":2,"completion_tokens_details":null}`, `10+5=15 cached 0 written 0 reasoning 2`},
		{"no total", `{"prompt_tokens":10,"completion_tokens":5}`, `10+5=15 cached 0 written 0 reasoning 0`},
		{"a total that is too small", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":3}`, `10+5=15 cached 0 written 0 reasoning 0`},
		{"fractions, negative numbers, words", `{"prompt_tokens":10.0,"completion_tokens":-5,"total_tokens":"many"}`, `10+0=10 cached 0 written 0 reasoning 0`},
	} {
		u := responsesUsage([]byte(c.in))
		if u == nil {
			t.Errorf("%s: none", c.name)
			continue
		}
		got := fmt.Sprintf("%d+%d=%d cached %d written %d reasoning %d", u.InputTokens, u.OutputTokens, u.TotalTokens, u.InputTokensDetails.CachedTokens, u.InputTokensDetails.CacheWriteTokens, u.OutputTokensDetails.ReasoningTokens)
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		back, err := json.Marshal(chatUsage(u))
		if err != nil {
			t.Fatal(err)
		}
		if again := responsesUsage(back); !reflect.DeepEqual(u, again) {
			t.Errorf("%s: %s is %+v, was %+v", c.name, back, again, u)
		}
	}
	for _, in := range []string{"", "null", "7", `"free"`, "[]", `{"prompt_tokens_details":7}`} {
		if u := responsesUsage([]byte(in)); u != nil {
			t.Errorf("%s: %+v", in, u)
		}
	}
}
