package convert

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// chatFace is what decides the form of a Chat client's answer, beside what it says.
type chatFace struct {
	// id is the answer's. Empty: made of the response's.
	id string
	// usage: the last chunk counts tokens (stream_options.include_usage).
	usage bool
	// legacy: the request used functions; the answer has function_call.
	legacy bool
}

func (r *Request) face() chatFace {
	face := chatFace{id: r.chatID}
	if req := r.chat; req != nil {
		face.usage = req.StreamOptions != nil && or(req.StreamOptions.IncludeUsage, false)
		face.legacy = len(req.Tools) == 0 && len(req.Functions) > 0
	}
	return face
}

// chatWriter writes the events of a response as the chunks of a Chat stream.
//
// It holds calls to the order in which they were announced: clients break on
// arguments of two calls that alternate.
type chatWriter struct {
	w    *sse.Writer
	face chatFace

	head, tail []byte // of each chunk, around the delta
	created    bool

	said  bool  // some text has been sent
	part  place // of the last text
	runes int64 // sent text, in characters
	base  int64 // of these, before that part

	thought place             // of the last reasoning
	family  map[string]string // of each reasoning item, the events that tell it
	sealed  int               // reasoning items that only the upstream can read

	byItem map[string]*chatCall
	calls  []*chatCall
	next   int // the first call that is not done
}

// place is a part of an item.
type place struct {
	item  string
	index int
}

// chatCall is a tool call on its way to the client.
type chatCall struct {
	id, name  string
	custom    bool
	waiting   []byte // arguments that wait for the calls before it
	announced bool
	done      bool
}

func newChatWriter(w *sse.Writer, face chatFace) *chatWriter {
	return &chatWriter{w: w, face: face, family: map[string]string{}, byItem: map[string]*chatCall{}}
}

// Event writes what a Chat client is to see of an event.
func (c *chatWriter) Event(e *responses.Event) error {
	if !c.created && e.Response != nil {
		if err := c.start(e.Response); err != nil {
			return err
		}
	}
	switch e.Type {
	case responses.EventTextDelta:
		return c.text(e)
	case responses.EventRefusalDelta:
		return c.delta("refusal", e.Delta)
	case responses.EventSummaryDelta:
		return c.reasoning(e, e.SummaryIndex)
	case responses.EventReasoningDelta, responses.EventOpenReasoningDelta:
		return c.reasoning(e, e.ContentIndex)
	case responses.EventAnnotationAdded:
		return c.annotation(e)
	case responses.EventItemAdded:
		return c.itemAdded(e.Item)
	case responses.EventArgumentsDelta, responses.EventInputDelta:
		return c.arguments(c.byItem[e.ItemID], e.Delta)
	case responses.EventItemDone:
		return c.itemDone(e.Item)
	case responses.EventCompleted, responses.EventIncomplete:
		return c.finish(e.Response)
	case responses.EventFailed:
		return c.w.Event("", FailedError(e.Response).Body())
	}
	return nil
}

func (c *chatWriter) start(r *responses.Response) error {
	c.created = true
	b := appendQuoted([]byte(`{"id":`), c.face.idOf(r))
	b = append(b, `,"object":"chat.completion.chunk","created":`...)
	b = strconv.AppendInt(b, int64(r.CreatedAt), 10)
	b = appendQuoted(append(b, `,"model":`...), r.Model)
	c.head = append(b, `,"system_fingerprint":null,"choices":[`...)
	c.tail = []byte("]}")
	if c.face.usage {
		c.tail = []byte(`],"usage":null}`)
	}
	b = c.begin()
	return c.end(append(b, `"role":"assistant","content":"","refusal":null`...))
}

// idOf is the Chat id of a response.
func (f *chatFace) idOf(r *responses.Response) string {
	if f.id != "" {
		return f.id
	}
	return "chatcmpl-" + strings.TrimPrefix(r.ID, "resp_")
}

func (c *chatWriter) begin() []byte {
	b := append(c.w.Begin(""), c.head...)
	return append(b, `{"index":0,"delta":{`...)
}

func (c *chatWriter) end(b []byte) error {
	b = append(b, `},"logprobs":null,"finish_reason":null}`...)
	return c.w.End(append(b, c.tail...))
}

