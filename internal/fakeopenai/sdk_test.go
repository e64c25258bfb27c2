package fakeopenai

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// said is what a client must have understood of an answer.
type said struct {
	text, refusal string
	calls         []string // name(arguments)
	finish        string   // of chat
	status        string   // of responses
}

// wellTold is every scenario that ends well, and what OpenAI's own client must read in it.
var wellTold = map[string]said{
	"text":              {text: "Hello! I am a fake model. How can I help you today?", finish: "stop", status: "completed"},
	"usage_every_chunk": {text: "Hello! I am a fake model. How can I help you today?", finish: "stop", status: "completed"},
	"reasoning":         {text: "Hello, after some thought.", finish: "stop", status: "completed"},
	"unicode":           {text: strings.Join(unicodePieces, ""), finish: "stop", status: "completed"},
	"filter":            {text: "The first thing you would need is", finish: "content_filter", status: "incomplete"},
	"length":            {text: "It was a bright cold day in April, and the clocks were", finish: "length", status: "incomplete"},
	"empty":             {finish: "stop", status: "completed"},
	"refusal":           {refusal: "I'm sorry, but I can't help with that.", finish: "stop", status: "completed"},
	"long":              {text: longText(), finish: "stop", status: "completed"},
	"echo":              {text: "What is the weather in Paris?", finish: "stop", status: "completed"},
	"json":              {text: `{"city":"Paris","population":1}`, finish: "stop", status: "completed"},
	"image":             {text: "I see 1 image(s): image/png.", finish: "stop", status: "completed"},
	"logprobs":          {text: "Hi! é<|x|>", finish: "stop", status: "completed"},
	"annotations":       {text: "Go is a language (go.dev) by Google (example.com).", finish: "stop", status: "completed"},
	"tool":              {calls: []string{`get_weather({"city":"Paris"})`}, finish: "tool_calls", status: "completed"},
	"tools":             {calls: []string{`get_weather({"city":"Paris"})`, `get_weather({"city":"London"})`}, finish: "tool_calls", status: "completed"},
	"tool_text":         {text: "Let me look that up.", calls: []string{`get_weather({"city":"Paris"})`}, finish: "tool_calls", status: "completed"},
	"reasoning_tool":    {calls: []string{`get_weather({"city":"Paris"})`}, finish: "tool_calls", status: "completed"},
	"custom":            {calls: []string{"apply_patch(" + patch + ")"}, finish: "tool_calls", status: "completed"},
	"length_tool":       {calls: []string{`get_weather({"ci)`}, finish: "length", status: "incomplete"},
	"demo":              {calls: []string{`get_weather({"city":"Paris"})`}, finish: "tool_calls", status: "completed"},
}

func longText() string {
	a, _ := playLong(nil, nil)
	return a.items[0].whole()
}

// TestScenariosAreAllTold: a new scenario must say whether it ends well.
func TestScenariosAreAllTold(t *testing.T) {
	broken := []string{"abort", "midstream", "cut", "cut_early", "stall", "nonjson", "namespaced"}
	for _, name := range Scenarios() {
		_, told := wellTold[name]
		if !told && !slices.Contains(broken, name) && !strings.HasPrefix(name, "error") {
			t.Errorf("scenario %q is in no table", name)
		}
	}
}

func client(t *testing.T, o Options) openai.Client {
	_, web := serve(t, o)
	return openai.NewClient(option.WithBaseURL(web.URL+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0), option.WithHTTPClient(web.Client()))
}

// request sends the fixture's request of a scenario in place of the parameters of the call: the SDK cannot read
// its own parameters back from JSON.
func request(api API, scenario string, stream bool) option.RequestOption {
	return option.WithRequestBody("application/json", toJSON(fixtureRequest(api, dialects["openai"], scenario, stream)))
}

func (want said) check(t *testing.T, got said) {
	t.Helper()
	if got.text != want.text || got.refusal != want.refusal || !slices.Equal(got.calls, want.calls) || got.finish != want.finish || got.status != want.status {
		t.Errorf("got  %+q\nwant %+q", got, want)
	}
}

