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

// chatFace is what of a Chat client's request decides the form of its answer.
type chatFace struct {
	// usage: the last chunk counts tokens (stream_options.include_usage).
	usage bool
	// legacy: the request used functions; the answer has function_call.
	legacy bool
}

func faceOf(req *chat.Request) chatFace {
	if req == nil {
		return chatFace{}
	}
	return chatFace{
		usage:  req.StreamOptions != nil && or(req.StreamOptions.IncludeUsage, false),
		legacy: len(req.Tools) == 0 && len(req.Functions) > 0,
	}
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
	texts      bool   // some text has been sent
	item       string // the message that the last text was of
	runes      int64  // sent text, in characters, before the open message
	itemRunes  int64  // and in it
	unseen     bool   // the open part has had no delta
	family     map[string]string
	calls      []*chatCall
	next       int // the first call that is not done
}

// chatCall is a tool call on its way to the client.
type chatCall struct {
	itemID    string
	id, name  string
	custom    bool
	args      []byte
	sent      int
	announced bool
	done      bool
}

func newChatWriter(w *sse.Writer, face chatFace) *chatWriter {
	return &chatWriter{w: w, face: face, family: map[string]string{}}
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
		c.unseen = false
		return c.text(e.ItemID, e.Delta, e.Logprobs)
	case responses.EventPartAdded:
		c.unseen = true
	case responses.EventTextDone:
		if c.unseen && e.Text != "" {
			c.unseen = false
			return c.text(e.ItemID, e.Text, e.Logprobs)
		}
	case responses.EventRefusalDelta:
		c.unseen = false
		return c.delta("refusal", e.Delta)
	case responses.EventRefusalDone:
		if c.unseen && e.Refusal != "" {
			c.unseen = false
			return c.delta("refusal", e.Refusal)
		}
	case responses.EventSummaryDelta, responses.EventReasoningDelta, responses.EventOpenReasoningDelta:
		return c.reasoning(e)
	case responses.EventSummaryPartAdded:
		if e.SummaryIndex > 0 && c.family[e.ItemID] == responses.EventSummaryDelta {
			return c.delta("reasoning_content", "\n\n")
		}
	case responses.EventAnnotationAdded:
		return c.annotation(e.Annotation)
	case responses.EventItemAdded:
		return c.itemAdded(e.Item, e.ItemID)
	case responses.EventArgumentsDelta, responses.EventInputDelta:
		if call := c.find(e.ItemID); call != nil {
			call.args = append(call.args, e.Delta...)
			return c.pump()
		}
	case responses.EventArgumentsDone:
		return c.callDone(e.ItemID, e.Arguments)
	case responses.EventInputDone:
		return c.callDone(e.ItemID, e.Input)
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
	b := appendQuoted([]byte(`{"id":`), chatID(r.ID))
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

// chatID is a Chat id for a response's.
func chatID(id string) string { return "chatcmpl-" + strings.TrimPrefix(id, "resp_") }

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

func (c *chatWriter) text(item, s string, probs []responses.Logprob) error {
	if item != c.item {
		c.item = item
		c.runes += c.itemRunes
		c.itemRunes = 0
		if c.texts {
			c.runes += 2
			if err := c.delta("content", "\n\n"); err != nil {
				return err
			}
		}
	}
	if s == "" {
		return nil
	}
	c.texts = true
	c.itemRunes += int64(utf8.RuneCountInString(s))
	if len(probs) == 0 {
		return c.delta("content", s)
	}
	b := appendQuoted(append(c.begin(), `"content":`...), s)
	lp, err := json.Marshal(&chat.Logprobs{Content: chatLogprobs(probs)}, json.FormatNilSliceAsNull(true))
	if err != nil {
		return err
	}
	b = append(append(b, `},"logprobs":`...), lp...)
	b = append(b, `,"finish_reason":null}`...)
	return c.w.End(append(b, c.tail...))
}

// reasoning sends reasoning text; of an item that tells it twice, as summary and
// as text, only what came first.
func (c *chatWriter) reasoning(e *responses.Event) error {
	family, ok := c.family[e.ItemID]
	if !ok {
		family = e.Type
		if len(c.family) > 0 && e.Delta != "" {
			if err := c.delta("reasoning_content", "\n\n"); err != nil {
				return err
			}
		}
		c.family[e.ItemID] = family
	}
	if family != e.Type {
		return nil
	}
	return c.delta("reasoning_content", e.Delta)
}

func (c *chatWriter) annotation(a *responses.Annotation) error {
	note, ok := chatAnnotation(a, c.runes)
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
// message.
func chatAnnotation(a *responses.Annotation, shift int64) (chat.Annotation, bool) {
	if a == nil || a.Type != "url_citation" {
		return chat.Annotation{}, false
	}
	return chat.Annotation{Type: a.Type, URLCitation: &chat.URLCitation{
		StartIndex: or(a.StartIndex, 0) + shift, EndIndex: or(a.EndIndex, 0) + shift, URL: a.URL, Title: or(a.Title, ""),
	}}, true
}

func (c *chatWriter) itemAdded(it *responses.Item, _ string) error {
	if it.Type != "function_call" && it.Type != "custom_tool_call" {
		return nil
	}
	c.calls = append(c.calls, &chatCall{
		itemID: it.ID, id: it.CallID, name: flatName(it.Namespace, it.Name), custom: it.Type == "custom_tool_call",
	})
	return c.pump()
}

func (c *chatWriter) find(itemID string) *chatCall {
	for _, call := range c.calls {
		if call.itemID == itemID {
			return call
		}
	}
	return nil
}

// callDone completes a call; an upstream may have sent no deltas.
func (c *chatWriter) callDone(itemID, args string) error {
	call := c.find(itemID)
	if call == nil || call.done {
		return nil
	}
	if rest, ok := strings.CutPrefix(args, string(call.args)); ok {
		call.args = append(call.args, rest...)
	}
	call.done = true
	return c.pump()
}

func (c *chatWriter) itemDone(it *responses.Item) error {
	switch it.Type {
	case "function_call":
		return c.callDone(it.ID, it.Arguments.JSON())
	case "custom_tool_call":
		return c.callDone(it.ID, or(it.Input, ""))
	case "reasoning":
		if it.EncryptedContent == "" {
			return nil
		}
		v, err := json.Marshal(chat.ReasoningDetail{encryptedBlock(it)})
		if err != nil {
			return err
		}
		return c.end(append(append(c.begin(), `"reasoning_details":`...), v...))
	}
	return nil
}

// encryptedBlock hands reasoning that only the upstream can read to the client,
// in the form of OpenRouter, so that it can send it back.
func encryptedBlock(it *responses.Item) chat.ReasoningBlock {
	return chat.ReasoningBlock{Type: "reasoning.encrypted", ID: it.ID, Data: it.EncryptedContent}
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
		if call.sent < len(call.args) {
			piece := call.args[call.sent:]
			call.sent = len(call.args)
			if err := c.arguments(call, string(piece)); err != nil {
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

func (c *chatWriter) arguments(call *chatCall, piece string) error {
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

func (c *chatWriter) finish(r *responses.Response) error {
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
		usage, err := json.Marshal(chatUsage(r.Usage))
		if err != nil {
			return err
		}
		b = append(append(c.w.Begin(""), c.head...), `],"usage":`...)
		if err := c.w.End(append(append(b, usage...), '}')); err != nil {
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
	for i, p := range in {
		bytes := p.Bytes
		if bytes == nil {
			bytes = make([]int, len(p.Token))
			for k := range len(p.Token) {
				bytes[k] = int(p.Token[k])
			}
		}
		out[i] = chat.Logprob{Token: p.Token, Logprob: p.Logprob, Bytes: &bytes, TopLogprobs: chatLogprobs(p.TopLogprobs)}
	}
	return out
}

// completion makes the Chat answer of a response that did not fail.
func completion(r *responses.Response, face chatFace) *chat.Completion {
	m := chat.CompletionMessage{Role: "assistant", Annotations: []chat.Annotation{}}
	var text, refusal, reasoning []string
	var probs []chat.Logprob
	var runes int64
	for i := range r.Output {
		it := &r.Output[i]
		switch it.Type {
		case "message":
			if len(text) > 0 {
				runes += 2
			}
			said := ""
			for k := range it.Content.Parts {
				p := &it.Content.Parts[k]
				if p.Type == "refusal" {
					refusal = append(refusal, p.Str())
					continue
				}
				said += p.Str()
				probs = append(probs, chatLogprobs(p.Logprobs)...)
				for n := range p.Annotations {
					if note, ok := chatAnnotation(&p.Annotations[n], runes); ok {
						m.Annotations = append(m.Annotations, note)
					}
				}
			}
			if said != "" {
				text = append(text, said)
				runes += int64(utf8.RuneCountInString(said))
			}
		case "reasoning":
			told := joinParts(it.Summary)
			if told == "" {
				told = joinParts(it.Content.Parts)
			}
			if told != "" {
				reasoning = append(reasoning, told)
			}
			if it.EncryptedContent != "" {
				m.ReasoningDetails = append(m.ReasoningDetails, encryptedBlock(it))
			}
		case "function_call":
			c := function(flatName(it.Namespace, it.Name), it.Arguments.JSON())
			c.ID = it.CallID
			m.ToolCalls = append(m.ToolCalls, c)
		case "custom_tool_call":
			m.ToolCalls = append(m.ToolCalls, chat.ToolCall{
				ID: it.CallID, Type: "custom", Custom: &chat.CustomCall{Name: flatName(it.Namespace, it.Name), Input: or(it.Input, "")},
			})
		}
	}
	m.ReasoningContent = strings.Join(reasoning, "\n\n")
	m.Content = nullable(strings.Join(text, "\n\n"))
	m.Refusal = nullable(strings.Join(refusal, "\n\n"))
	called := len(m.ToolCalls) > 0
	if face.legacy && called {
		m.FunctionCall, m.ToolCalls = m.ToolCalls[0].Function, nil
	}
	choice := chat.CompletionChoice{Message: m, FinishReason: finishReason(r, called, face.legacy)}
	if len(probs) > 0 {
		choice.Logprobs = &chat.Logprobs{Content: probs}
	}
	return &chat.Completion{
		ID: chatID(r.ID), Object: "chat.completion", Created: int64(r.CreatedAt), Model: r.Model,
		Choices: []chat.CompletionChoice{choice}, Usage: chatUsage(r.Usage), ServiceTier: r.ServiceTier,
	}
}

// writeOptions: names and text were checked when they were read.
var writeOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