// delta sends a delta with one string.
func (c *chatWriter) delta(name, s string) error {
	if s == "" {
		return nil
	}
	b := append(c.begin(), '"')
	b = append(append(b, name...), `":`...)
	return c.end(appendQuoted(b, s))
}

// text sends text of a message. Between the texts of two messages is a blank line.
func (c *chatWriter) text(e *responses.Event) error {
	if e.Delta == "" {
		return nil
	}
	if at := (place{e.ItemID, e.ContentIndex}); at != c.part {
		if c.said && at.item != c.part.item {
			c.runes += 2
			if err := c.delta("content", "\n\n"); err != nil {
				return err
			}
		}
		c.part, c.base = at, c.runes
	}
	c.said = true
	c.runes += int64(utf8.RuneCountInString(e.Delta))
	if len(e.Logprobs) == 0 {
		return c.delta("content", e.Delta)
	}
	b := appendQuoted(append(c.begin(), `"content":`...), e.Delta)
	lp, err := json.Marshal(&chat.Logprobs{Content: chatLogprobs(e.Logprobs)}, json.FormatNilSliceAsNull(true))
	if err != nil {
		return err
	}
	b = append(append(b, `},"logprobs":`...), lp...)
	b = append(b, `,"finish_reason":null}`...)
	return c.w.End(append(b, c.tail...))
}

// reasoning sends reasoning text; of an item that tells it twice, as summary and
// as text, only what came first. Between two parts is a blank line.
func (c *chatWriter) reasoning(e *responses.Event, index int) error {
	if e.Delta == "" {
		return nil
	}
	family, ok := c.family[e.ItemID]
	if !ok {
		family = e.Type
		c.family[e.ItemID] = family
	}
	if family != e.Type {
		return nil
	}
	if at := (place{e.ItemID, index}); at != c.thought {
		first := c.thought == place{}
		c.thought = at
		if !first {
			if err := c.delta("reasoning_content", "\n\n"); err != nil {
				return err
			}
		}
	}
	return c.delta("reasoning_content", e.Delta)
}

func (c *chatWriter) annotation(e *responses.Event) error {
	shift := c.base
	if at := (place{e.ItemID, e.ContentIndex}); at != c.part { // its text is still to come
		shift = c.runes
		if c.said && at.item != c.part.item {
			shift += 2
		}
	}
	note, ok := chatAnnotation(e.Annotation, shift)
	if !ok {
		return nil
	}
	v, err := json.Marshal([]chat.Annotation{note})
	if err != nil {
		return err
	}
	return c.end(append(append(c.begin(), `"annotations":`...), v...))
}

// chatAnnotation nests a citation; its indices are moved by the text before its
// part.
func chatAnnotation(a *responses.Annotation, shift int64) (chat.Annotation, bool) {
	if a == nil || a.Type != "url_citation" {
		return chat.Annotation{}, false
	}
	return chat.Annotation{Type: a.Type, URLCitation: &chat.URLCitation{
		StartIndex: or(a.StartIndex, 0) + shift, EndIndex: or(a.EndIndex, 0) + shift, URL: a.URL, Title: or(a.Title, ""),
	}}, true
}

func (c *chatWriter) itemAdded(it *responses.Item) error {
	if !isCall(it.Type) {
		return nil
	}
	call := &chatCall{id: it.CallID, name: flatName(it.Namespace, it.Name), custom: it.Type == "custom_tool_call"}
	c.calls = append(c.calls, call)
	c.byItem[it.ID] = call
	return c.pump()
}

func (c *chatWriter) itemDone(it *responses.Item) error {
	if call := c.byItem[it.ID]; call != nil {
		call.done = true
		return c.pump()
	}
	if it.Type != "reasoning" || it.EncryptedContent == "" {
		return nil
	}
	v, err := json.Marshal(chat.ReasoningDetail{encryptedBlock(it, c.sealed)})
	c.sealed++
	if err != nil {
		return err
	}
	return c.end(append(append(c.begin(), `"reasoning_details":`...), v...))
}

// encryptedBlock hands reasoning that only the upstream can read to the client,
// in the form of OpenRouter, so that it can send it back. index is its place among
// those of the answer: the official clients put the pieces of a stream together by
// it, and fail at a second one without.
func encryptedBlock(it *responses.Item, index int) chat.ReasoningBlock {
	return chat.ReasoningBlock{Type: "reasoning.encrypted", ID: it.ID, Data: it.EncryptedContent, Index: &index}
}

