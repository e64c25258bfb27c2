package chat2response

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"github.com/labiium/chat2response/internal/fakeopenai"
)

// question is what a client asks, in whichever API it speaks.
type question struct {
	scenario string
	image    bool
	tool     string // function or custom
	schema   bool
}

// told is what a client understood of an answer.
type told struct {
	text, reasoning, refusal string
	calls                    []toolCall
	finish                   string // stop, tool_calls, length, content_filter

	id, model            string
	input, output, total int64 // tokens
}

type toolCall struct{ id, kind, name, input string }

func (c toolCall) String() string { return c.kind + " " + c.name + "(" + c.input + ")" }

// talk is a conversation by one API of OpenAI's client.
type talk interface {
	// ask puts the question, or the outputs of the calls of the last answer.
	ask(t *testing.T, q question, outputs []string, stream bool) (told, error)
}

// The client, without retries: it would hide what the gateway does.
func sdk(g *gateway, o ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(g.url + "/v1"), option.WithAPIKey("sk-of-the-client"), option.WithMaxRetries(0), option.WithHTTPClient(client),
	}, o...)...)
}

const (
	// A red dot.
	pixel     = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
	question1 = "What is the weather in Paris?"
)

var (
	weatherSchema = map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"}, "additionalProperties": false}
	placeSchema   = map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}, "population": map[string]any{"type": "integer"}},
		"required": []string{"city", "population"}, "additionalProperties": false}
)

// chatTalk speaks Chat Completions.
type chatTalk struct {
	client  openai.Client
	history []openai.ChatCompletionMessageParamUnion
	last    told
}

func (c *chatTalk) ask(t *testing.T, q question, outputs []string, stream bool) (told, error) {
	t.Helper()
	if outputs == nil {
		parts := []openai.ChatCompletionContentPartUnionParam{openai.TextContentPart(question1)}
		if q.image {
			parts = append(parts, openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: pixel}))
		}
		c.history = append(c.history, openai.SystemMessage("Be short."), openai.UserMessage(parts))
	}
	for i, output := range outputs {
		c.history = append(c.history, openai.ToolMessage(output, c.last.calls[i].id))
	}
	p := openai.ChatCompletionNewParams{Model: "fake-" + q.scenario, Messages: c.history}
	switch q.tool {
	case "function":
		p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: "get_weather", Description: openai.String("Returns the weather of a city."), Parameters: weatherSchema, Strict: openai.Bool(true)})}
	case "custom":
		p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionCustomTool(openai.ChatCompletionCustomToolCustomParam{
			Name: "apply_patch", Description: openai.String("Applies a patch.")})}
	}
	if q.schema {
		p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
			Name: "place", Schema: placeSchema, Strict: openai.Bool(true)}}
	}
	var err error
	if stream {
		p.StreamOptions.IncludeUsage = openai.Bool(true)
		c.last, err = c.stream(t, p)
	} else {
		c.last, err = c.whole(p)
	}
	return c.last, err
}

func (c *chatTalk) whole(p openai.ChatCompletionNewParams) (told, error) {
	answer, err := c.client.Chat.Completions.New(context.Background(), p)
	if err != nil {
		return told{}, err
	}
	if len(answer.Choices) != 1 {
		return told{}, fmt.Errorf("%d choices", len(answer.Choices))
	}
	m := answer.Choices[0].Message
	c.history = append(c.history, m.ToParam())
	return readCompletion(*answer), nil
}

func readCompletion(a openai.ChatCompletion) told {
	m := a.Choices[0].Message
	got := told{text: m.Content, refusal: m.Refusal, finish: a.Choices[0].FinishReason, id: a.ID, model: a.Model,
		input: a.Usage.PromptTokens, output: a.Usage.CompletionTokens, total: a.Usage.TotalTokens}
	json.Unmarshal([]byte(m.JSON.ExtraFields["reasoning_content"].Raw()), &got.reasoning)
	for _, call := range m.ToolCalls {
		if call.Type == "custom" {
			got.calls = append(got.calls, toolCall{call.ID, "custom", call.Custom.Name, call.Custom.Input})
			continue
		}
		got.calls = append(got.calls, toolCall{call.ID, "function", call.Function.Name, call.Function.Arguments})
	}
	return got
}

