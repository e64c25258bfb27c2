package fakeopenai

import (
	"strings"
	"testing"
)

func TestDemo(t *testing.T) {
	s := New(Options{Scenario: "demo"})
	clock := `{"type":"function","function":{"name":"get_time","description":"Tells the current time in a place.","parameters":{"type":"object","properties":{"place":{"type":"string"}},"required":["place"]}}}`
	question := func(q, extra string) string {
		return `{"model":"whatever","messages":[{"role":"user","content":"` + q + `"}]` + extra + `}`
	}
	tools := `,"tools":[` + clock + `,` + weatherTool + `]`
	for _, c := range []struct{ name, body, want string }{
		{"restates the question", question("Why is the  sky blue?", ""), `"content":"You asked: “Why is the sky blue?” That is a fine question.`},
		{"reasons", question("Why?", ""), `"reasoning_content":"A person asks me something.`},
		{"needs no question", `{"model":"demo","messages":[{"role":"system","content":"x"}]}`, `"content":"Hello! I am the demo model`},
		{"calls by name", question("How is the weather in Rome?", tools), `"function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}`},
		{"calls by description", question("Tell me the time.", tools), `"name":"get_time"`},
		{"calls nothing that does not fit", question("Who are you?", tools), `"content":"You asked: “Who are you?”`},
		{"calls when it must", question("Who are you?", tools+`,"tool_choice":"required"`), `"tool_calls":[{"id":"call_`},
		{"may not call", question("How is the weather?", tools+`,"tool_choice":"none"`), `"finish_reason":"stop"`},
		{"obeys a schema", question("Where?", `,"response_format":{"type":"json_schema","json_schema":{"name":"r","schema":{"type":"object","properties":{"location":{"type":"string"},"warm":{"type":"boolean"}},"required":["location","warm"]}}}`), `"content":"{\"location\":\"Paris\",\"warm\":true}"`},
		{"obeys a limit", question("Why is the sky blue?", `,"max_tokens":14`), `"finish_reason":"length"`},
		{"obeys a stop", question("Why?", `,"stop":"fine"`), `"content":"You asked: “Why?” That is a ",`},
		{"uses an output", `{"model":"demo","messages":[{"role":"user","content":"Weather?"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"18 degrees"}]` + tools + `}`, `Here is what I found. get_weather says: 18 degrees"`},
		{"is not told its scenario", question("Hi", "")[:len(question("Hi", ""))-1] + `,"metadata":{"model":"fake-error500"}}`, `You asked`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, got := send(s, "/v1/chat/completions", c.body); status != 200 || !strings.Contains(got, c.want) {
				t.Errorf("%d: no %s in %s", status, c.want, got)
			}
		})
	}
	if got := strings.Join(s.models(), " "); got != "demo demo-mini" {
		t.Errorf("models %s", got)
	}
	if status, got := send(s, "/v1/chat/completions", `{"model":"fake-error500","messages":[`+userHi+`]}`); status != 200 {
		t.Errorf("the demo takes any model name: %d %s", status, got)
	}
}

// TestDemoStreams word by word, reasoning first, in both APIs.
func TestDemoStreams(t *testing.T) {
	s := New(Options{Scenario: "demo"})
	_, chat := send(s, "/v1/chat/completions", `{"model":"demo","stream":true,"messages":[{"role":"user","content":"Why is the sky blue?"}]}`)
	var thoughts, words, text int
	whole := ""
	for _, e := range events([]byte(chat)) {
		if e == "[DONE]" {
			continue
		}
		c := parse(t, e)
		if delta(c, "reasoning_content") != nil {
			thoughts++
			if text > 0 {
				t.Error("reasoning behind text")
			}
		}
		if p, _ := delta(c, "content").(string); p != "" {
			text++
			words += len(strings.Fields(p))
			whole += p
		}
	}
	if thoughts < 5 || text < 20 || words != text || !strings.HasSuffix(whole, "through the gateway.") {
		t.Errorf("%d thoughts, %d deltas of %d words: %s", thoughts, text, words, whole)
	}
	_, events := send(s, "/v1/responses", `{"model":"demo","stream":true,"input":"Why is the sky blue?"}`)
	for _, want := range []string{"event: response.reasoning_summary_text.delta", "event: response.output_text.delta", `"delta":" sky"`, "event: response.completed", "data: [DONE]"} {
		if !strings.Contains(events, want) {
			t.Errorf("no %s", want)
		}
	}
}