// arguments sends a piece of a call's arguments, or keeps it until the calls
// before it are done.
func (c *chatWriter) arguments(call *chatCall, piece string) error {
	if call == nil || piece == "" || call.done {
		return nil
	}
	if c.calls[c.next] != call {
		call.waiting = append(call.waiting, piece...)
		return nil
	}
	return c.sendArguments(call, piece)
}

// pump sends what may be sent of the calls, in order.
func (c *chatWriter) pump() error {
	for c.next < len(c.calls) {
		call := c.calls[c.next]
		if !call.announced {
			call.announced = true
			if err := c.announce(call); err != nil {
				return err
			}
		}
		if len(call.waiting) > 0 {
			piece := string(call.waiting)
			call.waiting = nil
			if err := c.sendArguments(call, piece); err != nil {
				return err
			}
		}
		if !call.done {
			return nil
		}
		c.next++
	}
	return nil
}

func (c *chatWriter) announce(call *chatCall) error {
	b := c.begin()
	switch {
	case c.face.legacy:
		if c.next > 0 {
			return nil // this form has room for one call
		}
		b = appendQuoted(append(b, `"function_call":{"name":`...), call.name)
		return c.end(append(b, `,"arguments":""}`...))
	case call.custom:
		b = c.callHead(b)
		b = appendQuoted(append(b, `,"id":`...), call.id)
		b = appendQuoted(append(b, `,"type":"custom","custom":{"name":`...), call.name)
		return c.end(append(b, `,"input":""}}]`...))
	}
	b = c.callHead(b)
	b = appendQuoted(append(b, `,"id":`...), call.id)
	b = appendQuoted(append(b, `,"type":"function","function":{"name":`...), call.name)
	return c.end(append(b, `,"arguments":""}}]`...))
}

func (c *chatWriter) callHead(b []byte) []byte {
	return strconv.AppendInt(append(b, `"tool_calls":[{"index":`...), int64(c.next), 10)
}

func (c *chatWriter) sendArguments(call *chatCall, piece string) error {
	b := c.begin()
	switch {
	case c.face.legacy:
		if c.next > 0 {
			return nil
		}
		b = appendQuoted(append(b, `"function_call":{"arguments":`...), piece)
		return c.end(append(b, '}'))
	case call.custom:
		b = appendQuoted(append(c.callHead(b), `,"custom":{"input":`...), piece)
	default:
		b = appendQuoted(append(c.callHead(b), `,"function":{"arguments":`...), piece)
	}
	return c.end(append(b, "}}]"...))
}

// clientTools are the items that ask the client to do something for which Chat
// has no word.
var clientTools = map[string]bool{
	"mcp_approval_request": true, "computer_call": true, "shell_call": true, "local_shell_call": true, "apply_patch_call": true,
}

// unanswerable is the error of an answer that waits for the client to do what a
// Chat client cannot be asked for.
func unanswerable(output []responses.Item) *Error {
	for i := range output {
		it := &output[i]
		if clientTools[it.Type] || it.Type == "tool_search_call" && it.Execution == "client" {
			return &Error{
				Status: 502, Type: "server_error", Code: "bad_upstream_answer",
				Message: "The upstream answered with an item of type '" + it.Type + "', which a Chat Completions client cannot act on.",
			}
		}
	}
	return nil
}

func (c *chatWriter) finish(r *responses.Response) error {
	if e := unanswerable(r.Output); e != nil {
		return c.w.Event("", e.Body())
	}
	for _, call := range c.calls {
		call.done = true
	}
	if err := c.pump(); err != nil {
		return err
	}
	b := append(c.w.Begin(""), c.head...)
	b = append(b, `{"index":0,"delta":{},"logprobs":null,"finish_reason":`...)
	b = append(appendQuoted(b, finishReason(r, len(c.calls) > 0, c.face.legacy)), '}')
	if err := c.w.End(append(b, c.tail...)); err != nil {
		return err
	}
	if c.face.usage && r.Usage != nil {
		b, err := chatUsage(r.Usage).Append(append(append(c.w.Begin(""), c.head...), `],"usage":`...))
		if err != nil {
			return err
		}
		if err := c.w.End(append(b, '}')); err != nil {
			return err
		}
	}
	return c.w.Event("", done)
}

