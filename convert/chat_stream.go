package convert

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// Emit takes the events of a response, in order. An event and what it points to
// are valid only during the call, except for Item, Part and Response.
type Emit func(*responses.Event) error

// chatStream reads a Chat stream, or a whole Chat answer as a stream of one
// piece, and emits it as Responses events: response.created first, and in the
// end exactly one of completed, incomplete and failed.
//
// It takes the habits of all known servers at once; the comments name the
// server that a rule is for.
type chatStream struct {
	o     *Options
	names *Names
	emit  Emit
	seal  bool

	resp  responses.Response
	ev    responses.Event // the one that is emitted: none is allocated for a delta
	chunk chat.Answer     // likewise

	text  *textItem      // the open message, if any
	think *reasoningItem // the open reasoning item, if any
	calls []*call        // all tool calls, open until the end
	hold  string         // white space before a message that may never come

	finish  string // the first finish_reason
	usage   *chat.Usage
	started bool
	ended   bool
	outputs int
}

// textItem is an open message.
type textItem struct {
	id       string
	index    int
	parts    []responses.Part
	refusal  bool // the open part is one
	open     bool
	buf      []byte
	logprobs []responses.Logprob
	notes    []responses.Annotation
}

// reasoningItem is an open reasoning item.
type reasoningItem struct {
	id    string
	index int
	buf   []byte
	shown bool
}

func newChatStream(client *responses.Request, o *Options, names *Names, emit Emit) *chatStream {
	return &chatStream{
		o: o, names: names, emit: emit, seal: wantsSeal(client, o),
		resp: responses.Response{
			ID: o.newID("resp_"), Object: "response", CreatedAt: responses.Seconds(o.now().Unix()),
			Status: responses.InProgress, Model: client.Model, Output: []responses.Item{},
			ServiceTier: "default", Echo: echo(client, false),
		},
	}
}

// Event reads one server-sent event.
func (s *chatStream) Event(e sse.Event) error {
	if s.ended {
		return nil
	}
	if string(e.Data) == "[DONE]" {
		return s.end(true)
	}
	s.chunk = chat.Answer{Choices: s.chunk.Choices[:0]}
	if err := json.Unmarshal(e.Data, &s.chunk, lenient); err != nil {
		if string(e.Type) == "error" {
			return s.fail(&Error{Type: "server_error", Code: "server_error", Message: "The upstream reported an error in its stream."})
		}
		return nil // not a chunk: some servers send remarks
	}
	return s.take(&s.chunk)
}

// lenient is how answers are read: what an upstream gets wrong is its business.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// Start emits the events that open a response. It is called when the upstream
// has answered 200, before its first token: clients wait for it.
func (s *chatStream) Start() error {
	if s.started {
		return nil
	}
	s.started = true
	for _, typ := range []string{responses.EventCreated, responses.EventInProgress} {
		if err := s.send(responses.Event{Type: typ, Response: s.snapshot()}); err != nil {
			return err
		}
	}
	return nil
}

// Finishing tells that the answer is complete but for what servers send behind
// it: the usage and [DONE].
func (s *chatStream) Finishing() bool { return s.finish != "" && !s.ended }

// Close ends the stream: cause is why the upstream stopped, nil at its regular
// end.
func (s *chatStream) Close(cause *Error) error {
	if s.ended {
		return nil
	}
	if cause != nil && s.finish == "" {
		return s.fail(cause)
	}
	return s.end(false)
}

func (s *chatStream) snapshot() *responses.Response {
	r := s.resp
	r.Output = slices.Clone(s.resp.Output)
	return &r
}

func (s *chatStream) send(e responses.Event) error {
	s.ev = e
	return s.emit(&s.ev)
}

