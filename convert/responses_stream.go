package convert

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// responsesStream reads a Responses stream and emits its events on a [ladder],
// which mends what servers are known to leave out or to mix up. response.created
// comes first, the terminal event holds the output that the client was told of,
// and there is exactly one.
type responsesStream struct {
	l      ladder
	o      *Options
	client *responses.Request
	names  *Names // of the tools, as the upstream was given them
	more   bool   // the upstream was asked for more than the client asked for
	fill   bool   // the client sees the response object: it has all members
	cancel func() // the upstream, when the rest is not wanted

	ev      responses.Event
	plain   numbered            // of text events, while one follows another
	resp    *responses.Response // as last seen
	echo    jsontext.Value      // what the request says, where the upstream does not repeat it
	byID    map[string]*seenItem
	byPlace map[int]*seenItem // the last item that the upstream put there
	last    *seenItem
	failure *Error // an error event: response.failed may follow, or not
	started bool
	told    bool // response.in_progress has been emitted
	torn    bool // an event was, which fails the answer
	ended   bool
}

func newResponsesStream(client *responses.Request, o *Options, stops []string, emit Emit) *responsesStream {
	return &responsesStream{
		l: ladder{o: o, emit: emit, stops: stops}, o: o, client: client, fill: true,
		byID: map[string]*seenItem{}, byPlace: map[int]*seenItem{},
		resp: &responses.Response{Status: responses.InProgress},
	}
}

// Start does nothing: a Responses upstream announces its response itself.
func (s *responsesStream) Start() error { return nil }

// Finishing tells that an error event came: response.failed may follow, but not
// from all servers.
func (s *responsesStream) Finishing() bool { return s.failure != nil && !s.ended }

// Event reads one server-sent event.
func (s *responsesStream) Event(e sse.Event) error {
	if err := s.event(e); err != nil || s.ended || s.l.cause == nil {
		return err
	}
	return s.Close(s.l.cause)
}

func (s *responsesStream) event(e sse.Event) error {
	if s.ended {
		return nil
	}
	if s.torn {
		if isTorn(e.Data) {
			return nil
		}
		return s.Close(notJSON)
	}
	if isDone(e.Data) {
		return s.Close(nil)
	}
	if text, ok := s.plain.text(e.Data); ok {
		if err := s.l.say(s.plain.rung, s.plain.part, text, nil); err != nil || !s.l.stopped {
			return err
		}
		return s.stop()
	}
	s.plain.rung = nil
	if scanDelta(e.Data, &s.ev) {
		err := s.take(e.Data)
		if err == nil && s.ev.Type == responses.EventTextDelta && !s.ended {
			s.learn(e.Data)
		}
		return err
	}
	s.ev = responses.Event{}
	err := json.Unmarshal(e.Data, &s.ev, lenient)
	if s.ev.Type == "" {
		s.ev.Type = string(e.Type)
	}
	if s.ev.Type == responses.EventError || s.ev.Type == "" || err != nil {
		if failure := streamError(e, s.ev.Type); failure != nil {
			s.failure = failure
			return nil
		}
	}
	if err != nil {
		return s.unreadable(e)
	}
	if eventShape.damaged(e.Data) || damagedType(s.ev.Type) || s.ev.Item != nil && damagedItem(s.ev.Item.Type) {
		return s.Close(unreadableEvent)
	}
	return s.take(e.Data)
}

// learn makes a pattern of a text event, so that those like it, up to the first that
// is not, go to the same part.
func (s *responsesStream) learn(data []byte) {
	it := s.find(s.ev.ItemID, s.ev.OutputIndex)
	if it == nil || it.rung == nil || it.rung.done {
		return
	}
	if p := it.rung.partAt(s.ev.ContentIndex, "output_text"); p != nil {
		s.plain.learn(data, it.rung, p)
	}
}

