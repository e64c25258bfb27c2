package convert

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// toolCalls makes a chunk of pieces of calls.
func toolCalls(pieces ...string) string {
	return chunk(`{"tool_calls":[` + strings.Join(pieces, ",") + `]}`)
}

// TestCalls is rule 10 of conversion.md §D.5: to which call a piece belongs. Each
// case is what a real server sends, or has sent.
func TestCalls(t *testing.T) {
	const done = `{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`
	runCases(t, Chat, []streamCase{
		{name: "OpenAI", in: []string{toolCalls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), toolCalls(`{"index":0,"function":{"arguments":"{\"x\""}}`),
			toolCalls(`{"index":0,"function":{"arguments":":1}"}}`), toolCalls(`{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}`), toolCalls(`{"index":1,"function":{"arguments":"{}"}}`), done},
			want: []string{`0 args "{\"x\""`, `0 args ":1}"`, `1 args "{}"`, `0 = function_call a f "{\"x\":1}"`, `1 = function_call b g "{}"`, "completed"}},
		{name: "interleaved", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f"}}`, `{"index":1,"id":"b","function":{"name":"f"}}`), toolCalls(`{"index":1,"function":{"arguments":"{\"b\""}}`),
			toolCalls(`{"index":0,"function":{"arguments":"{}"}}`, `{"index":1,"function":{"arguments":":2}"}}`), done},
			want: []string{`1 args "{\"b\""`, `0 args "{}"`, `1 args ":2}"`, `0 = function_call a f "{}"`, `1 = function_call b f "{\"b\":2}"`, "completed"}},
		{name: "Ollama: index 0 for all", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}`), toolCalls(`{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":2}"}}`), finish("stop")},
			want: []string{`0 args "{\"x\":1}"`, `1 args "{\"x\":2}"`, `0 = function_call a f "{\"x\":1}"`, `1 = function_call b f "{\"x\":2}"`, "completed"}},
		{name: "Gemini: neither index nor id", in: []string{`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}},{"function":{"name":"g","arguments":"{}"}}]},"finish_reason":"stop"}]}`},
			want: []string{`0 args "{}"`, `1 args "{}"`, `0 = function_call call_2 f "{}"`, `1 = function_call call_4 g "{}"`, "completed"}},
		{name: "Gemini: ids and no index", in: []string{toolCalls(`{"id":"a","function":{"name":"f","arguments":"{}"}}`), toolCalls(`{"id":"b","function":{"name":"f","arguments":"{}"}}`), finish("stop")},
			want: []string{`0 args "{}"`, `1 args "{}"`, `0 = function_call a f "{}"`, `1 = function_call b f "{}"`, "completed"}},
		{name: "index 0 for all, no ids, whole calls", in: []string{toolCalls(`{"index":0,"function":{"name":"f","arguments":"{\"x\":1}"}}`), toolCalls(`{"index":0,"function":{"name":"f","arguments":"{\"x\":2}"}}`), done},
			want: []string{`0 args "{\"x\":1}"`, `1 args "{\"x\":2}"`, `0 = function_call call_2 f "{\"x\":1}"`, `1 = function_call call_4 f "{\"x\":2}"`, "completed"}},
		{name: "index 0 for all, no ids, no arguments", in: []string{toolCalls(`{"index":0,"function":{"name":"f","arguments":""}}`), toolCalls(`{"index":0,"function":{"name":"g","arguments":""}}`), done},
			want: []string{`0 args "{}"`, `0 = function_call call_2 f "{}"`, `1 args "{}"`, `1 = function_call call_4 g "{}"`, "completed"}},
		{name: "another id for each piece", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}`), toolCalls(`{"index":0,"id":"b","function":{"arguments":"\"x\":1"}}`), toolCalls(`{"index":0,"id":"c","function":{"name":"","arguments":"}"}}`), done},
			want: []string{`0 args "{"`, `0 args "\"x\":1"`, `0 args "}"`, `0 = function_call a f "{\"x\":1}"`, "completed"}},
		{name: "another id for each piece, no index", in: []string{toolCalls(`{"id":"a","function":{"name":"f","arguments":"{"}}`), toolCalls(`{"id":"b","function":{"arguments":"}"}}`), done},
			want: []string{`0 args "{"`, `0 args "}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "id and name repeated", in: []string{toolCalls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}`), toolCalls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"}"}}`),
			toolCalls(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}`), done},
			want: []string{`0 args "{"`, `0 args "}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "name repeated, no id", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}`), toolCalls(`{"index":0,"function":{"name":"f","arguments":"}"}}`), done},
			want: []string{`0 args "{"`, `0 args "}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "id null and name null", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":null}}`), toolCalls(`{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{}"}}`), done},
			want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "one id for two calls", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}`), toolCalls(`{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}`), toolCalls(`{"index":1,"id":"a","function":{"arguments":" "}}`), done},
			want: []string{`0 args "{}"`, `1 args "{}"`, `1 args " "`, `0 = function_call a f "{}"`, `1 = function_call call_3 f "{} "`, "completed"}},
		{name: "one id for two whole calls, no index", in: []string{toolCalls(`{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}`, `{"id":"a","function":{"name":"f","arguments":"{\"x\":2}"}}`), done},
			want: []string{`0 args "{\"x\":1}"`, `1 args "{\"x\":2}"`, `0 = function_call a f "{\"x\":1}"`, `1 = function_call call_3 f "{\"x\":2}"`, "completed"}},
		{name: "the id comes late, and changes nothing", in: []string{toolCalls(`{"index":0,"function":{"name":"f","arguments":"{"}}`), toolCalls(`{"index":0,"id":"a","function":{"arguments":"}"}}`), done},
			want: []string{`0 args "{"`, `0 args "}"`, `0 = function_call call_2 f "{}"`, "completed"}},
		{name: "the name comes late", in: []string{toolCalls(`{"index":0,"id":"a"}`), toolCalls(`{"index":0,"function":{"arguments":"{\"x\""}}`), toolCalls(`{"index":0,"function":{"name":"f"}}`), toolCalls(`{"index":0,"function":{"arguments":":1}"}}`), done},
			want: []string{`0 args "{\"x\""`, `0 args ":1}"`, `0 = function_call a f "{\"x\":1}"`, "completed"}},
		{name: "the name never comes", in: []string{toolCalls(`{"index":0,"id":"a","function":{"arguments":"{}"}}`), done}, want: []string{`0 args "{}"`, `0 = function_call a unknown_tool "{}"`, "completed"}},
		{name: "an id that is empty", in: []string{toolCalls(`{"index":0,"id":"","function":{"name":"f","arguments":"{}"}}`), done}, want: []string{`0 args "{}"`, `0 = function_call call_2 f "{}"`, "completed"}},
		{name: "arguments as an object", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":{"x": 1}}}`), done}, want: []string{`0 args "{\"x\": 1}"`, `0 = function_call a f "{\"x\": 1}"`, "completed"}},
		{name: "TGI: a call in place of a list", in: []string{chunk(`{"tool_calls":{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{"}}}`), chunk(`{"tool_calls":{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"}"}}}`), done},
			want: []string{`0 args "{"`, `0 args "}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "no arguments at all", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f"}}`), done}, want: []string{`0 args "{}"`, `0 = function_call a f "{}"`, "completed"}},
		{name: "pieces that say nothing", in: []string{toolCalls(`{}`, `null`, `{"index":3}`), chunk(`{"tool_calls":null}`), chunk(`{"tool_calls":[]}`), content("a"), finish("stop")}, want: []string{`0 text "a"`, `0 = message "a"`, "completed"}},
		{name: "indices that do not begin at 0", in: []string{toolCalls(`{"index":1,"id":"a","function":{"name":"f","arguments":"{}"}}`), toolCalls(`{"index":5,"id":"b","function":{"name":"g","arguments":"{}"}}`), done},
			want: []string{`0 args "{}"`, `1 args "{}"`, `0 = function_call a f "{}"`, `1 = function_call b g "{}"`, "completed"}},
		{name: "text behind a call", in: []string{content("a"), toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}`), content("b"), toolCalls(`{"index":0,"function":{"arguments":"}"}}`), finish("stop")},
			want: []string{`0 text "a"`, `0 = message "a"`, `1 args "{"`, `2 text "b"`, `1 args "}"`, `2 = message "b"`, `1 = function_call a f "{}"`, "completed"}},
		{name: "the tokens end in the middle of a call", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}`), toolCalls(`{"index":1,"id":"b","function":{"name":"f","arguments":"{\"x"}}`), finish("length")},
			want: []string{`0 args "{}"`, `1 args "{\"x"`, `0 = function_call a f "{}"`, `1 = function_call incomplete b f "{\"x"`, "incomplete max_output_tokens"}},
		{name: "the tokens end before the arguments", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":""}}`), finish("length")},
			want: []string{`0 = function_call incomplete a f ""`, "incomplete max_output_tokens"}},
		{name: "cut in the middle of a call", in: []string{toolCalls(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x"}}`)}, want: []string{`0 args "{\"x"`, noFinish + ` | function_call incomplete a f "{\"x"`}},
		{name: "functions of 2023", in: []string{chunk(`{"function_call":{"name":"f","arguments":""}}`), chunk(`{"function_call":{"arguments":"{}"}}`), finish("function_call")},
			want: []string{`0 args "{}"`, `0 = function_call call_2 f "{}"`, "completed"}},
		{name: "LiteLLM: two choices of one message", in: []string{`{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`},
			want: []string{`0 text "a"`, `0 = message "a"`, `1 args "{}"`, `1 = function_call a f "{}"`, "completed"}},
		{name: "a whole message with one id twice", in: []string{`{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}`},
			want: []string{`0 args "{}"`, `1 args "{}"`, `0 = function_call a f "{}"`, `1 = function_call call_3 f "{}"`, "completed"}},
	})
}

const (
	customTools = `,"tools":[{"type":"custom","name":"patch"},{"type":"namespace","name":"ns","tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{"a":{"type":"string","encrypted":true}}}},{"type":"custom","name":"c"}]}]`
	shellTools  = `,"tools":[{"type":"shell"},{"type":"local_shell"},{"type":"apply_patch"},{"type":"tool_search","execution":"client","description":"d","parameters":{"type":"object","properties":{}}}]`
	functions   = `,"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}}},{"type":"function","name":"g","parameters":{"type":"object","properties":{}}},{"type":"custom","name":"patch"}]`
)

// oneCall is a stream with one call, its arguments in pieces.
func oneCall(name string, pieces ...string) []string {
	in := []string{toolCalls(`{"index":0,"id":"a","function":{"name":` + quoted(name) + `,"arguments":""}}`)}
	for _, p := range pieces {
		in = append(in, toolCalls(`{"index":0,"function":{"arguments":`+quoted(p)+`}}`))
	}
	return append(in, finish("tool_calls"))
}

// TestCallsOfOtherTools: what a Chat upstream knows as functions comes back as
// the calls that the client knows.
func TestCallsOfOtherTools(t *testing.T) {
	runCases(t, Chat, []streamCase{
		{name: "a custom tool, wrapped", more: customTools, in: oneCall("patch", `{"inp`, `ut": "a\`, `n\u00`, `e9`, `\ud83d\ude`, `80 \"b\"`, `"}`),
			want: []string{`0 input "a"`, `0 input "\n"`, `0 input "é"`, `0 input "🚀 \"b\""`, `0 = custom_tool_call a patch "a\né🚀 \"b\""`, "completed"}},
		{name: "a custom tool, another member first", more: customTools, in: oneCall("patch", `{"x":1,"input`, `":"a"}`), want: []string{`0 input "a"`, `0 = custom_tool_call a patch "a"`, "completed"}},
		{name: "a custom tool, the bare text", more: customTools, in: oneCall("patch", "*** Begin", " Patch\n"), want: []string{`0 input "*** Begin Patch\n"`, `0 = custom_tool_call a patch "*** Begin Patch\n"`, "completed"}},
		{name: "a custom tool, another object", more: customTools, in: oneCall("patch", `{"patch":"a"}`), want: []string{`0 input "{\"patch\":\"a\"}"`, `0 = custom_tool_call a patch "{\"patch\":\"a\"}"`, "completed"}},
		{name: "a custom tool, a string", more: customTools, in: oneCall("patch", `"a"`), want: []string{`0 input "\"a\""`, `0 = custom_tool_call a patch "\"a\""`, "completed"}},
		{name: "a custom tool, nothing", more: customTools, in: oneCall("patch"), want: []string{`0 = custom_tool_call a patch ""`, "completed"}},
		{name: "a custom tool, cut short", more: customTools, in: append(oneCall("patch", `{"input":"a\n`)[:2], finish("length")), want: []string{`0 input "a\n"`, `0 = custom_tool_call incomplete a patch "a\n"`, "incomplete max_output_tokens"}},
		{name: "a custom tool, native", more: customTools, options: Options{Dialect: Dialects["openai"]}, in: []string{
			toolCalls(`{"index":0,"id":"a","type":"custom","custom":{"name":"patch","input":""}}`), toolCalls(`{"index":0,"custom":{"input":"{\"a"}}`), toolCalls(`{"index":0,"custom":{"input":"}"}}`), finish("tool_calls")},
			want: []string{`0 input "{\"a"`, `0 input "}"`, `0 = custom_tool_call a patch "{\"a}"`, "completed"}},
		{name: "a custom tool, native, but the server made a function of it", more: customTools, options: Options{Dialect: Dialects["openai"]}, in: oneCall("patch", `{"input":"a"}`), want: []string{`0 input "a"`, `0 = custom_tool_call a patch "a"`, "completed"}},
		{name: "a custom tool that nobody declared", in: []string{toolCalls(`{"index":0,"id":"a","type":"custom","custom":{"name":"x","input":"{"}}`), finish("tool_calls")}, want: []string{`0 input "{"`, `0 = custom_tool_call a x "{"`, "completed"}},
		{name: "a function in a namespace, with arguments that OpenAI would encrypt", more: customTools, in: oneCall("ns__f", "{}"), want: []string{`0 args "{}"`, `0 = function_call a ns f "{}" []`, "completed"}},
		{name: "a custom tool in a namespace", more: customTools, in: oneCall("ns__c", `{"input":"a"}`), want: []string{`0 input "a"`, `0 = custom_tool_call a ns c "a"`, "completed"}},

		{name: "tool_search", more: shellTools, in: oneCall("tool_search", `{"query":`, ` "q"}`), want: []string{`0 = tool_search_call a {"query":"q"} "client"`, "completed"}},
		{name: "tool_search, nothing", more: shellTools, in: oneCall("tool_search"), want: []string{`0 = tool_search_call a {} "client"`, "completed"}},
		{name: "shell", more: shellTools, in: oneCall("shell", `{"commands":["ls"],"timeout_ms":5}`), want: []string{`0 = shell_call a {"commands":["ls"],"max_output_length":null,"timeout_ms":5}`, "completed"}},
		{name: "local_shell", more: shellTools, in: oneCall("local_shell", `{"command":["ls"],"type":"x"}`), want: []string{`0 = local_shell_call a {"command":["ls"],"env":{},"type":"exec"}`, "completed"}},
		{name: "apply_patch", more: shellTools, in: oneCall("apply_patch", `{"operation":{"type":"delete_file","path":"p"}}`), want: []string{`0 = apply_patch_call a {"path":"p","type":"delete_file"}`, "completed"}},
		{name: "apply_patch without an operation", more: shellTools, in: oneCall("apply_patch", `{"path":"p"}`), want: []string{`0 args "{\"path\":\"p\"}"`, `0 = function_call a apply_patch "{\"path\":\"p\"}"`, "completed"}},
		{name: "shell, not JSON", more: shellTools, in: oneCall("shell", "ls"), want: []string{`0 args "ls"`, `0 = function_call a shell "ls"`, "completed"}},
		{name: "shell, cut short", more: shellTools, in: append(oneCall("shell", `{"comm`)[:2], finish("length")), want: []string{`0 args "{\"comm"`, `0 = function_call incomplete a shell "{\"comm"`, "incomplete max_output_tokens"}},

		{name: "multi_tool_use.parallel", more: functions, in: oneCall(parallelName, `{"tool_uses":[{"recipient_name":"functions.f","parameters":{"a":1}},`, `{"recipient_name":"functions.g"},{"recipient_name":"patch","parameters":{"input":"p"}}]}`),
			want: []string{`0 args "{\"a\":1}"`, `0 = function_call call_2 f "{\"a\":1}"`, `1 args "{}"`, `1 = function_call call_4 g "{}"`, `2 input "p"`, `2 = custom_tool_call call_6 patch "p"`, "completed"}},
		{name: "multi_tool_use.parallel with an unknown tool", more: functions, in: oneCall(parallelName, `{"tool_uses":[{"recipient_name":"functions.h","parameters":{}}]}`),
			want: []string{`0 args "{\"tool_uses\":[{\"recipient_name\":\"functions.h\",\"parameters\":{}}]}"`, `0 = function_call a multi_tool_use.parallel "{\"tool_uses\":[{\"recipient_name\":\"functions.h\",\"parameters\":{}}]}"`, "completed"}},
		{name: "multi_tool_use.parallel without calls", more: functions, in: oneCall(parallelName), want: []string{`0 args "{}"`, `0 = function_call a multi_tool_use.parallel "{}"`, "completed"}},
	})
}

// TestSealedCalls: what a call must come back with goes out in the reasoning
// before it, to a client that carries its state itself.
func TestSealedCalls(t *testing.T) {
	sealer, err := NewSealer([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	signed := func(id string) string {
		return toolCalls(fmt.Sprintf(`{"id":"%s","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"S%s"}}}`, id, id))
	}
	for _, c := range []struct {
		name      string
		reasoning ReasoningForm
		more      string
		in        []string
		want      []sealed
	}{
		{"before a call", "", `,"store":false`, []string{signed("a"), finish("stop")}, []sealed{{Calls: map[string]jsontext.Value{"a": jsontext.Value(`{"google":{"thought_signature":"Sa"}}`)}}}},
		{"with the reasoning that is open", "", `,"store":false`, []string{chunk(`{"reasoning":"r"}`), signed("a"), finish("stop")}, []sealed{{Text: "r", Calls: map[string]jsontext.Value{"a": jsontext.Value(`{"google":{"thought_signature":"Sa"}}`)}}}},
		{"before each", "", `,"include":["reasoning.encrypted_content"]`, []string{signed("a"), signed("b"), finish("stop")}, []sealed{{Calls: map[string]jsontext.Value{"a": jsontext.Value(`{"google":{"thought_signature":"Sa"}}`)}}, {Calls: map[string]jsontext.Value{"b": jsontext.Value(`{"google":{"thought_signature":"Sb"}}`)}}}},
		{"also where reasoning is not shown", ReasoningOff, `,"store":false`, []string{chunk(`{"reasoning":"r"}`), content("a"), finish("stop")}, []sealed{{Text: "r"}}},
		{"not to a client whose turns are stored", "", ``, []string{signed("a"), finish("stop")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sc := streamCase{more: c.more, options: Options{Sealer: sealer, Reasoning: c.reasoning}, in: c.in}
			end, faults := checkResponses(sc.play(t, Chat, Responses))
			if len(faults) > 0 {
				t.Error(faults)
			}
			var got []sealed
			for _, v := range listOf(end.response["output"]) {
				it := v.(jsonMap)
				if it["type"] != "reasoning" || it["encrypted_content"] == nil {
					continue
				}
				open, ok, _ := sealer.open(strOf(it["encrypted_content"]), func(int64) error { return nil })
				if !ok {
					t.Errorf("cannot be opened: %v", it)
				}
				if c.reasoning == ReasoningOff && len(listOf(it["summary"])) > 0 {
					t.Errorf("is shown: %v", it)
				}
				got = append(got, open)
			}
			if compact(got) != compact(c.want) {
				t.Errorf("%s, want %s", compact(got), compact(c.want))
			}
		})
	}
}

// TestManyCalls: the cost of a call does not grow with those before it.
func TestManyCalls(t *testing.T) {
	linear(t, func(n int) streamCase {
		var in []string
		for i := range n {
			in = append(in, toolCalls(fmt.Sprintf(`{"index":%d,"id":"call_%d","function":{"name":"f","arguments":"{"}}`, i, i)))
		}
		for i := range n {
			in = append(in, toolCalls(fmt.Sprintf(`{"index":%d,"function":{"arguments":"}"}}`, n-1-i)))
		}
		return streamCase{in: append(in, finish("tool_calls"))}
	}, Chat)
}

// linear plays a case of a size, and one of eight times that, which must take
// about eight times as long and not sixty-four. A busy machine gets another try.
func linear(t *testing.T, of func(n int) streamCase, upstream API) {
	t.Helper()
	const n = 3000
	took := func(n int) time.Duration {
		c, best := of(n), time.Hour
		for range 3 {
			begun := time.Now()
			for _, client := range bothAPIs {
				if out := c.play(t, upstream, client); !saidWhole(client, out) {
					t.Fatalf("%s: not whole", client)
				}
			}
			best = min(best, time.Since(begun))
		}
		return best
	}
	var small, large time.Duration
	for range 4 {
		small, large = took(n), took(8*n)
		if large < 24*small {
			return
		}
	}
	t.Errorf("%v for %d, %v for %d", small, n, large, 8*n)
}