// take reads a chunk or a whole answer.
func (s *chatStream) take(a *chat.Answer) error {
	if err := s.Start(); err != nil {
		return err
	}
	if e := answerError(a); e != nil {
		return s.fail(e)
	}
	if a.ServiceTier != "" && a.ServiceTier != "auto" {
		s.resp.ServiceTier = a.ServiceTier
	}
	// The last usage counts: some servers send a running one with each chunk.
	if a.Usage != nil {
		s.usage = a.Usage
	} else if a.XGroq != nil && a.XGroq.Usage != nil {
		s.usage = a.XGroq.Usage
	}
	for i := range a.Choices {
		c := &a.Choices[i]
		if c.Index != 0 && !s.strayCalls(c) {
			continue
		}
		if c.Usage != nil {
			s.usage = c.Usage
		}
		if err := s.choice(c); err != nil {
			return err
		}
	}
	return nil
}

// strayCalls tells of a choice with the tool calls that belong to the text of the
// first: some proxies make two choices of one answer.
func (s *chatStream) strayCalls(c *chat.Choice) bool {
	return c.Message != nil && len(c.Message.ToolCalls) > 0 && len(s.calls) == 0 && c.Message.Content.JSON() == ""
}

func (s *chatStream) choice(c *chat.Choice) error {
	if d := c.Delta; d != nil {
		if err := s.delta(d, c.Logprobs); err != nil {
			return err
		}
	}
	if d := c.Message; d != nil {
		for i := range d.ToolCalls {
			if d.ToolCalls[i].Index == nil {
				d.ToolCalls[i].Index = &i // in a whole message each is a call
			}
		}
		if err := s.delta(d, c.Logprobs); err != nil {
			return err
		}
	}
	if s.finish == "" {
		s.finish = c.FinishReason
	}
	return nil
}

func (s *chatStream) delta(d *chat.Delta, lp *chat.Logprobs) error {
	if think := thinking(d); think != "" {
		if err := s.reason(think); err != nil {
			return err
		}
	}
	text := d.Content.Text
	if d.Content.Raw != nil {
		text = contentText(d.Content.Raw)
	}
	if text != "" {
		var probs []chat.Logprob
		if lp != nil {
			probs = lp.Content
		}
		if err := s.say(text, probs); err != nil {
			return err
		}
	}
	if d.Refusal != "" {
		if err := s.refuse(d.Refusal); err != nil {
			return err
		}
	}
	for i := range d.Annotations {
		if err := s.annotate(&d.Annotations[i]); err != nil {
			return err
		}
	}
	if isSet(d.Audio) {
		var audio struct {
			Transcript string `json:"transcript"`
		}
		if json.Unmarshal(d.Audio, &audio, lenient) == nil && audio.Transcript != "" {
			if err := s.say(audio.Transcript, nil); err != nil {
				return err
			}
		}
	}
	for i := range d.ToolCalls {
		if err := s.toolCall(&d.ToolCalls[i]); err != nil {
			return err
		}
	}
	if f := d.FunctionCall; f != nil {
		zero := 0
		return s.toolCall(&chat.CallDelta{Index: &zero, Function: f})
	}
	return nil
}

// thinking is the reasoning in a delta, under one of its names: vLLM and
// OpenRouter send the same text under two.
func thinking(d *chat.Delta) string {
	for _, v := range []string{d.ReasoningContent.Text, d.Reasoning.Text} {
		if v != "" {
			return v
		}
	}
	if isSet(d.ReasoningDetails) {
		var blocks chat.ReasoningDetail
		if json.Unmarshal(d.ReasoningDetails, &blocks, lenient) == nil {
			var b strings.Builder
			for _, block := range blocks {
				b.WriteString(block.Text + block.Summary)
			}
			if b.Len() > 0 {
				return b.String()
			}
		}
	}
	if d.Content.Raw == nil {
		return ""
	}
	var b strings.Builder
	for _, p := range contentParts(d.Content.Raw) {
		if p.Type == "thinking" {
			b.WriteString(thinkingText(p.Thinking))
		}
	}
	return b.String()
}

func contentParts(raw jsontext.Value) []chat.Part {
	var parts []chat.Part
	if json.Unmarshal(raw, &parts, lenient) != nil {
		return nil
	}
	return parts
}