var done = []byte("[DONE]")

// chatLogprobs translates log probabilities; bytes are those of the token where
// the response has none.
func chatLogprobs(in []responses.Logprob) []chat.Logprob {
	out := make([]chat.Logprob, len(in))
	for i := range in {
		out[i] = chatLogprob(&in[i])
		out[i].TopLogprobs = make([]chat.Logprob, len(in[i].TopLogprobs))
		for k := range in[i].TopLogprobs {
			out[i].TopLogprobs[k] = chatLogprob(&in[i].TopLogprobs[k])
		}
	}
	return out
}

func chatLogprob(p *responses.Logprob) chat.Logprob {
	bytes := p.Bytes
	if bytes == nil {
		bytes = tokenBytes(p.Token)
	}
	return chat.Logprob{Token: p.Token, Logprob: p.Logprob, Bytes: &bytes}
}

// completion makes the Chat answer of a response that did not fail. It says the
// same as the chunks of its stream.
func completion(r *responses.Response, face chatFace) *chat.Completion {
	m := chat.CompletionMessage{Role: "assistant", Annotations: []chat.Annotation{}}
	var text strings.Builder
	var refusal string
	var reasoning []string
	var probs []chat.Logprob
	var runes int64
	for i := range r.Output {
		it := &r.Output[i]
		switch it.Type {
		case "message":
			first := text.Len() > 0 // what comes is the first of this message, behind another
			for k := range it.Content.Parts {
				p := &it.Content.Parts[k]
				if p.Type == "refusal" {
					refusal += p.Str()
				}
				if p.Type != "output_text" {
					continue
				}
				if first && p.Str() != "" {
					text.WriteString("\n\n")
					runes += 2
					first = false
				}
				for n := range p.Annotations {
					if note, ok := chatAnnotation(&p.Annotations[n], runes); ok {
						m.Annotations = append(m.Annotations, note)
					}
				}
				text.WriteString(p.Str())
				runes += int64(utf8.RuneCountInString(p.Str()))
				probs = append(probs, chatLogprobs(p.Logprobs)...)
			}
		case "reasoning":
			told := filled(it.Summary)
			if len(told) == 0 {
				told = filled(it.Content.Parts)
			}
			reasoning = append(reasoning, told...)
			if it.EncryptedContent != "" {
				m.ReasoningDetails = append(m.ReasoningDetails, encryptedBlock(it, len(m.ReasoningDetails)))
			}
		case "function_call":
			m.ToolCalls = append(m.ToolCalls, chat.ToolCall{
				ID: it.CallID, Type: "function",
				Function: &chat.FunctionCall{Name: flatName(it.Namespace, it.Name), Arguments: chat.Arguments(it.Arguments.JSON())},
			})
		case "custom_tool_call":
			m.ToolCalls = append(m.ToolCalls, chat.ToolCall{
				ID: it.CallID, Type: "custom", Custom: &chat.CustomCall{Name: flatName(it.Namespace, it.Name), Input: or(it.Input, "")},
			})
		}
	}
	m.ReasoningContent = strings.Join(reasoning, "\n\n")
	m.Content = nullable(text.String())
	m.Refusal = nullable(refusal)
	called := len(m.ToolCalls) > 0
	if face.legacy && called {
		m.FunctionCall, m.ToolCalls = m.ToolCalls[0].Function, nil
	}
	choice := chat.CompletionChoice{Message: m, FinishReason: finishReason(r, called, face.legacy)}
	if len(probs) > 0 {
		choice.Logprobs = &chat.Logprobs{Content: probs}
	}
	return &chat.Completion{
		ID: face.idOf(r), Object: "chat.completion", Created: int64(r.CreatedAt), Model: r.Model,
		Choices: []chat.CompletionChoice{choice}, Usage: chatUsage(r.Usage), ServiceTier: r.ServiceTier,
	}
}

// filled are the texts of the parts that have one.
func filled(parts []responses.Part) []string {
	var texts []string
	for i := range parts {
		if s := parts[i].Str(); s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// writeOptions: names and text were checked when they were read.
var writeOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