// unreadable takes an event of which a member has another type than it should
// have. A terminal event counts nevertheless; an event that says something must
// not be lost in silence, nor what may have been one; and what does not look like
// JSON is a remark.
func (s *responsesStream) unreadable(e sse.Event) error {
	var bare struct {
		Type     string         `json:"type"`
		Response jsontext.Value `json:"response"`
	}
	if json.Unmarshal(e.Data, &bare, lenient) != nil {
		switch {
		case isTorn(e.Data):
			s.torn = true
		case eventShape.lost(e.Data):
			return s.Close(unreadableEvent)
		default:
			s.o.remark()
		}
		return nil
	}
	if bare.Type == "" {
		bare.Type = string(e.Type)
	}
	switch {
	case responses.Terminal(bare.Type):
		if len(s.l.rungs) == 0 && holds(bare.Response, "output") && salvage(bare.Response).Output == nil {
			return s.Close(unreadableEvent) // nothing else has told what is in it
		}
		s.ev = responses.Event{Type: bare.Type, Response: salvage(bare.Response)}
		return s.take(e.Data)
	case bare.Type == responses.EventCreated || bare.Type == responses.EventInProgress || bare.Type == responses.EventQueued:
		s.ev = responses.Event{Type: bare.Type, Response: salvage(bare.Response)}
		return s.take(e.Data)
	case responses.Known(bare.Type):
		return s.Close(&Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream sent an event of type '" + bare.Type + "' that could not be read."})
	}
	s.ev = responses.Event{Type: bare.Type}
	return s.take(e.Data)
}

// salvage reads of a response object what can be read.
func salvage(object jsontext.Value) *responses.Response {
	r := new(responses.Response)
	for name, value := range eachMember(object) {
		one := append(appendQuoted([]byte{'{'}, name), ':')
		one = append(append(one, value...), '}')
		before := *r
		if json.Unmarshal(one, r, lenient) != nil {
			*r = before
		}
	}
	return r
}

// holds reports whether an object has a member that is set, and no empty list.
func holds(object jsontext.Value, name string) bool {
	for member, value := range eachMember(object) {
		if member == name && isSet(value) && string(value) != "[]" {
			return true
		}
	}
	return false
}

// take makes of an event what the client is to see.
func (s *responsesStream) take(raw []byte) error {
	e := &s.ev
	if e.Response != nil {
		s.see(e.Response)
	}
	if err := s.begin(); err != nil {
		return err
	}
	var err error
	switch e.Type {
	case responses.EventCreated:
	case responses.EventInProgress, responses.EventQueued:
		err = s.progress(e.Type)
	case responses.EventCompleted, responses.EventIncomplete, responses.EventFailed:
		return s.terminal(e.Type, e.Response)
	case responses.EventItemAdded:
		err = s.itemAdded(e.Item, e.OutputIndex)
	case responses.EventItemDone:
		err = s.itemDone(e.Item, e.OutputIndex)
	default:
		err = s.inItem(raw)
	}
	if err == nil && s.l.stopped {
		return s.stop()
	}
	return err
}

// see takes the response object of an event.
func (s *responsesStream) see(r *responses.Response) {
	old := s.resp
	if s.o.Model != "" || r.Model == "" {
		r.Model = s.client.Model // the client's name for it
	}
	if old.ID != "" { // these are what the client was told
		r.ID, r.CreatedAt, r.Model = old.ID, old.CreatedAt, old.Model
	}
	if s.o.queued != nil {
		r.ID, r.CreatedAt = s.o.queued.ID, s.o.queued.CreatedAt
	} else if r.ID == "" || s.o.Stored && old.ID == "" {
		r.ID = s.o.newID("resp_") // what is stored here has an id of ours
	}
	if r.CreatedAt == 0 {
		r.CreatedAt = responses.Seconds(s.o.now().Unix())
	}
	r.Object = "response"
	r.Usage = mendedUsage(r.Usage)
	if s.fill {
		if r.ServiceTier == "" || r.ServiceTier == "auto" {
			r.ServiceTier = "default"
		}
		if s.echo == nil {
			s.echo = echo(s.client, s.o.dialect(), s.o.Stored)
		}
		r.Echo = withDefaults(r.Echo, s.echo)
		if s.more {
			r.Echo = withDefaults(members(s.echo, "tools", "tool_choice", "max_output_tokens"), r.Echo)
		}
		if s.o.Stored {
			SetStored(r, true) // here, whatever the upstream does
		}
	}
	s.resp = r
}

// members are some members of an object.
func members(object jsontext.Value, names ...string) jsontext.Value {
	b := jsontext.Value{'{'}
	for name, value := range eachMember(object) {
		if !slices.Contains(names, name) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), value...)
	}
	return append(b, '}')
}

// withDefaults is an object with the members that it does not have, or has as
// null, from another.
func withDefaults(object, defaults jsontext.Value) jsontext.Value {
	have := map[string]jsontext.Value{}
	for name, value := range eachMember(object) {
		have[name] = value.Clone()
	}
	b := jsontext.Value{'{'}
	add := func(name string, value jsontext.Value) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), value...)
	}
	for name, value := range eachMember(defaults) {
		if v, ok := have[name]; ok && isSet(v) {
			value = v
		}
		delete(have, name)
		add(name, value)
	}
	for _, name := range sortedKeys(have) {
		add(name, have[name])
	}
	return append(b, '}')
}

// begin emits response.created, once.
func (s *responsesStream) begin() error {
	if s.started {
		return nil
	}
	s.started = true
	if s.resp.ID == "" {
		s.see(&responses.Response{})
	}
	return s.l.send(responses.Event{Type: responses.EventCreated, Response: openingOf(s.resp)})
}

func (s *responsesStream) progress(typ string) error {
	if s.told {
		return nil
	}
	s.told = typ == responses.EventInProgress
	r := openingOf(s.resp)
	if typ == responses.EventQueued {
		r.Status = responses.Queued
	}
	return s.l.send(responses.Event{Type: typ, Response: r})
}