// stream accumulates a stream with the client's own accumulator, but for what
// that does not know: custom calls and reasoning.
func (c *chatTalk) stream(t *testing.T, p openai.ChatCompletionNewParams) (told, error) {
	t.Helper()
	s := c.client.Chat.Completions.NewStreaming(context.Background(), p)
	defer s.Close()
	var acc openai.ChatCompletionAccumulator
	var reasoning strings.Builder
	var calls []toolCall
	id := ""
	for s.Next() {
		chunk := s.Current()
		if !acc.AddChunk(chunk) {
			t.Fatalf("the accumulator refuses %s", chunk.RawJSON())
		}
		if id == "" {
			id = chunk.ID
		}
		if chunk.ID != id || id == "" {
			t.Errorf("a chunk of another answer: %s", chunk.RawJSON())
		}
		var extra struct {
			Choices []struct {
				Delta struct {
					Reasoning string `json:"reasoning_content"`
					Calls     []struct {
						Index    int
						ID       string
						Type     string
						Custom   struct{ Name, Input string }
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
			}
		}
		if err := json.Unmarshal([]byte(chunk.RawJSON()), &extra); err != nil {
			t.Fatal(err)
		}
		for _, choice := range extra.Choices {
			reasoning.WriteString(choice.Delta.Reasoning)
			for _, d := range choice.Delta.Calls {
				if d.Index == len(calls) {
					calls = append(calls, toolCall{d.ID, d.Type, d.Custom.Name + d.Function.Name, ""})
				} else if d.Index > len(calls) || d.ID != "" && d.ID != calls[d.Index].id {
					t.Fatalf("a call out of order: %s", chunk.RawJSON())
				}
				calls[d.Index].input += d.Custom.Input + d.Function.Arguments
			}
		}
	}
	if err := s.Err(); err != nil {
		return told{}, err
	}
	if len(acc.Choices) != 1 {
		return told{}, fmt.Errorf("%d choices", len(acc.Choices))
	}
	got := readCompletion(acc.ChatCompletion)
	if got.reasoning = reasoning.String(); len(calls) > 0 && calls[0].kind == "custom" {
		got.calls = calls
	}
	if !slices.Equal(got.calls, calls) {
		t.Errorf("the accumulator has the calls %v, the chunks %v", got.calls, calls)
	}
	c.history = append(c.history, assistant(got))
	return got, nil
}

// assistant is the message with which a client repeats an answer.
func assistant(got told) openai.ChatCompletionMessageParamUnion {
	m := openai.AssistantMessage(got.text)
	if got.text == "" {
		m.OfAssistant.Content = openai.ChatCompletionAssistantMessageParamContentUnion{}
	}
	for _, call := range got.calls {
		if call.kind == "custom" {
			m.OfAssistant.ToolCalls = append(m.OfAssistant.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{OfCustom: &openai.ChatCompletionMessageCustomToolCallParam{
				ID: call.id, Custom: openai.ChatCompletionMessageCustomToolCallCustomParam{Name: call.name, Input: call.input}}})
			continue
		}
		m.OfAssistant.ToolCalls = append(m.OfAssistant.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
			ID: call.id, Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: call.name, Arguments: call.input}}})
	}
	return m
}

// responsesTalk speaks Responses, statelessly: it sends back all items as they
// came.
type responsesTalk struct {
	client  openai.Client
	history []responses.ResponseInputItemUnionParam
	last    told
}

