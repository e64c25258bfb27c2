package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// growths are the things that a request or an answer may have many of: what the table "Growth" of an adversary's
// findings had of this package.
var growths = []struct {
	name     string
	n        int
	client   API
	upstream API
	request  func(n int) string   // of the client, where that is what grows
	answer   func(n int) []string // events of the upstream, where that is
}{
	{"input messages", 20_000, Chat, Responses, func(n int) string {
		return `{"model":"m","messages":[` + times(n, `{"role":"user","content":"x"}`) + `]}`
	}, nil},
	{"calls with outputs", 10_000, Responses, Chat, func(n int) string {
		return `{"model":"m","input":[` + times(n, `{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c#","output":"o"}`) + `]}`
	}, nil},
	{"tools", 10_000, Responses, Chat, func(n int) string {
		return `{"model":"m","input":"x","tools":[` + times(n, `{"type":"function","name":"f#"}`) + `]}`
	}, nil},
	{"unknown members", 20_000, Responses, Chat, func(n int) string {
		return `{"model":"m","input":"x",` + times(n, `"new#":1`) + `}`
	}, nil},
	{"tool calls in one answer", 3000, Responses, Chat, nil, func(n int) []string {
		return append(events(n, `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":#,"id":"c#","function":{"name":"f","arguments":"{}"}}]}}]}`), finish("tool_calls"))
	}},
	{"text events", 20_000, Responses, Chat, nil, func(n int) []string { return append(events(n, content("x")), finish("stop")) }},
	{"reasoning and text alternating", 3000, Responses, Chat, nil, func(n int) []string {
		return append(events(n, chunk(`{"reasoning_content":"x"}`), content("y")), finish("stop"))
	}},
	{"items with other ids at the end", 3000, Responses, Responses, nil, func(n int) []string {
		return append(append([]string{opened("")}, events(n, added(0, messageItem("m#", "")), deltaOf("output_text", "m#", 0, "a"))...),
			ended("completed", events(n, messageItem("other#", "a"))...))
	}},
	{"calls with other ids at the end", 3000, Responses, Responses, nil, func(n int) []string {
		return append(append([]string{opened("")}, events(n, added(0, callItem("f#", "c#", "f", "")))...),
			ended("completed", events(n, callItem("other#", "c#", "f", "{}"))...))
	}},
	{"parts of an item", 3000, Responses, Responses, nil, func(n int) []string {
		in := []string{opened(""), added(0, messageItem("m", ""))}
		for range 2 { // told of from the first on, each time
			for i := range n {
				in = append(in, fmt.Sprintf(`{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":%d,"delta":"x"}`, i))
			}
		}
		return append(in, ended("completed"))
	}},
}

func times(n int, f string) string { return strings.Join(events(n, f), ",") }

// events are n of each of the patterns, in turn, numbered where they have a #.
func events(n int, patterns ...string) []string {
	out := make([]string, 0, n*len(patterns))
	for i := range n {
		for _, p := range patterns {
			out = append(out, strings.ReplaceAll(p, "#", fmt.Sprint(i)))
		}
	}
	return out
}

// BenchmarkGrowth is each of them for n, 2n and 4n: ns/n is the same for the three where the cost is linear.
func BenchmarkGrowth(b *testing.B) {
	for _, g := range growths {
		for _, factor := range []int{1, 2, 4} {
			n := g.n * factor
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(g.name, " ", "_"), n), func(b *testing.B) {
				body := `{"model":"m","input":"x","stream":true}`
				if g.request != nil {
					body = g.request(n)
				}
				var in []string
				if g.answer != nil {
					in = g.answer(n)
				}
				for b.Loop() {
					req, err := Read(g.client, []byte(body))
					if err != nil {
						b.Fatal(err)
					}
					turn, err := req.To(g.upstream, Options{})
					if err != nil {
						b.Fatal(err)
					}
					end := ""
					reader := turn.Reader(func(e *responses.Event) error { end = e.Type; return nil }, nil)
					for _, data := range in {
						if err := reader.Event(sse.Event{Data: []byte(data)}); err != nil {
							b.Fatal(err)
						}
					}
					if reader.Close(nil); in != nil && end != responses.EventCompleted {
						b.Fatal(end)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/n")
			})
		}
	}
}

// growth.responses_answer_items_other_ids, and its sibling: an item of the terminal event is not looked for among all
// that the stream told of, nor a part among all of its item.
func TestAnswersGrowLinearly(t *testing.T) {
	for _, g := range growths {
		if g.name == "items with other ids at the end" || g.name == "parts of an item" {
			linear(t, func(n int) streamCase { return streamCase{in: g.answer(n)} }, g.upstream)
		}
	}
}