// terminal ends the response.
func (s *responsesStream) terminal(typ string, resp *responses.Response) error {
	if resp == nil {
		resp = s.resp
	}
	r := *resp
	switch r.Status { // servers differ: LM Studio and others tell it by the status alone
	case responses.Incomplete, responses.Failed, responses.Cancelled:
		if typ == responses.EventCompleted {
			typ = terminalOf(r.Status)
		}
	}
	if typ == responses.EventFailed {
		return s.fail(r, s.failure)
	}
	status := responses.Completed
	if typ == responses.EventIncomplete {
		status = responses.Incomplete
	}
	if err := s.outputs(r.Output, status); err != nil {
		return err
	}
	if s.l.cause != nil {
		return s.fail(r, s.l.cause)
	}
	if s.l.stopped {
		return s.stop()
	}
	s.ended = true
	r.Status, r.Output, r.Error = status, s.l.output, nil
	if status == responses.Incomplete {
		r.CompletedAt = nil
		if r.IncompleteDetails == nil {
			r.IncompleteDetails = &responses.IncompleteDetails{Reason: "max_output_tokens"}
		}
	} else {
		r.IncompleteDetails = nil
		if r.CompletedAt == nil {
			at := responses.Seconds(s.o.now().Unix())
			r.CompletedAt = &at
		}
	}
	return s.l.send(responses.Event{Type: typ, Response: &r})
}

// outputs ends the items that are open, with what the terminal event says of
// them, and tells of those that only it has.
func (s *responsesStream) outputs(output []responses.Item, status string) error {
	told := make(untold, len(s.l.rungs))
	for _, r := range s.l.rungs {
		key := keyOf(&r.item)
		told[key] = append(told[key], r)
	}
	for i := range output {
		if s.l.stopped {
			return nil
		}
		item := &output[i]
		if !typed(item) {
			continue
		}
		if s.names.wrappedCall(item) {
			item = unwrapped(item)
		}
		it := s.match(item, told)
		if it == nil {
			it = s.enter(item, i, nil)
		}
		end := doneStatus(item.Status)
		if item.Status == "" && i == len(output)-1 {
			end = status
		}
		if err := s.finish(it, item, end); err != nil {
			return err
		}
		it.rung.matched = true
	}
	for i, r := range s.l.rungs {
		end := responses.Completed
		if i == len(s.l.rungs)-1 {
			end = status
		}
		if r.item.Type == "function_call" && !jsontext.Value(r.args.String()).IsValid() {
			end = responses.Incomplete
		}
		if err := s.l.finish(r, nil, end); err != nil {
			return err
		}
	}
	return nil
}

// untold are items of the stream by what an item of the terminal event is known by where ids change, in their order.
type untold map[[2]string][]*rung

// keyOf is an item's type, and of a call its id.
func keyOf(item *responses.Item) [2]string {
	if isCall(item.Type) {
		return [2]string{item.Type, item.CallID}
	}
	return [2]string{item.Type, ""}
}

// match is the item of the stream that an item of the terminal event is: by its
// id, or, where ids change, the next one of its type.
func (s *responsesStream) match(item *responses.Item, told untold) *seenItem {
	if it := s.byID[item.ID]; it != nil && item.ID != "" && (it.rung == nil || !it.rung.matched) {
		return it
	}
	key := keyOf(item)
	for len(told[key]) > 0 {
		r := told[key][0]
		told[key] = told[key][1:] // it is matched now, or was by its id
		if !r.matched {
			return &seenItem{rung: r}
		}
	}
	return nil
}

// stop ends a response in whose text a stop sequence has come.
func (s *responsesStream) stop() error {
	s.ended = true
	for _, r := range s.l.rungs {
		status := responses.Completed
		if r.item.Type != "message" {
			status = responses.Incomplete // it was being told of beside the text
		}
		if err := s.l.finish(r, nil, status); err != nil {
			return err
		}
	}
	if s.cancel != nil {
		s.cancel()
	}
	r := *s.resp
	at := responses.Seconds(s.o.now().Unix())
	r.Status, r.Output, r.CompletedAt = responses.Completed, s.l.output, &at
	r.Error, r.IncompleteDetails = nil, nil
	return s.l.send(responses.Event{Type: responses.EventCompleted, Response: &r})
}

// fail ends the response with an error: the one that it has, or cause.
func (s *responsesStream) fail(r responses.Response, cause *Error) error {
	s.ended = true
	switch {
	case r.Error != nil && r.Error.Message != "":
		if r.Error.Code = knownCode(r.Error.Code, r.Error.Message); r.Error.Code == "" {
			r.Error.Code = "server_error"
		}
	case cause != nil:
		r.Error = responseError(cause)
	default:
		r.Error = responseError(FailedError(&r))
	}
	r.Status, r.Output = responses.Failed, s.l.broken()
	r.CompletedAt, r.IncompleteDetails = nil, nil
	return s.l.send(responses.Event{Type: responses.EventFailed, Response: &r})
}

// Close ends the stream: cause is why the upstream stopped, nil at its regular
// end.
func (s *responsesStream) Close(cause *Error) error {
	if s.ended {
		return nil
	}
	switch {
	case s.failure != nil:
		cause = s.failure
	case cause == nil:
		cause = &Error{Status: 502, Type: "server_error", Code: "server_error", Message: "The upstream's stream ended before the response was complete (no terminal event)."}
	}
	if err := s.begin(); err != nil {
		return err
	}
	r := *s.resp
	r.Error, r.Usage = nil, nil
	return s.fail(r, cause)
}