func contentText(raw jsontext.Value) string {
	var b strings.Builder
	for _, p := range contentParts(raw) {
		if p.Type == "text" {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// reason takes reasoning text.
func (s *chatStream) reason(text string) error {
	s.hold = ""
	if s.think == nil {
		if err := s.closeText(false); err != nil {
			return err
		}
		if s.o.Reasoning == ReasoningOff && !s.seal {
			return nil
		}
		if err := s.openReasoning(); err != nil {
			return err
		}
	}
	r := s.think
	r.buf = append(r.buf, text...)
	if !r.shown {
		return nil
	}
	e := responses.Event{Type: responses.EventSummaryDelta, ItemID: r.id, OutputIndex: r.index, Delta: text}
	if s.o.Reasoning == ReasoningText {
		e.Type = responses.EventReasoningDelta
	}
	return s.send(e)
}

func (s *chatStream) openReasoning() error {
	r := &reasoningItem{id: s.o.newID("rs_"), index: s.outputs, shown: s.o.Reasoning != ReasoningOff}
	s.think = r
	item := responses.Item{Type: "reasoning", ID: r.id, Summary: []responses.Part{}}
	if s.o.Reasoning == ReasoningText {
		item.Content = responses.Parts()
	}
	if err := s.addItem(&item); err != nil || !r.shown {
		return err
	}
	if s.o.Reasoning == ReasoningText {
		part := responses.ReasoningText("")
		return s.send(responses.Event{Type: responses.EventPartAdded, ItemID: r.id, OutputIndex: r.index, Part: &part})
	}
	part := responses.SummaryText("")
	return s.send(responses.Event{Type: responses.EventSummaryPartAdded, ItemID: r.id, OutputIndex: r.index, Part: &part})
}

// closeReasoning closes the open reasoning item. extra is what the call behind
// it must come back with.
func (s *chatStream) closeReasoning(extra map[string]jsontext.Value) error {
	r := s.think
	if r == nil {
		return nil
	}
	s.think = nil
	text := string(r.buf)
	item := responses.Item{Type: "reasoning", ID: r.id, Summary: []responses.Part{}}
	if r.shown {
		done := responses.Event{Type: responses.EventSummaryDone, ItemID: r.id, OutputIndex: r.index, Text: text}
		part := responses.SummaryText(text)
		partDone := responses.Event{Type: responses.EventSummaryPartDone, ItemID: r.id, OutputIndex: r.index, Part: &part}
		if s.o.Reasoning == ReasoningText {
			done.Type, partDone.Type = responses.EventReasoningDone, responses.EventPartDone
			part = responses.ReasoningText(text)
			item.Content = responses.Parts(part)
		} else {
			item.Summary = append(item.Summary, part)
		}
		if err := s.send(done); err != nil {
			return err
		}
		if err := s.send(partDone); err != nil {
			return err
		}
	}
	if s.seal {
		item.EncryptedContent = s.o.Sealer.seal(sealed{Text: text, Calls: extra})
	}
	return s.itemDone(r.index, &item)
}

// say takes text of the answer. White space is held back while no message is
// open: models print some between their reasoning and a tool call.
func (s *chatStream) say(text string, probs []chat.Logprob) error {
	if s.text == nil {
		if strings.TrimSpace(text) == "" {
			s.hold += text
			return nil
		}
		text, s.hold = s.hold+text, ""
		if err := s.openText(); err != nil {
			return err
		}
	}
	t := s.text
	if t.open && t.refusal {
		if err := s.closePart(); err != nil {
			return err
		}
	}
	if !t.open {
		if err := s.openPart(false); err != nil {
			return err
		}
	}
	t.buf = append(t.buf, text...)
	s.ev = responses.Event{
		Type: responses.EventTextDelta, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Delta: text,
	}
	if len(probs) > 0 {
		t.logprobs = append(t.logprobs, responsesLogprobs(probs, true)...)
		s.ev.Logprobs = responsesLogprobs(probs, false)
	}
	return s.emit(&s.ev)
}

func (s *chatStream) refuse(text string) error {
	s.hold = ""
	if s.text == nil {
		if err := s.openText(); err != nil {
			return err
		}
	}
	t := s.text
	if t.open && !t.refusal {
		if err := s.closePart(); err != nil {
			return err
		}
	}
	if !t.open {
		if err := s.openPart(true); err != nil {
			return err
		}
	}
	t.buf = append(t.buf, text...)
	return s.send(responses.Event{Type: responses.EventRefusalDelta, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Delta: text})
}

func (s *chatStream) annotate(a *chat.Annotation) error {
	if a.Type != "url_citation" || a.URLCitation == nil {
		return nil
	}
	if s.text == nil {
		if err := s.openText(); err != nil {
			return err
		}
	}
	if !s.text.open {
		if err := s.openPart(false); err != nil {
			return err
		}
	}
	t, c := s.text, *a.URLCitation
	note := responses.Annotation{Type: "url_citation", StartIndex: &c.StartIndex, EndIndex: &c.EndIndex, URL: c.URL, Title: &c.Title}
	t.notes = append(t.notes, note)
	return s.send(responses.Event{
		Type: responses.EventAnnotationAdded, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts),
		AnnotationIndex: len(t.notes) - 1, Annotation: &note,
	})
}

func (s *chatStream) openText() error {
	if err := s.closeReasoning(nil); err != nil {
		return err
	}
	s.text = &textItem{id: s.o.newID("msg_"), index: s.outputs}
	return s.addItem(&responses.Item{
		Type: "message", ID: s.text.id, Status: responses.InProgress, Role: "assistant", Content: responses.Parts(),
	})
}

func (s *chatStream) openPart(refusal bool) error {
	t := s.text
	t.open, t.refusal = true, refusal
	t.buf, t.logprobs, t.notes = t.buf[:0], nil, nil
	part := responses.OutputText("")
	if refusal {
		part = responses.Refusal("")
	}
	return s.send(responses.Event{Type: responses.EventPartAdded, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Part: &part})
}

// part is the open part as far as it has come.
func (t *textItem) part() responses.Part {
	text := string(t.buf)
	if t.refusal {
		return responses.Refusal(text)
	}
	part := responses.OutputText(text)
	part.Annotations = append(part.Annotations, t.notes...)
	part.Logprobs = append(part.Logprobs, t.logprobs...)
	return part
}

func (s *chatStream) closePart() error {
	t := s.text
	part := t.part()
	done := responses.Event{Type: responses.EventTextDone, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Text: part.Str(), Logprobs: part.Logprobs}
	if t.refusal {
		done = responses.Event{Type: responses.EventRefusalDone, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Refusal: part.Str()}
	}
	if err := s.send(done); err != nil {
		return err
	}
	err := s.send(responses.Event{Type: responses.EventPartDone, ItemID: t.id, OutputIndex: t.index, ContentIndex: len(t.parts), Part: &part})
	t.parts = append(t.parts, part)
	t.open = false
	return err
}

// closeText closes the open message.
func (s *chatStream) closeText(incomplete bool) error {
	t := s.text
	if t == nil {
		return nil
	}
	if t.open {
		if err := s.closePart(); err != nil {
			return err
		}
	}
	s.text = nil
	return s.itemDone(t.index, &responses.Item{
		Type: "message", ID: t.id, Status: status(incomplete), Role: "assistant", Content: responses.Parts(t.parts...),
	})
}

func status(incomplete bool) string {
	if incomplete {
		return responses.Incomplete
	}
	return responses.Completed
}

// addItem announces an item and keeps its place in the output.
func (s *chatStream) addItem(item *responses.Item) error {
	index := s.outputs
	s.outputs++
	s.resp.Output = append(s.resp.Output, *item)
	return s.send(responses.Event{Type: responses.EventItemAdded, OutputIndex: index, Item: item})
}

func (s *chatStream) itemDone(index int, item *responses.Item) error {
	s.resp.Output[index] = *item
	return s.send(responses.Event{Type: responses.EventItemDone, OutputIndex: index, Item: item})
}

// end closes what is open and emits the terminal event.
func (s *chatStream) end(done bool) error {
	if err := s.Start(); err != nil {
		return err
	}
	produced := s.outputs > 0 || s.think != nil || s.text != nil || s.hold != "" || len(s.calls) > 0
	if s.finish == "" && !(done && produced) {
		return s.fail(truncated)
	}
	out := outcomeOf(s.finish)
	if out.status == responses.Failed {
		return s.fail(&Error{Type: "server_error", Code: "server_error", Message: "The upstream stopped with finish_reason '" + s.finish + "'."})
	}
	incomplete := out.status == responses.Incomplete
	if s.text == nil && s.hold != "" && len(s.calls) == 0 && s.outputs == 0 {
		if err := s.flushHold(); err != nil {
			return err
		}
	}
	if err := s.closeReasoning(nil); err != nil {
		return err
	}
	if err := s.closeText(incomplete && len(s.calls) == 0); err != nil {
		return err
	}
	for _, c := range s.calls {
		if err := s.closeCall(c, incomplete); err != nil {
			return err
		}
	}
	if s.outputs == 0 { // an answer has at least one item
		if err := s.openText(); err != nil {
			return err
		}
		if err := s.openPart(false); err != nil {
			return err
		}
		if err := s.closeText(incomplete); err != nil {
			return err
		}
	}
	s.ended = true
	s.resp.Status = out.status
	s.resp.Usage = responsesUsage(s.usage)
	if incomplete {
		s.resp.IncompleteDetails = &responses.IncompleteDetails{Reason: out.reason}
		return s.send(responses.Event{Type: responses.EventIncomplete, Response: s.snapshot()})
	}
	at := responses.Seconds(s.o.now().Unix())
	s.resp.CompletedAt = &at
	return s.send(responses.Event{Type: responses.EventCompleted, Response: s.snapshot()})
}

// flushHold makes a message of white space, where there is nothing else.
func (s *chatStream) flushHold() error {
	text := s.hold
	s.hold = ""
	if err := s.openText(); err != nil {
		return err
	}
	if err := s.openPart(false); err != nil {
		return err
	}
	s.text.buf = append(s.text.buf, text...)
	return s.send(responses.Event{Type: responses.EventTextDelta, ItemID: s.text.id, OutputIndex: s.text.index, Delta: text})
}

// truncated is the failure of a stream that stopped in the middle. Such an
// answer must not look whole.
var truncated = &Error{
	Status: 502, Type: "server_error", Code: "server_error",
	Message: "The upstream's stream ended before the answer was complete (no finish_reason).",
}

// fail emits the terminal event of a failure. Items that are open are not done:
// a client would run a half written call. They stand in the response with the
// status incomplete.
func (s *chatStream) fail(e *Error) error {
	if err := s.Start(); err != nil {
		return err
	}
	s.ended = true
	if t := s.text; t != nil {
		parts := t.parts
		if t.open {
			parts = append(parts, t.part())
		}
		s.resp.Output[t.index].Content = responses.Parts(parts...)
		s.resp.Output[t.index].Status = responses.Incomplete
	}
	for _, c := range s.calls {
		if c.open {
			s.resp.Output[c.index].Status = responses.Incomplete
		}
	}
	s.resp.Status = responses.Failed
	s.resp.Usage = responsesUsage(s.usage)
	s.resp.Error = responseError(e)
	return s.send(responses.Event{Type: responses.EventFailed, Response: s.snapshot()})
}

// responsesLogprobs translates log probabilities. The parts of a finished answer
// need bytes, its deltas have none.
func responsesLogprobs(in []chat.Logprob, withBytes bool) []responses.Logprob {
	out := make([]responses.Logprob, len(in))
	for i, p := range in {
		out[i] = responses.Logprob{Token: p.Token, Logprob: p.Logprob, TopLogprobs: responsesLogprobs(p.TopLogprobs, withBytes)}
		if !withBytes {
			continue
		}
		if p.Bytes != nil {
			out[i].Bytes = *p.Bytes
		}
		if out[i].Bytes == nil {
			out[i].Bytes = make([]int, len(p.Token))
			for k := range len(p.Token) {
				out[i].Bytes[k] = int(p.Token[k])
			}
		}
	}
	return out
}