func (c *responsesTalk) ask(t *testing.T, q question, outputs []string, stream bool) (told, error) {
	t.Helper()
	if outputs == nil {
		parts := responses.ResponseInputMessageContentListParam{responses.ResponseInputContentParamOfInputText(question1)}
		if q.image {
			image := responses.ResponseInputContentParamOfInputImage(responses.ResponseInputImageDetailAuto)
			image.OfInputImage.ImageURL = openai.String(pixel)
			parts = append(parts, image)
		}
		c.history = append(c.history, responses.ResponseInputItemParamOfMessage("Be short.", responses.EasyInputMessageRoleDeveloper),
			responses.ResponseInputItemParamOfMessage(parts, responses.EasyInputMessageRoleUser))
	}
	for i, output := range outputs {
		call := c.last.calls[i]
		if call.kind == "custom" {
			c.history = append(c.history, responses.ResponseInputItemParamOfCustomToolCallOutput(call.id, output))
			continue
		}
		item := responses.ResponseInputItemParamOfFunctionCallOutput(output)
		item.OfFunctionCallOutput.CallID = openai.String(call.id)
		c.history = append(c.history, item)
	}
	p := responses.ResponseNewParams{
		Model: "fake-" + q.scenario, Store: openai.Bool(false), Include: []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent},
		Input:     responses.ResponseNewParamsInputUnion{OfInputItemList: c.history},
		Reasoning: shared.ReasoningParam{Summary: shared.ReasoningSummaryAuto},
	}
	switch q.tool {
	case "function":
		tool := responses.ToolParamOfFunction("get_weather", weatherSchema, true)
		tool.OfFunction.Description = openai.String("Returns the weather of a city.")
		p.Tools = []responses.ToolUnionParam{tool}
	case "custom":
		tool := responses.ToolParamOfCustom("apply_patch")
		tool.OfCustom.Description = openai.String("Applies a patch.")
		p.Tools = []responses.ToolUnionParam{tool}
	}
	if q.schema {
		p.Text.Format = responses.ResponseFormatTextConfigParamOfJSONSchema("place", placeSchema)
		p.Text.Format.OfJSONSchema.Strict = openai.Bool(true)
	}
	var answer *responses.Response
	var err error
	if stream {
		answer, err = c.stream(t, p)
	} else {
		answer, err = c.client.Responses.New(context.Background(), p)
	}
	if err != nil {
		return told{}, err
	}
	for _, item := range answer.Output {
		c.history = append(c.history, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
	}
	c.last = readResponse(answer)
	if answer.Status == responses.ResponseStatusFailed {
		return c.last, fmt.Errorf("failed: %s %s", answer.Error.Code, answer.Error.Message)
	}
	return c.last, nil
}

func readResponse(a *responses.Response) told {
	got := told{text: a.OutputText(), id: a.ID, model: a.Model, input: a.Usage.InputTokens, output: a.Usage.OutputTokens, total: a.Usage.TotalTokens}
	for _, item := range a.Output {
		switch item.Type {
		case "message":
			for _, part := range item.Content {
				got.refusal += part.Refusal
			}
		case "reasoning":
			for i, part := range item.Summary {
				if i > 0 {
					got.reasoning += "\n\n"
				}
				got.reasoning += part.Text
			}
		case "function_call":
			got.calls = append(got.calls, toolCall{item.CallID, "function", item.Name, item.Arguments.OfString})
		case "custom_tool_call":
			got.calls = append(got.calls, toolCall{item.CallID, "custom", item.Name, item.Input})
		}
	}
	switch {
	case a.Status == responses.ResponseStatusIncomplete && a.IncompleteDetails.Reason == "max_output_tokens":
		got.finish = "length"
	case a.Status == responses.ResponseStatusIncomplete:
		got.finish = string(a.IncompleteDetails.Reason)
	case len(got.calls) > 0:
		got.finish = "tool_calls"
	case a.Status == responses.ResponseStatusCompleted:
		got.finish = "stop"
	}
	return got
}

