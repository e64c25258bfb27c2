//go:build unix

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// Sites of gateways that keep nothing.
var (
	onChat      = []site{{"on-chat", "chat2response UPSTREAM {\n\tmode chat\n\tstate off\n}"}}
	onResponses = []site{{"on-responses", "chat2response UPSTREAM {\n\tstate off\n}"}}
)

// growths are the rows, those of the table "Growth" of an adversary's findings. Three were quadratic, one read all that
// there was, and one was linear without bound.
var growths = []*growth{
	{name: "input messages", n: 20_000, held: heldLinear, sites: onResponses,
		prepare: func(g *grower, n int) (act, error) {
			body := `{"model":"bench","messages":[` + times(n, `{"role":"user","content":"x"}`) + `]}`
			return g.again(exchange{site: "on-responses", path: paths[chat], body: body}, n, `"user"`, "")
		}},
	{name: "calls with outputs", n: 10_000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			body := `{"model":"bench","input":[` + times(n, `{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"},`+
				`{"type":"function_call_output","call_id":"c#","output":"o"}`) + `]}`
			return g.again(exchange{site: "on-chat", path: paths[responses], body: body}, n, `"tool_call_id":"c`, "")
		}},
	{name: "tools", n: 10_000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			body := `{"model":"bench","input":"x","tools":[` + times(n, `{"type":"function","name":"f#"}`) + `]}`
			return g.again(exchange{site: "on-chat", path: paths[responses], body: body}, n, `"name":"f`, "")
		}},
	{name: "unknown members", n: 20_000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			body := `{"model":"bench","input":"x",` + times(n, `"new#":1`) + `}`
			return g.again(exchange{site: "on-chat", path: paths[responses], body: body}, n, "", "")
		}},
	{name: "tool calls in one answer", n: 3000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			events := copies(n, chatEvent(`{"tool_calls":[{"index":#,"id":"c#","type":"function","function":{"name":"f","arguments":"{}"}}]}`, "null"))
			return g.answered(events, "tool_calls", n, `event: response.function_call_arguments.done`)
		}},
	{name: "text events in one answer", n: 20_000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			return g.answered(copies(n, chatEvent(`{"content":"x"}`, "null")), "stop", n, `event: response.output_text.delta`)
		}},
	{name: "reasoning and text alternating", n: 3000, held: heldLinear, sites: onChat,
		prepare: func(g *grower, n int) (act, error) {
			events := copies(n, chatEvent(`{"reasoning_content":"x"}`, "null"), chatEvent(`{"content":"y"}`, "null"))
			return g.answered(events, "stop", n, `event: response.output_text.delta`)
		}},
	{name: "Responses answer, other ids at its end", n: 3000, held: heldLinear, sites: onResponses,
		prepare: func(g *grower, n int) (act, error) {
			return g.otherIDs(n, `{"type":"message","id":"#ID","status":"completed","role":"assistant","content":[`+outputText("a")+`]}`, `"content":"a"`,
				`{"type":"response.output_text.delta","sequence_number":#,"item_id":"m#","output_index":#,"content_index":0,"delta":"a","logprobs":[]}`)
		}},
	{name: "the same, of calls", n: 3000, held: heldLinear, sites: onResponses,
		prepare: func(g *grower, n int) (act, error) {
			return g.otherIDs(n, `{"type":"function_call","id":"#ID","status":"completed","call_id":"c#","name":"f","arguments":"{}"}`, `"id":"c`)
		}},
	chainRow, appendRow, threadRow, referenceRow,
	listKeysRow, useKeyRow,
	toolsRow, anyOfRow, allOfRow, refsRow,
	sealedRow,
	saveRow,
}

// chatEvent is an event of a Chat stream.
func chatEvent(delta, finish string) string {
	return chatChunkHead + `{"index":0,"delta":` + delta + `,"logprobs":null,"finish_reason":` + finish + `}],"usage":null}` + "\n\n"
}

// answered streams an answer of a Chat upstream to a Responses client, who must get n of what got says.
func (g *grower) answered(events []string, finish string, n int, got string) (act, error) {
	events = append(append([]string{string(chatOpen())}, events...), chatEvent(`{}`, quote(finish)), "data: [DONE]\n\n")
	mark := g.stream(chat, events)
	const body = `{"model":"bench","input":"x","stream":true}`
	return g.again(exchange{site: "on-chat", path: paths[responses], mark: mark, body: body}, n, "", got)
}

// otherIDs streams an answer of a Responses upstream in whose last event all n items have other ids than before, to a
// Chat client, who must get each item once: n of what got says. In item and deltas # is the number, and #ID the id.
func (g *grower) otherIDs(n int, item, got string, deltas ...string) (act, error) {
	of := func(i int, id, pattern string) string {
		number := strconv.Itoa(i)
		return strings.NewReplacer("#ID", id+number, "#", number).Replace(pattern)
	}
	started := `"response":` + response("in_progress", "")
	events := []string{event(0, "response.created", started)}
	var last []string
	for i := range n {
		events = append(events, event(0, "response.output_item.added", fmt.Sprintf(`"output_index":%d,"item":%s`, i, of(i, "m", item))))
		for _, d := range deltas {
			events = append(events, "data: "+of(i, "m", d)+"\n\n")
		}
		last = append(last, of(i, "other", item))
	}
	events = append(events, event(0, "response.completed", `"response":`+response("completed", strings.Join(last, ","))))
	mark := g.stream(responses, events)
	const body = `{"model":"bench","messages":[{"role":"user","content":"x"}],"stream":true}`
	return g.again(exchange{site: "on-responses", path: paths[chat], mark: mark, body: body}, n, "", got)
}
