package convert

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// Request is a client's request in canonical form.
type Request struct {
	// In is the API of the request, Out that of its answer. They differ where a
	// path answers another API than it is asked in.
	In, Out API
	// Canonical is the request. To change what the upstream is asked, change it
	// before [Request.To].
	Canonical *responses.Request
	// Past are the items that come before the request's own, where it continues
	// responses or a conversation that the caller has found. The upstream is asked
	// with them and not with the ids. Empty, and not nil: what it refers to stands among
	// its own items. Nil: the request stands for itself.
	Past []responses.Item
	// More is added to the request by [Request.To].
	More More

	chatID  string        // what a Chat client is told, see [Options.HideID]
	foreign bool          // a Chat client asks for what Responses has no word for
	chat    *chat.Request // of a Chat client
	size    int           // bytes of its body
}

// Read reads a client's request. Its errors are of type *[Error].
func Read(in API, body []byte) (*Request, error) {
	r := &Request{In: in, Out: in, size: len(body)}
	var err error
	if in == Responses {
		r.Canonical, err = ReadResponses(body)
		return r, err
	}
	if r.chat, err = ReadChat(body); err != nil {
		return nil, err
	}
	// Only what an answer repeats: the messages are translated for an upstream
	// that needs it.
	var ignored Report
	if r.Canonical, err = chatFields(r.chat, &Options{Dialect: &Dialect{}}, &ignored); err != nil {
		// A Chat upstream may know what Responses has no word for; any other is told
		// by Request.To.
		r.Canonical = &responses.Request{Model: r.chat.Model, Stream: r.chat.Stream}
		r.foreign = true
	}
	return r, nil
}

// Sniff tells which API a request body is of, by what only one of them has:
// input or messages.
func Sniff(body []byte) (API, error) {
	var has struct {
		Messages jsontext.Value `json:"messages"`
		Input    jsontext.Value `json:"input"`
		Previous jsontext.Value `json:"previous_response_id"`
		Prompt   jsontext.Value `json:"prompt"`
		Conv     jsontext.Value `json:"conversation"`
	}
	if err := unmarshal(body, &has); err != nil {
		return "", err
	}
	responses := isSet(has.Input) || isSet(has.Previous) || isSet(has.Prompt) || isSet(has.Conv)
	switch {
	case isSet(has.Messages) && responses:
		return "", invalid("invalid_value", "messages", "The body is both a Chat Completions request ('messages') and a Responses request ('input'). Send one of them.")
	case isSet(has.Messages):
		return Chat, nil
	case responses:
		return Responses, nil
	}
	return "", invalid("missing_required_parameter", "messages", "Missing required parameter: 'messages' for a Chat Completions request, or 'input' for a Responses request.")
}

// Stored is what the client's request says of store, nil if nothing.
func (r *Request) Stored() *bool {
	if r.In == Chat {
		return r.chat.Store
	}
	return r.Canonical.Store
}

// Items are the request's own input as items, of a Chat client too: those that are
// not among Past.
func (r *Request) Items() ([]responses.Item, error) {
	if r.In == Responses {
		return r.Canonical.Input, nil
	}
	var ignored Report
	return r.chatItems(&Options{Dialect: &Dialect{}}, &ignored)
}

// chatItems are a Chat client's messages as items, without the system messages that
// Past has: such clients send theirs each time.
func (r *Request) chatItems(o *Options, report *Report) ([]responses.Item, error) {
	items, err := chatItems(r.chat, o, report)
	if err != nil || len(r.Past) == 0 {
		return items, err
	}
	said := map[string]bool{}
	for i := range r.Past {
		if text, ok := systemText(&r.Past[i]); ok {
			said[text] = true
		}
	}
	return slices.DeleteFunc(items, func(it responses.Item) bool {
		text, ok := systemText(&it)
		return ok && said[text]
	}), nil
}

// systemText is what a system or developer message says.
func systemText(it *responses.Item) (string, bool) {
	if it.Kind() != "message" || it.Role != "system" && it.Role != "developer" {
		return "", false
	}
	return it.Content.Text + joinParts(it.Content.Parts), true
}