// stream reads a stream with the client's accumulator, which reads the events
// more strictly than the client itself, and holds the events against the final
// response.
func (c *responsesTalk) stream(t *testing.T, p responses.ResponseNewParams) (*responses.Response, error) {
	t.Helper()
	s := c.client.Responses.NewStreaming(context.Background(), p)
	defer s.Close()
	var acc responses.ResponseAccumulator
	deltas := map[string]string{}
	var items []string
	seq := int64(0)
	for s.Next() {
		e := s.Current()
		var strict responses.ResponsesServerEventUnion
		if err := json.Unmarshal([]byte(e.RawJSON()), &strict); err != nil {
			t.Fatal(err)
		}
		if err := acc.AddEvent(strict); err != nil && e.Type != "error" {
			t.Fatalf("the accumulator refuses %s: %v", e.RawJSON(), err)
		}
		if e.SequenceNumber != seq {
			t.Errorf("sequence number %d instead of %d", e.SequenceNumber, seq)
		}
		seq++
		switch {
		case e.Type == "response.output_item.added":
			items = append(items, e.Item.ID)
			if e.OutputIndex != int64(len(items)-1) || e.Item.ID == "" {
				t.Errorf("an item out of order: %s", e.RawJSON())
			}
		case strings.HasSuffix(e.Type, ".delta"):
			deltas[e.ItemID] += e.Delta
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	answer, err := acc.ReconstructedResponse()
	if err != nil {
		return nil, err
	}
	for i, item := range answer.Output {
		if i >= len(items) || items[i] != item.ID {
			t.Errorf("item %d is %q in the end, and was %q", i, item.ID, items)
			continue
		}
		whole := item.Arguments.OfString + item.Input
		for _, part := range item.Content {
			whole += part.Text + part.Refusal
		}
		for _, part := range item.Summary {
			whole += part.Text
		}
		if deltas[item.ID] != whole {
			t.Errorf("the deltas are %q, the item %q", deltas[item.ID], whole)
		}
	}
	return answer, nil
}

// talks are the two kinds of clients.
var talks = map[string]func(openai.Client) talk{
	"chat client":      func(c openai.Client) talk { return &chatTalk{client: c} },
	"responses client": func(c openai.Client) talk { return &responsesTalk{client: c} },
}

// patch is what fakeopenai puts into a custom tool: all that JSON must escape.
const patch = "*** Begin Patch\n*** Update File: greet.txt\n@@\n-say \"hi\"\n+say \"hello\\there\"\t→ 世界\n*** End Patch\n"

// cells are what is asked of every client and upstream, and what must come of it.
var cells = map[string]struct {
	q       question
	want    told
	outputs []string // for the second turn
	second  string   // its text
	dialect string   // of a chat upstream; default: openai
}{
	"text": {q: question{scenario: "text"}, want: told{text: "Hello! I am a fake model. How can I help you today?", finish: "stop"}},
	"echo": {q: question{scenario: "echo"}, want: told{text: question1, finish: "stop"}},
	// OpenAI's own chat upstream shows no reasoning.
	"reasoning": {q: question{scenario: "reasoning"}, dialect: "generic", want: told{text: "Hello, after some thought.", finish: "stop",
		reasoning: "**Reading the question**\n\nThe user greets me.\n\n**Answering**\n\nI greet back."}},
	"reasoning and call": {q: question{scenario: "reasoning_tool", tool: "function"}, dialect: "deepseek", want: told{finish: "tool_calls",
		reasoning: "The user wants a fact that a tool knows.\n\nI should call it.", calls: []toolCall{{kind: "function", name: "get_weather", input: `{"city":"Paris"}`}}},
		outputs: []string{"21 degrees"}, second: "get_weather returned: 21 degrees"},
	"one call": {q: question{scenario: "tool", tool: "function"}, want: told{finish: "tool_calls",
		calls: []toolCall{{kind: "function", name: "get_weather", input: `{"city":"Paris"}`}}},
		outputs: []string{"21 degrees, \"sunny\"\n"}, second: "get_weather returned: 21 degrees, \"sunny\"\n"},
	"parallel calls": {q: question{scenario: "tools", tool: "function"}, want: told{finish: "tool_calls",
		calls: []toolCall{{kind: "function", name: "get_weather", input: `{"city":"Paris"}`}, {kind: "function", name: "get_weather", input: `{"city":"London"}`}}},
		outputs: []string{"21 degrees", "rain"}, second: "get_weather returned: 21 degrees get_weather returned: rain"},
	"text and call": {q: question{scenario: "tool_text", tool: "function"}, want: told{text: "Let me look that up.", finish: "tool_calls",
		calls: []toolCall{{kind: "function", name: "get_weather", input: `{"city":"Paris"}`}}},
		outputs: []string{"21 degrees"}, second: "get_weather returned: 21 degrees"},
	"custom tool": {q: question{scenario: "custom", tool: "custom"}, want: told{finish: "tool_calls",
		calls: []toolCall{{kind: "custom", name: "apply_patch", input: patch}}}, outputs: []string{"Done."}, second: "apply_patch returned: Done."},
	"custom tool, emulated": {q: question{scenario: "custom", tool: "custom"}, dialect: "generic", want: told{finish: "tool_calls",
		calls: []toolCall{{kind: "custom", name: "apply_patch", input: patch}}}, outputs: []string{"Done."}, second: "apply_patch returned: Done."},
	"structured output": {q: question{scenario: "json", schema: true}, want: told{text: `{"city":"Paris","population":1}`, finish: "stop"}},
	"image":             {q: question{scenario: "image", image: true}, want: told{text: "I see 1 image(s): image/png.", finish: "stop"}},
	"refusal":           {q: question{scenario: "refusal"}, want: told{refusal: "I'm sorry, but I can't help with that.", finish: "stop"}},
	"length stop":       {q: question{scenario: "length"}, want: told{text: "It was a bright cold day in April, and the clocks were", finish: "length"}},
	"content filter":    {q: question{scenario: "filter"}, want: told{text: "The first thing you would need is", finish: "content_filter"}},
}

// eachCell runs f for every client, upstream and way of answering.
func eachCell(t *testing.T, dialect string, f func(t *testing.T, g *gateway, api fakeopenai.API, client string, stream bool, up *fakeopenai.Server)) {
	t.Helper()
	for _, api := range []fakeopenai.API{fakeopenai.Chat, fakeopenai.Responses} {
		up, addr := fake(t, fakeopenai.Options{Dialect: dialect, APIs: []fakeopenai.API{api}})
		g := start(t, fmt.Sprintf("chat2response %s {\n mode %s\n dialect %s\n}", addr, api, gatewayDialect(dialect)))
		for client := range talks {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s upstream, stream %v", client, api, stream), func(t *testing.T) {
					f(t, g, api, client, stream, up)
				})
			}
		}
	}
}