func TestChatBySDK(t *testing.T) {
	c := client(t, Options{})
	for name, want := range wellTold {
		want.status = ""
		t.Run(name, func(t *testing.T) {
			stream := c.Chat.Completions.NewStreaming(context.Background(), openai.ChatCompletionNewParams{}, request(Chat, name, true))
			var acc openai.ChatCompletionAccumulator
			for stream.Next() {
				if !acc.AddChunk(stream.Current()) {
					t.Fatalf("chunk refused: %s", stream.Current().RawJSON())
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			if name != "custom" { // the accumulator knows no custom calls; TestDialectStreams looks at them
				want.check(t, chatSaid(acc.ChatCompletion))
			}
			if acc.Usage.PromptTokens == 0 || acc.Usage.TotalTokens != acc.Usage.PromptTokens+acc.Usage.CompletionTokens {
				t.Errorf("usage %s", acc.Usage.RawJSON())
			}
			whole, err := c.Chat.Completions.New(context.Background(), openai.ChatCompletionNewParams{}, request(Chat, name, false))
			if err != nil {
				t.Fatal(err)
			}
			want.check(t, chatSaid(*whole))
		})
	}
}

func chatSaid(c openai.ChatCompletion) (got said) {
	if len(c.Choices) != 1 {
		return said{text: "no single choice"}
	}
	m := c.Choices[0].Message
	got = said{text: m.Content, refusal: m.Refusal, finish: c.Choices[0].FinishReason}
	for _, call := range m.ToolCalls {
		switch {
		case call.Type == "custom":
			got.calls = append(got.calls, call.Custom.Name+"("+call.Custom.Input+")")
		case call.ID != "" && call.Function.Name != "":
			got.calls = append(got.calls, call.Function.Name+"("+call.Function.Arguments+")")
		}
	}
	return got
}

func TestResponsesBySDK(t *testing.T) {
	c := client(t, Options{})
	for name, want := range wellTold {
		want.finish = ""
		t.Run(name, func(t *testing.T) {
			stream := c.Responses.NewStreaming(context.Background(), responses.ResponseNewParams{}, request(Responses, name, true))
			l := ladder{t: t, items: map[int64]string{}, deltas: map[string]string{}}
			for stream.Next() {
				l.climb(stream.Current())
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			want.check(t, responseSaid(l.final))
			l.compare()
			whole, err := c.Responses.New(context.Background(), responses.ResponseNewParams{}, request(Responses, name, false))
			if err != nil {
				t.Fatal(err)
			}
			want.check(t, responseSaid(*whole))
			if whole.Usage.TotalTokens == 0 || whole.Usage.TotalTokens != l.final.Usage.TotalTokens {
				t.Errorf("usage %s", whole.Usage.RawJSON())
			}
		})
	}
}

func responseSaid(r responses.Response) (got said) {
	got.status = string(r.Status)
	for _, item := range r.Output {
		switch item.Type {
		case "message":
			for _, part := range item.Content {
				got.text += part.Text
				got.refusal += part.Refusal
			}
		case "function_call":
			got.calls = append(got.calls, item.Name+"("+item.Arguments.OfString+")")
		case "custom_tool_call":
			got.calls = append(got.calls, item.Name+"("+item.Input+")")
		}
	}
	return got
}

// ladder checks the order of a Responses stream as the strictest client helper does.
type ladder struct {
	t      *testing.T
	seq    int64
	id     string
	items  map[int64]string  // id by output_index
	deltas map[string]string // by item id
	open   string
	ended  bool
	final  responses.Response
}

func (l *ladder) climb(e responses.ResponseStreamEventUnion) {
	l.t.Helper()
	fail := func(what string) { l.t.Errorf("%s: %s", what, e.RawJSON()) }
	if e.SequenceNumber != l.seq {
		fail("sequence number")
	}
	l.seq++
	if l.ended {
		fail("event behind the last")
	}
	if (l.seq == 1) != (e.Type == "response.created") || (l.seq == 2) != (e.Type == "response.in_progress") {
		fail("not created, in_progress")
	}
	if e.Response.ID != "" {
		if l.id == "" {
			l.id = e.Response.ID
		}
		if e.Response.ID != l.id {
			fail("another id")
		}
	}
	switch {
	case e.Type == "response.output_item.added":
		if e.OutputIndex != int64(len(l.items)) || l.open != "" || e.Item.ID == "" {
			fail("item out of order")
		}
		l.items[e.OutputIndex], l.open = e.Item.ID, e.Item.ID
	case e.Type == "response.output_item.done":
		if e.Item.ID != l.open || l.items[e.OutputIndex] != e.Item.ID {
			fail("another item is done")
		}
		l.open = ""
	case strings.HasSuffix(e.Type, ".delta"):
		if e.ItemID != l.open {
			fail("delta of an item that is not open")
		}
		if e.Delta == "" {
			fail("empty delta")
		}
		l.deltas[e.ItemID] += e.Delta
	case e.Type == "response.completed", e.Type == "response.incomplete", e.Type == "response.failed":
		l.ended, l.final = true, e.Response
	case e.Type != "response.created" && e.Type != "response.in_progress" && e.ItemID != l.open:
		fail("event of an item that is not open")
	}
}

// compare holds the deltas against the final items.
func (l *ladder) compare() {
	l.t.Helper()
	if len(l.final.Output) != len(l.items) {
		l.t.Errorf("%d items in the end, %d on the way", len(l.final.Output), len(l.items))
	}
	for _, item := range l.final.Output {
		var whole string
		switch item.Type {
		case "message":
			whole = item.Content[0].Text + item.Content[0].Refusal
		case "reasoning":
			for _, s := range item.Summary {
				whole += s.Text
			}
		case "function_call":
			whole = item.Arguments.OfString
		case "custom_tool_call":
			whole = item.Input
		}
		if l.deltas[item.ID] != whole {
			l.t.Errorf("%s: deltas %q, whole %q", item.Type, l.deltas[item.ID], whole)
		}
	}
}

// TestEventMembers pins the members of each event of the strict stream, which clients of other languages demand.
func TestEventMembers(t *testing.T) {
	want := map[string]string{
		"response.created":                       "type sequence_number response",
		"response.in_progress":                   "type sequence_number response",
		"response.output_item.added":             "type sequence_number output_index item",
		"response.content_part.added":            "type sequence_number item_id output_index content_index part",
		"response.output_text.delta":             "type sequence_number item_id output_index content_index delta logprobs obfuscation",
		"response.output_text.done":              "type sequence_number item_id output_index content_index text logprobs",
		"response.output_text.annotation.added":  "type sequence_number item_id output_index content_index annotation_index annotation",
		"response.refusal.delta":                 "type sequence_number item_id output_index content_index delta obfuscation",
		"response.refusal.done":                  "type sequence_number item_id output_index content_index refusal",
		"response.content_part.done":             "type sequence_number item_id output_index content_index part",
		"response.reasoning_summary_part.added":  "type sequence_number item_id output_index summary_index part",
		"response.reasoning_summary_text.delta":  "type sequence_number item_id output_index summary_index delta obfuscation",
		"response.reasoning_summary_text.done":   "type sequence_number item_id output_index summary_index text",
		"response.reasoning_summary_part.done":   "type sequence_number item_id output_index summary_index part",
		"response.function_call_arguments.delta": "type sequence_number item_id output_index delta obfuscation",
		"response.function_call_arguments.done":  "type sequence_number item_id output_index arguments",
		"response.custom_tool_call_input.delta":  "type sequence_number item_id output_index delta obfuscation",
		"response.custom_tool_call_input.done":   "type sequence_number item_id output_index input",
		"response.output_item.done":              "type sequence_number output_index item",
		"response.completed":                     "type sequence_number response",
		"response.incomplete":                    "type sequence_number response",
		"response.failed":                        "type sequence_number response",
		"error":                                  "type sequence_number code message param",
	}
	seen := map[string]bool{}
	for _, scenario := range Scenarios() {
		for _, e := range events(Stream(Responses, "openai", scenario)) {
			m := parse(t, e)
			kind := m["type"].(string)
			seen[kind] = true
			names := strings.Fields(want[kind])
			if len(names) != len(m) || slices.ContainsFunc(names, func(n string) bool { _, ok := m[n]; return !ok }) {
				t.Fatalf("%s: want %q", e, want[kind])
			}
		}
	}
	for kind := range want {
		if !seen[kind] {
			t.Errorf("no scenario sends %s", kind)
		}
	}
}

// TestResponseMembers pins the members of the response object that other clients demand, and which may be null.
func TestResponseMembers(t *testing.T) {
	body, _ := Answer(Responses, "openai", "text")
	r := parse(t, string(body))
	for _, name := range strings.Fields("id object created_at completed_at status background model output parallel_tool_calls presence_penalty frequency_penalty reasoning service_tier store temperature top_p text tool_choice tools top_logprobs truncation usage metadata") {
		if r[name] == nil {
			t.Errorf("%s is missing or null in %s", name, body)
		}
	}
	for _, name := range strings.Fields("error incomplete_details instructions max_output_tokens max_tool_calls previous_response_id prompt_cache_key safety_identifier") {
		if v, ok := r[name]; !ok || v != nil {
			t.Errorf("%s is %v, want null", name, v)
		}
	}
	if _, ok := r["output_text"]; ok {
		t.Error("output_text is on the wire")
	}
}