// Messages are a Chat client's messages, as JSON.
func (r *Request) Messages() ([]jsontext.Value, error) {
	list := make([]jsontext.Value, len(r.chat.Messages))
	for i := range list {
		var err error
		if list[i], err = json.Marshal(&r.chat.Messages[i], writeOptions); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Translatable tells whether the request, and its answer, can be said in the other
// API. [Request.To] says why not.
func (r *Request) Translatable() bool { return !r.foreign }

// Model is the client's name for the model.
func (r *Request) Model() string { return r.Canonical.Model }

// Stream tells whether the client wants a stream.
func (r *Request) Stream() bool { return or(r.Canonical.Stream, false) }

// Turn is one call of an upstream: what it is asked, and how its answer is read.
type Turn struct {
	// Body is the request for the upstream.
	Body []byte
	// Report is what could not be carried over.
	Report Report

	remarks int // see Remarks

	to    API
	req   *Request
	o     Options
	names *Names
	stops []string
}

// To translates the request for an upstream of the API to. Its errors are of
// type *[Error].
func (r *Request) To(to API, o Options) (*Turn, error) {
	o.past = len(r.Past)
	t := &Turn{to: to, req: r, o: o, names: &Names{}}
	if o.HideID && to == Responses && r.chatID == "" { // one for all turns
		r.chatID = o.newID("chatcmpl-")
	}
	var body interface{ Append([]byte) ([]byte, error) }
	var err error
	switch {
	case r.In == Chat && to == Chat:
		body, err = t.chatToChat()
	case r.In == Chat:
		body, err = t.chatToResponses()
	case to == Chat:
		body, err = toChat(t.asked(), &t.o, &t.Report, t.names)
	default:
		req := *t.asked()
		if o.Stored {
			req.Store = new(bool)
		}
		if req.Input, err = t.o.unsealed(req.Input); err != nil {
			return nil, err
		}
		if o.Stored || r.Past != nil {
			req.Input = unstored(req.Input, t.o.dialect())
		}
		r.More.forResponses(&req, t.o.dialect())
		if o.Model != "" {
			req.Model = o.Model
		}
		body = &req
	}
	if err != nil {
		return nil, err
	}
	t.Body, err = body.Append(make([]byte, 0, r.size+r.size/16+1<<10))
	return t, err
}

// Remarks is how many events of the upstream's streams were neither JSON nor looked like
// it, so far: text that some servers and proxies send between the events of the API. They
// are passed over. It is for the goroutine that feeds the reader, or for when that has
// ended.
func (t *Turn) Remarks() int { return t.remarks }

// chatToResponses is a Chat client's request for a Responses upstream.
func (t *Turn) chatToResponses() (*responses.Request, error) {
	req, err := toResponses(t.req.chat, &t.o, &t.Report)
	if err != nil {
		return nil, err
	}
	if t.stops = stops(t.req.chat); len(t.stops) > maxStops {
		return nil, invalid("array_above_max_length", "stop", "Invalid 'stop': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", maxStops, len(t.stops))
	}
	for _, stop := range t.stops {
		if len(stop) > maxStop {
			return nil, invalid("string_above_max_length", "stop", "Invalid 'stop': string too long. The upstream has no stop sequences, and the gateway looks for those of up to %d bytes.", maxStop)
		}
	}
	if t.req.Past != nil {
		var again Report
		own, err := t.req.chatItems(&t.o, &again)
		if err != nil {
			return nil, err
		}
		past, err := t.o.unsealed(t.req.Past)
		if err != nil {
			return nil, err
		}
		req.Input = slices.Concat(unstored(past, t.o.dialect()), own)
	}
	if t.o.Stored {
		req.Store = new(bool)
	}
	if c := t.req.Canonical.Conversation; c != nil && t.req.Past == nil {
		req.Conversation = c
	}
	if t.req.More.used() {
		t.req.More.add(req)
		t.req.More.forResponses(req, t.o.dialect())
	}
	if t.o.dialect().FunctionsOnly {
		err = onlyFunctions(req, t.names)
	}
	return req, err
}

// chatToChat is the client's own request, with what its answer in another API
// needs.
func (t *Turn) chatToChat() (*chat.Request, error) {
	req := *t.req.chat
	if t.o.Stored {
		req.Store = nil
	}
	if t.req.Past != nil {
		items, err := t.req.chatItems(&t.o, &t.Report)
		if err != nil {
			return nil, err
		}
		asked, err := toChat(&responses.Request{Model: req.Model, Input: slices.Concat(t.req.Past, items)}, &t.o, &t.Report, &Names{})
		if err != nil {
			return nil, err
		}
		req.Messages = asked.Messages
	}
	if t.o.Model != "" {
		req.Model = t.o.Model
	}
	if or(req.Stream, false) && !t.o.dialect().NoUsage && (t.req.Out == Responses || t.req.More.used()) {
		options := chat.StreamOptions{}
		if req.StreamOptions != nil {
			options = *req.StreamOptions
		}
		yes := true
		options.IncludeUsage = &yes
		req.StreamOptions = &options
	}
	for _, tool := range req.Tools {
		if tool.Custom != nil {
			t.names.add(tool.Custom.Name, toolRef{kind: kindNative, name: tool.Custom.Name})
		} else if tool.Function != nil {
			t.names.add(tool.Function.Name, toolRef{name: tool.Function.Name})
		}
	}
	return &req, t.addToChat(&req)
}

// whole is a Responses client's request with what came before it.
func (t *Turn) whole() *responses.Request {
	if t.req.Past == nil && !t.o.Stored {
		return t.req.Canonical
	}
	req := *t.req.Canonical
	if t.req.Past != nil {
		req.Input = slices.Concat(t.req.Past, req.Input)
		req.PreviousResponseID, req.Conversation = "", nil
	}
	if t.o.Stored {
		req.Background = nil
	}
	return &req
}

// Queue returns the response as it is before the upstream is asked. An answer that
// is read with the same options has its id and its time.
func (r *Request) Queue(o *Options) *responses.Response {
	queued := newChatStream(r.Canonical, o, &Names{}, nil).resp
	queued.Status = responses.Queued
	o.queued = &queued
	return &queued
}

// StreamReader reads an upstream's stream and emits canonical events.
type StreamReader interface {
	// Start is called when the upstream has begun to answer.
	Start() error
	// Event reads one server-sent event.
	Event(sse.Event) error
	// Finishing tells that the answer is complete, and only its usage may follow.
	Finishing() bool
	// Close is called when the upstream's stream has ended, with the reason if it
	// broke off. If no terminal event has been emitted, one is now.
	Close(cause *Error) error
}

// Reader returns a reader of the upstream's stream. Stop sequences that the
// upstream does not have are applied to it: when one has come, the terminal
// event is emitted, and cancel is called, if it is not nil, as the rest is not
// wanted.
func (t *Turn) Reader(emit Emit, cancel func()) StreamReader {
	t.o.remarks = &t.remarks
	if t.to == Chat {
		return newChatStream(t.req.Canonical, &t.o, t.names, emit)
	}
	s := newResponsesStream(t.req.Canonical, &t.o, t.stops, emit)
	s.names, s.more, s.fill, s.cancel = t.names, t.req.More.used(), t.req.Out == Responses, cancel
	return s
}

// Answer reads the upstream's whole answer. A response that failed, or that is
// not finished, is an *[Error].
func (t *Turn) Answer(body []byte) (*responses.Response, error) {
	if t.to == Chat {
		return t.chatAnswer(body)
	}
	return t.responsesAnswer(body)
}

// unreadable is the error of an answer that is not one.
func unreadable(body []byte) *Error {
	what := "The upstream's answer could not be read: it is not the JSON of its API."
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '<' {
		what = "The upstream answered with HTML or XML, not with JSON. Is its address, with the path, right?"
	}
	return &Error{Status: 502, Type: "server_error", Code: "bad_upstream_answer", Message: what}
}

func (t *Turn) chatAnswer(body []byte) (*responses.Response, error) {
	var a chat.Answer
	err := json.Unmarshal(body, &a, lenient)
	if err != nil || truthy(a.Error) || a.Object == "error" || len(a.Choices) == 0 {
		if e := answerError(body); e != nil {
			return nil, e
		}
	}
	if err != nil || len(a.Choices) == 0 {
		return nil, unreadable(body)
	}
	var resp *responses.Response
	s := newChatStream(t.req.Canonical, &t.o, t.names, lastOf(&resp))
	if err := s.take(&a); err != nil {
		return nil, err
	}
	if s.finish == "" { // a whole answer is whole without saying so
		s.finish = "stop"
	}
	if err := s.end(true); err != nil {
		return nil, err
	}
	if s.cause != nil {
		return nil, s.cause
	}
	return resp, nil
}

// lastOf keeps the response that ends a stream, and nothing else of it.
func lastOf(resp **responses.Response) Emit {
	return func(e *responses.Event) error {
		if responses.Terminal(e.Type) {
			*resp = e.Response
		}
		return nil
	}
}

// responsesAnswer mends a whole answer as the events of a stream are mended.
func (t *Turn) responsesAnswer(body []byte) (*responses.Response, error) {
	resp := new(responses.Response)
	if err := json.Unmarshal(body, resp, lenient); err != nil {
		if !jsontext.Value(body).IsValid(lenient) {
			return nil, unreadable(body)
		}
		if resp = salvage(body); resp.Output == nil && holds(body, "output") {
			return nil, unreadable(body)
		}
	}
	if resp.ID == "" && resp.Output == nil {
		if e := answerError(body); e != nil {
			return nil, e
		}
		return nil, unreadable(body)
	}
	switch resp.Status {
	case responses.Failed, responses.Cancelled:
		return nil, FailedError(resp)
	case responses.InProgress, responses.Queued:
		return nil, &Error{
			Status: 502, Type: "server_error", Code: "bad_upstream_answer",
			Message: "The upstream answered with a response that is not finished (status '" + resp.Status + "'). Send 'background' as false.",
		}
	}
	s := newResponsesStream(t.req.Canonical, &t.o, t.stops, nil)
	s.names, s.more, s.fill, s.l.emit = t.names, t.req.More.used(), t.req.Out == Responses, lastOf(&resp)
	s.see(resp)
	if err := s.begin(); err != nil {
		return nil, err
	}
	typ := responses.EventCompleted
	if resp.Status == responses.Incomplete {
		typ = responses.EventIncomplete
	}
	if err := s.terminal(typ, s.resp); err != nil {
		return nil, err
	}
	if s.l.cause != nil {
		return nil, s.l.cause
	}
	return resp, nil
}

// Writer returns the writer of the client's stream: it is given the canonical
// events and writes the client's to w, which it leaves to the caller to send.
func (r *Request) Writer(w *sse.Writer) Emit {
	if r.Out == Chat {
		return newChatWriter(w, r.face()).Event
	}
	return (&responsesWriter{w: w}).Event
}

// StreamFailure are the events that end a stream of an API whose beginning has passed
// unread: the response has an id of its own, as that of the stream is not known. seq
// is how many events there were.
func StreamFailure(api API, model string, seq int64, e *Error) []byte {
	var b bytes.Buffer
	w := sse.NewWriter(&b, nil)
	if api == Chat {
		w.Event("", e.Body())
	} else {
		o := Options{}
		(&responsesWriter{w: w, seq: seq}).Event(&responses.Event{Type: responses.EventFailed, Response: &responses.Response{
			ID: o.newID("resp_"), Object: "response", CreatedAt: responses.Seconds(o.now().Unix()), Status: responses.Failed, Model: model,
			Output: []responses.Item{}, ServiceTier: "default", Error: responseError(e), Echo: echo(&responses.Request{}, &generic, false),
		}})
	}
	w.Send()
	return b.Bytes()
}

// Write makes the body of the client's answer. An answer that a Chat client cannot
// be given is an *[Error].
func (r *Request) Write(resp *responses.Response) ([]byte, error) {
	if r.Out == Chat {
		if e := unanswerable(resp.Output); e != nil {
			return nil, e
		}
		return completion(resp, r.face()).Append(make([]byte, 0, 1<<10))
	}
	return resp.Append(make([]byte, 0, 1<<10+len(resp.Echo)))
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }
