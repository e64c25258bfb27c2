package convert

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

const customTurn = `{"model":"m","stream":true,
	"tools":[{"type":"custom","custom":{"name":"patch","description":"Patches.","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}}},
		{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}],
	"tool_choice":{"type":"custom","custom":{"name":"patch"}},
	"messages":[{"role":"user","content":"go"},
		{"role":"assistant","tool_calls":[{"id":"call_1","type":"custom","custom":{"name":"patch","input":"a \"b\""}}]},
		{"role":"tool","tool_call_id":"call_1","content":"done"}]}`

// TestOnlyFunctions: a Responses upstream that skips custom tools is given functions
// for them, and its calls of these are the client's calls.
func TestOnlyFunctions(t *testing.T) {
	turn := func() (*Request, *Turn) {
		req, err := Read(Chat, []byte(customTurn))
		if err != nil {
			t.Fatal(err)
		}
		turn, err := req.To(Responses, Options{Dialect: Dialects["ollama"]})
		if err != nil {
			t.Fatal(err)
		}
		return req, turn
	}
	_, first := turn()
	for _, want := range []string{
		`{"type":"function","name":"patch","description":"Patches.\nThe ` + "`input`" + ` must follow this lark grammar:\nstart: x","parameters":` + string(customSchema) + `,"strict":false}`,
		`"tool_choice":{"type":"function","name":"patch"}`,
		`"type":"function_call","call_id":"call_1","name":"patch","arguments":"{\"input\":\"a \\\"b\\\"\"}"`,
		`"type":"function_call_output","call_id":"call_1"`,
	} {
		if !strings.Contains(string(first.Body), want) {
			t.Errorf("the request lacks %s:\n%s", want, first.Body)
		}
	}
	if strings.Contains(string(first.Body), "custom") {
		t.Errorf("the request speaks of custom tools:\n%s", first.Body)
	}

	const input = "x \"é\" 🚀\n"
	args := wrapInput(input)
	call := callItem("fc_1", "call_2", "patch", args)
	pieces := []string{opened(""), added(0, callItem("fc_1", "call_2", "patch", ""))}
	for i := range len(args) { // not at half characters, which JSON cannot hold
		if piece := args[i : i+1]; piece[0] < 0x80 {
			pieces = append(pieces, deltaOf("function_call_arguments", "fc_1", 0, piece))
		} else if piece[0] >= 0xC0 {
			end := i + 1
			for args[end] >= 0x80 && args[end] < 0xC0 {
				end++
			}
			pieces = append(pieces, deltaOf("function_call_arguments", "fc_1", 0, args[i:end]))
		}
	}
	streams := map[string][]string{
		"in pieces":            append(pieces, itemDone(0, call), ended("completed", call)),
		"without a done event": append(pieces[:len(pieces):len(pieces)], ended("completed", call)),
		"under another id":     append(pieces[:len(pieces):len(pieces)], ended("completed", callItem("fc_9", "call_2", "patch", args))),
		"at the end only":      {opened(""), ended("completed", call)},
	}
	for name, events := range streams {
		req, turn := turn()
		var out strings.Builder
		w := sse.NewWriter(&out, nil)
		write := req.Writer(w)
		r := turn.Reader(write, nil)
		for _, e := range events {
			if err := r.Event(sse.Event{Data: []byte(e)}); err != nil {
				t.Fatal(err)
			}
		}
		w.Send()
		got := chunksOf(t, out.String())
		if got.name != "patch" || got.input != input || got.finish != "tool_calls" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	_, whole := turn()
	resp, err := whole.Answer([]byte(`{"id":"resp_1","object":"response","status":"completed","output":[` + call + `]}`))
	if err != nil || len(resp.Output) != 1 || resp.Output[0].Type != "custom_tool_call" || *resp.Output[0].Input != input || strings.HasPrefix(resp.Output[0].ID, "fc_") {
		t.Errorf("whole: %+v, %v", resp, err)
	}
}

// chunksOf is the one call of a Chat stream.
func chunksOf(t *testing.T, stream string) (got struct{ name, input, finish string }) {
	t.Helper()
	for line := range strings.Lines(stream) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var chunk chat.Answer
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunk.Choices {
			got.finish += c.FinishReason
			for _, call := range c.Delta.ToolCalls {
				got.name += call.Custom.Name
				got.input += call.Custom.Input
			}
		}
	}
	return got
}

// TestStopLimits: what would make every delta dear is refused.
func TestStopLimits(t *testing.T) {
	for want, stop := range map[string]string{
		"array_above_max_length":  `["` + strings.Repeat(`x","`, maxStops) + `x"]`,
		"string_above_max_length": `"` + strings.Repeat("x", maxStop+1) + `"`,
	} {
		req, err := Read(Chat, []byte(`{"model":"m","messages":[{"role":"user","content":"x"}],"stop":`+stop+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = req.To(Responses, Options{}); err == nil || err.(*Error).Code != want || err.(*Error).Param != "stop" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestEchoStrict: a response says of its functions whether they are strict, also
// where that is the upstream's default.
func TestEchoStrict(t *testing.T) {
	const closed = `{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`
	for want, c := range map[string]struct{ dialect, tool string }{
		`"strict":true`:  {"openai", `{"type":"function","name":"f","parameters":` + closed + `}`},
		`"strict":false`: {"vllm", `{"type":"function","name":"f","parameters":` + closed + `}`},
	} {
		req, err := Read(Responses, []byte(`{"model":"m","input":"x","tools":[`+c.tool+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		turn, err := req.To(Chat, Options{Dialect: Dialects[c.dialect]})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := turn.Answer([]byte(`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(resp.Echo), want) {
			t.Errorf("%s: %s", c.dialect, resp.Echo)
		}
	}
}

// TestMoreInConversation: an upstream that keeps the conversation itself is sent only
// what it does not have.
func TestMoreInConversation(t *testing.T) {
	call := responses.Item{Type: "function_call", CallID: "call_1", Name: "f", Arguments: responses.String("{}")}
	output := responses.Item{Type: "function_call_output", CallID: "call_1", Output: responses.String("done")}
	for want, conversation := range map[string]string{
		`"input":[{"type":"function_call_output","call_id":"call_1","output":"done"}]`:                        `,"conversation":"conv_1"`,
		`"input":[{"type":"message","role":"user","content":"x"},{"type":"function_call","call_id":"call_1",`: ``,
	} {
		req, err := Read(Responses, []byte(`{"model":"m","input":"x"`+conversation+`}`))
		if err != nil {
			t.Fatal(err)
		}
		req.More = More{Tools: []responses.Tool{{Type: "function", Name: "f", Strict: new(bool)}}, Items: []responses.Item{call, output}, Choice: "auto"}
		turn, err := req.To(Responses, Options{Dialect: Dialects["openai"]})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(turn.Body), want) {
			t.Errorf("no %s in\n%s", want, turn.Body)
		}
	}
}
