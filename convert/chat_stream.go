package convert

import (
	"slices"

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
	seal  bool
	probs bool // the client asked for log probabilities

	l     ladder
	resp  responses.Response
	chunk chat.Answer // the one that is read: it is used again
	plain pattern     // of chunks with nothing but text

	text      *rung     // the open message, if any
	part      *rungPart // its open part, if any
	think     *rung     // the open reasoning item, if any
	thinkPart *rungPart // its part, unless reasoning is not shown
	calls     callList

	thought   []byte // the reasoning of the open item
	hold      []byte // white space before a message that may never come
	holdProbs []responses.Logprob
	told      int64 // characters of the answer's text before the open part
	notes     []chat.Annotation

	others map[int]bool // the choices that nobody asked for, and whether they have ended

	finish  string // the first finish_reason
	torn    bool   // a chunk was, which fails the answer unless it is the end of what came
	usage   jsontext.Value
	cause   *Error // why the response failed
	started bool
	ended   bool
}

func newChatStream(client *responses.Request, o *Options, names *Names, emit Emit) *chatStream {
	s := &chatStream{
		o: o, names: names, seal: wantsSeal(client, o) || o.Carry && o.Sealer != nil, probs: slices.Contains(client.Include, includeLogprobs),
		l: ladder{o: o, emit: emit},
		resp: responses.Response{
			ID: o.newID("resp_"), Object: "response", CreatedAt: responses.Seconds(o.now().Unix()),
			Status: responses.InProgress, Model: client.Model, Output: []responses.Item{},
			ServiceTier: "default", Echo: echo(client, o.dialect(), o.Stored),
		},
	}
	if o.queued != nil {
		s.resp.ID, s.resp.CreatedAt = o.queued.ID, o.queued.CreatedAt
	}
	return s
}

const includeLogprobs = "message.output_text.logprobs"

// lenient is how answers are read: what an upstream gets wrong is its business.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// Event reads one server-sent event.
func (s *chatStream) Event(e sse.Event) error {
	if err := s.event(e); err != nil || s.ended || s.l.cause == nil {
		return err
	}
	return s.fail(s.l.cause)
}