// gatewayDialect is the option `dialect` for a dialect of fakeopenai.
func gatewayDialect(name string) string { return strings.TrimSuffix(name, "-old") }

func TestReferee(t *testing.T) {
	for _, dialect := range []string{"openai", "generic", "deepseek"} {
		eachCell(t, dialect, func(t *testing.T, g *gateway, api fakeopenai.API, client string, stream bool, up *fakeopenai.Server) {
			for name, cell := range cells {
				if or(cell.dialect, "openai") != dialect {
					continue
				}
				if api == fakeopenai.Chat && client == "chat client" && dialect != "openai" && cell.q.tool != "" {
					continue // the express lane: what the upstream wants otherwise is the client's business
				}
				t.Run(name, func(t *testing.T) {
					c := talks[client](sdk(g))
					got, err := c.ask(t, cell.q, nil, stream)
					if err != nil {
						t.Fatal(explain(err))
					}
					cell.want.model = "fake-" + cell.q.scenario
					checkTold(t, got, cell.want)
					if cell.outputs == nil || t.Failed() {
						return
					}
					got, err = c.ask(t, cell.q, cell.outputs, stream)
					if err != nil {
						t.Fatal(explain(err))
					}
					checkTold(t, got, told{text: cell.second, finish: "stop", model: cell.want.model})
				})
			}
		})
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// explain shows what the client's own text of an error hides.
func explain(err error) string {
	var e *openai.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%d %s", e.StatusCode, e.RawJSON())
	}
	return err.Error()
}

func checkTold(t *testing.T, got, want told) {
	t.Helper()
	if got.text != want.text || got.reasoning != want.reasoning || got.refusal != want.refusal || got.finish != want.finish || got.model != want.model {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if fmt.Sprint(got.calls) != fmt.Sprint(want.calls) {
		t.Errorf("got  %v\nwant %v", got.calls, want.calls)
	}
	ids := map[string]bool{}
	for _, c := range got.calls {
		if c.id == "" || ids[c.id] {
			t.Errorf("a call without an id of its own: %v", got.calls)
		}
		ids[c.id] = true
	}
	if got.id == "" || got.input == 0 || got.output == 0 || got.total != got.input+got.output {
		t.Errorf("id %q, usage %d + %d = %d", got.id, got.input, got.output, got.total)
	}
}

// TestRefereeErrors: errors that come before the answer keep their status, type,
// code and message, and the headers that tell when to come again.
func TestRefereeErrors(t *testing.T) {
	tests := map[string]struct {
		status     int
		kind, code string
		message    string
		retryAfter string
	}{
		"error400": {400, "invalid_request_error", "context_length_exceeded", "context", ""},
		"error401": {401, "invalid_request_error", "invalid_api_key", "Incorrect API key", ""},
		"error404": {404, "invalid_request_error", "model_not_found", "does not exist", ""},
		"error429": {429, "requests", "rate_limit_exceeded", "try again in 1s", "1"},
		"error500": {500, "server_error", "", "The server had an error", ""},
		"error503": {503, "service_unavailable_error", "", "overloaded", "1"},
	}
	eachCell(t, "openai", func(t *testing.T, g *gateway, api fakeopenai.API, client string, stream bool, up *fakeopenai.Server) {
		for name, want := range tests {
			_, err := talks[client](sdk(g)).ask(t, question{scenario: name}, nil, stream)
			var e *openai.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if e.StatusCode != want.status || e.Type != want.kind || e.Code != want.code || !strings.Contains(e.Message, want.message) {
				t.Errorf("%s: %s", name, explain(err))
			}
			if got := e.Response.Header.Get("Retry-After"); got != want.retryAfter {
				t.Errorf("%s: Retry-After %q", name, got)
			}
			if name == "error429" && e.Response.Header.Get("X-Ratelimit-Remaining-Requests") != "0" {
				t.Errorf("%s: %v", name, e.Response.Header)
			}
			if name == "error400" && e.Param != map[string]string{"chat client": "messages", "responses client": "input"}[client] {
				t.Errorf("%s: param %q, which is of the other API", name, e.Param)
			}
		}
	})
}

// TestRefereeMidstream: an error behind the first words is one that the client
// reports.
func TestRefereeMidstream(t *testing.T) {
	for _, scenario := range []string{"midstream", "cut", "cut_early", "abort"} {
		eachCell(t, "openai", func(t *testing.T, g *gateway, api fakeopenai.API, client string, stream bool, up *fakeopenai.Server) {
			if express := strings.HasPrefix(client, string(api)); express && strings.HasPrefix(scenario, "cut") {
				return // the client sees what the upstream did
			}
			got, err := talks[client](sdk(g)).ask(t, question{scenario: scenario}, nil, stream)
			if err == nil {
				t.Errorf("%s: %+v", scenario, got)
			}
		})
	}
}

// excused are what no gateway can mend: the upstream does not tell.
var excused = map[string]string{
	"lmstudio, responses, structured output": "it ignores text.format",
	"ollama, responses, length stop":         "a response that ran out of tokens is completed",
	"ollama, responses, content filter":      "the same",
}

// TestRefereeDialects is the same with each kind of upstream there is.
func TestRefereeDialects(t *testing.T) {
	scenarios := []string{"text", "reasoning and call", "one call", "parallel calls", "custom tool", "structured output", "length stop", "content filter"}
	for _, dialect := range fakeopenai.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			eachCell(t, dialect, func(t *testing.T, g *gateway, api fakeopenai.API, client string, stream bool, up *fakeopenai.Server) {
				if strings.HasPrefix(client, string(api)) {
					return // the express lane: the client has to do with the dialect itself
				}
				for _, name := range scenarios {
					if excused[fmt.Sprintf("%s, %s, %s", dialect, api, name)] != "" {
						continue
					}
					cell := cells[name]
					c := talks[client](sdk(g))
					got, err := c.ask(t, cell.q, nil, stream)
					if err != nil {
						t.Errorf("%s: %s", name, explain(err))
						continue
					}
					if got.text != cell.want.text || got.refusal != cell.want.refusal || fmt.Sprint(got.calls) != fmt.Sprint(cell.want.calls) || got.finish != cell.want.finish {
						t.Errorf("%s: got  %+v\nwant %+v", name, got, cell.want)
						continue
					}
					if cell.outputs == nil {
						continue
					}
					got, err = c.ask(t, cell.q, cell.outputs, stream)
					if err != nil {
						t.Errorf("%s, second turn: %s", name, explain(err))
						continue
					}
					if got.text != cell.second || got.finish != "stop" {
						t.Errorf("%s, second turn: got  %+v\nwant %q", name, got, cell.second)
					}
				}
			})
		})
	}
}