func (s *chatStream) event(e sse.Event) error {
	if s.ended {
		return nil
	}
	if s.torn {
		if isTorn(e.Data) {
			return nil
		}
		return s.fail(notJSON)
	}
	if isDone(e.Data) {
		return s.end(true)
	}
	if text, ok := s.plain.text(e.Data); ok && len(e.Type) == 0 {
		if text == "" {
			return nil
		}
		return s.say(text, nil)
	}
	s.chunk = chat.Answer{Choices: s.chunk.Choices[:0]}
	err := json.Unmarshal(e.Data, &s.chunk, lenient)
	if err == nil && string(e.Type) != "error" && !truthy(s.chunk.Error) && s.chunk.Object != "error" {
		if plainText(&s.chunk) {
			s.plain.learn(e.Data, "content")
		} else if chunkShape.damaged(e.Data) {
			return s.fail(unreadableEvent)
		}
		return s.take(&s.chunk)
	}
	if failure := streamError(e, ""); failure != nil {
		return s.fail(failure)
	}
	if err == nil {
		return s.take(&s.chunk)
	}
	var has struct {
		Choices jsontext.Value `json:"choices"`
	}
	if json.Unmarshal(e.Data, &has, lenient) == nil && isSet(has.Choices) {
		return s.fail(&Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream sent a chunk that could not be read."})
	}
	switch {
	case isTorn(e.Data):
		s.torn = true
	case chunkShape.lost(e.Data):
		return s.fail(unreadableEvent)
	default:
		s.o.remark()
	}
	return nil
}

// Start emits the events that open a response. It is called when the upstream
// has answered 200, before its first token: clients wait for it.
func (s *chatStream) Start() error {
	if s.started {
		return nil
	}
	s.started = true
	opening := openingOf(&s.resp)
	for _, typ := range []string{responses.EventCreated, responses.EventInProgress} {
		if err := s.l.send(responses.Event{Type: typ, Response: opening}); err != nil {
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

// take reads a chunk or a whole answer.
func (s *chatStream) take(a *chat.Answer) error {
	if err := s.Start(); err != nil {
		return err
	}
	if tier := a.ServiceTier.Text; tier != "" && tier != "auto" {
		s.resp.ServiceTier = tier
	}
	// The last usage counts: some servers send a running one with each chunk.
	s.count(a.Usage.Raw)
	if isSet(a.XGroq) && a.Usage.Raw == nil {
		var groq struct {
			Usage jsontext.Value `json:"usage"`
		}
		if json.Unmarshal(a.XGroq, &groq, lenient) == nil {
			s.count(groq.Usage)
		}
	}
	for i := range a.Choices {
		c := &a.Choices[i]
		if c.Index != 0 && !s.strayCalls(c) {
			if !s.aside(c) {
				return s.fail(unreadableEvent)
			}
			continue
		}
		s.count(c.Usage.Raw)
		if err := s.choice(c); err != nil || s.ended {
			return err
		}
	}
	return nil
}

func (s *chatStream) count(usage jsontext.Value) {
	if isSet(usage) {
		s.usage = usage
	}
}

// strayCalls tells of a choice with the tool calls that belong to the text of the
// first: some proxies make two choices of one answer.
func (s *chatStream) strayCalls(c *chat.Choice) bool {
	return c.Message != nil && len(c.Message.ToolCalls) > 0 && len(s.calls.list) == 0 && c.Message.Content.JSON() == ""
}

// maxAside is how many choices an answer may have beside the first; OpenAI's servers give as many at most.
const maxAside = 128

// aside passes over a choice that nobody asked for: there is but one. It has an end of its own, as the first has;
// else it was a piece of the first, under a damaged index. It reports whether there may be so many.
func (s *chatStream) aside(c *chat.Choice) bool {
	if c.Message != nil { // a whole one
		return true
	}
	if s.others == nil {
		s.others = map[int]bool{}
	}
	if c.FinishReason != "" {
		s.others[c.Index] = true
	} else if c.Delta != nil && !s.others[c.Index] {
		s.others[c.Index] = false
	}
	return len(s.others) <= maxAside
}

func (s *chatStream) choice(c *chat.Choice) error {
	if d := c.Delta; d != nil {
		if err := s.delta(d, c.Logprobs.Raw); err != nil || s.ended {
			return err
		}
	}
	if d := c.Message; d != nil {
		for i := range d.ToolCalls {
			if d.ToolCalls[i].Index == nil {
				d.ToolCalls[i].Index = &i // in a whole message each is a call
			}
		}
		if err := s.delta(d, c.Logprobs.Raw); err != nil {
			return err
		}
	}
	if s.finish == "" {
		s.finish = c.FinishReason
	}
	return nil
}

func (s *chatStream) delta(d *chat.Delta, probs jsontext.Value) error {
	if think := thinking(d); think != "" {
		if err := s.reason(think); err != nil {
			return err
		}
	}
	text := d.Content.Text
	if d.Content.Raw != nil {
		var ok bool
		if text, ok = messageText(d.Content.Raw); !ok {
			return s.fail(unreadableEvent)
		}
	}
	if text != "" {
		if err := s.say(text, s.logprobs(probs)); err != nil {
			return err
		}
	}
	if d.Refusal != "" {
		if err := s.refuse(d.Refusal); err != nil {
			return err
		}
	}
	if isSet(d.Annotations) {
		if err := s.annotations(d.Annotations); err != nil {
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

// end closes what is open and emits the terminal event. done tells that the
// upstream has said itself that this is the end.
func (s *chatStream) end(done bool) error {
	if err := s.Start(); err != nil {
		return err
	}
	produced := len(s.l.rungs) > 0 || len(s.hold) > 0 || len(s.calls.list) > 0
	if s.finish == "" && !(done && produced) {
		return s.fail(truncated)
	}
	for _, ended := range s.others {
		if !ended {
			return s.fail(unreadableEvent)
		}
	}
	out := outcomeOf(s.finish)
	if out.status == responses.Failed {
		return s.fail(&Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream stopped with finish_reason '" + s.finish + "'."})
	}
	incomplete := out.status == responses.Incomplete
	if err := s.closeAll(incomplete); err != nil {
		return err
	}
	if s.l.cause != nil {
		return s.fail(s.l.cause)
	}
	s.ended = true
	s.resp.Status, s.resp.Output, s.resp.Usage = out.status, s.l.output, responsesUsage(s.usage)
	if incomplete {
		s.resp.IncompleteDetails = &responses.IncompleteDetails{Reason: out.reason}
		return s.l.send(responses.Event{Type: responses.EventIncomplete, Response: &s.resp})
	}
	at := responses.Seconds(s.o.now().Unix())
	s.resp.CompletedAt = &at
	return s.l.send(responses.Event{Type: responses.EventCompleted, Response: &s.resp})
}

// closeAll closes what is open. An answer has at least one item.
func (s *chatStream) closeAll(incomplete bool) error {
	if len(s.l.rungs) == 0 && len(s.calls.list) == 0 {
		if err := s.flushHold(); err != nil {
			return err
		}
	}
	if err := s.closeReasoning(nil); err != nil {
		return err
	}
	last := len(s.l.rungs) - 1
	if err := s.closeText(incomplete && s.text != nil && s.text.index == last); err != nil {
		return err
	}
	for _, c := range s.calls.list {
		if err := s.closeCall(c, incomplete); err != nil {
			return err
		}
	}
	return nil
}

// flushHold makes a message of the white space that came, or of nothing.
func (s *chatStream) flushHold() error {
	text, probs := string(s.hold), s.holdProbs
	s.hold, s.holdProbs = nil, nil
	if err := s.openPart("output_text"); err != nil {
		return err
	}
	return s.l.say(s.text, s.part, text, probs)
}

// truncated is the failure of a stream that stopped in the middle. Such an
// answer must not look whole.
var truncated = &Error{
	Status: 502, Type: "server_error", Code: "server_error",
	Message: "The upstream's stream ended before the answer was complete (no finish_reason).",
}

// fail emits the terminal event of a failure.
func (s *chatStream) fail(e *Error) error {
	if err := s.Start(); err != nil {
		return err
	}
	s.ended = true
	s.cause = e
	s.resp.Status, s.resp.Output, s.resp.Usage = responses.Failed, s.l.broken(), responsesUsage(s.usage)
	s.resp.Error = responseError(e)
	return s.l.send(responses.Event{Type: responses.EventFailed, Response: &s.resp})
}
