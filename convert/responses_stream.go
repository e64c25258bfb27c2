package convert

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/sse"
)

// responsesStream reads a Responses stream and emits its events, mended where
// servers are known to leave something out: response.created comes first, each
// item is announced before it is done and has a place of its own in the output,
// the terminal event holds the whole output, and there is exactly one.
type responsesStream struct {
	o     *Options
	emit  Emit
	model string // the client's name for the model, where it is not the upstream's

	ev      responses.Event
	resp    *responses.Response // as last seen
	items   []*seenItem
	failure *Error // an error event: response.failed may follow, or not
	started bool
	ended   bool
}

// seenItem is an item of the stream.
type seenItem struct {
	key  string
	item responses.Item
	done bool
}

func newResponsesStream(client *responses.Request, o *Options, emit Emit) *responsesStream {
	s := &responsesStream{o: o, emit: emit}
	if o.Model != "" {
		s.model = client.Model
	}
	s.resp = &responses.Response{
		ID: o.newID("resp_"), Object: "response", CreatedAt: responses.Seconds(o.now().Unix()),
		Status: responses.InProgress, Model: client.Model, Output: []responses.Item{}, Echo: echo(client, false),
	}
	return s
}

// Start does nothing: a Responses upstream announces its response itself.
func (s *responsesStream) Start() error { return nil }

// Finishing is never true: nothing comes behind the terminal event.
func (s *responsesStream) Finishing() bool { return false }

// Event reads one server-sent event.
func (s *responsesStream) Event(e sse.Event) error {
	if s.ended {
		return nil
	}
	if string(e.Data) == "[DONE]" {
		return s.Close(nil)
	}
	s.ev = responses.Event{}
	if err := json.Unmarshal(e.Data, &s.ev, lenient); err != nil {
		// A member of another type than expected: pass it on if it is an event.
		var bare struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(e.Data, &bare, lenient) != nil || bare.Type == "" || responses.Known(bare.Type) {
			return nil
		}
		s.ev = responses.Event{Type: bare.Type}
	}
	if s.ev.Type == "" {
		s.ev.Type = string(e.Type)
	}
	if s.ev.Type == responses.EventError || s.ev.Type == "" && isSet(s.ev.Error) {
		s.failure = eventError(&s.ev)
		return nil
	}
	if !responses.Known(s.ev.Type) {
		s.ev.Raw = e.Data
	}
	return s.take()
}

func eventError(e *responses.Event) *Error {
	if isSet(e.Error) {
		return parseError(502, e.Error, nil, nil)
	}
	return defaults(&Error{Status: 502, Message: e.Message, Code: e.Code.JSON(), Param: e.Param})
}

func (s *responsesStream) take() error {
	if r := s.ev.Response; r != nil {
		if s.model != "" {
			r.Model = s.model
		}
		if s.started { // the id is the one that the client was told
			r.ID = s.resp.ID
		}
		s.resp = r
	}
	if !s.started {
		s.started = true
		if s.ev.Type != responses.EventCreated {
			e := s.ev
			first := *s.resp
			first.Status, first.Output, first.Usage = responses.InProgress, []responses.Item{}, nil
			if err := s.emit(&responses.Event{Type: responses.EventCreated, Response: &first}); err != nil {
				return err
			}
			s.ev = e
		}
	}
	switch {
	case responses.Terminal(s.ev.Type):
		return s.terminal()
	case s.ev.Item != nil && s.ev.Type == responses.EventItemAdded:
		s.see(s.ev.Item, s.ev.OutputIndex)
	case s.ev.Item != nil && s.ev.Type == responses.EventItemDone:
		return s.itemDone()
	}
	if s.ev.ItemID != "" {
		if i := s.find(s.ev.ItemID); i >= 0 {
			s.ev.OutputIndex = i
		}
	}
	return s.emit(&s.ev)
}

// find is the place of an item, or -1.
func (s *responsesStream) find(key string) int {
	return slices.IndexFunc(s.items, func(it *seenItem) bool { return it.key == key })
}

func itemKey(item *responses.Item, index int) string {
	if item.ID != "" {
		return item.ID
	}
	return "#" + strconv.Itoa(index)
}

// see enters an item that is announced and gives it its place: Ollama announces
// two parallel calls at the same one.
func (s *responsesStream) see(item *responses.Item, index int) {
	s.items = append(s.items, &seenItem{key: itemKey(item, index), item: *item})
	s.ev.OutputIndex = len(s.items) - 1
}

func (s *responsesStream) itemDone() error {
	item := s.ev.Item
	i := s.find(itemKey(item, s.ev.OutputIndex))
	if i < 0 {
		return s.replay(item)
	}
	s.items[i].item, s.items[i].done = *item, true
	s.ev.OutputIndex = i
	return s.emit(&s.ev)
}

// replay emits the events of an item that the upstream told of only when it was
// done.
func (s *responsesStream) replay(item *responses.Item) error {
	s.items = append(s.items, &seenItem{key: itemKey(item, len(s.items)), item: *item, done: true})
	return replayItem(item, len(s.items)-1, s.emit)
}

func (s *responsesStream) terminal() error {
	s.ended = true
	typ, resp := s.ev.Type, s.ev.Response
	if resp == nil {
		r := *s.resp
		resp = &r
	}
	for i := range resp.Output {
		if s.find(itemKey(&resp.Output[i], i)) < 0 && len(s.items) <= i {
			if err := s.replay(&resp.Output[i]); err != nil {
				return err
			}
		}
	}
	if len(resp.Output) == 0 {
		resp.Output = []responses.Item{}
		for _, it := range s.items {
			resp.Output = append(resp.Output, it.item)
		}
	}
	resp.Status = map[string]string{
		responses.EventCompleted: responses.Completed, responses.EventIncomplete: responses.Incomplete, responses.EventFailed: responses.Failed,
	}[typ]
	if typ == responses.EventFailed && resp.Error == nil {
		cause := s.failure
		if cause == nil {
			cause = &Error{Message: "The upstream's response failed without saying why."}
		}
		resp.Error = responseError(cause)
	}
	return s.emit(&responses.Event{Type: typ, Response: resp})
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
	r := *s.resp
	r.Error = responseError(cause)
	r.Output = []responses.Item{}
	s.ev = responses.Event{Type: responses.EventFailed, Response: &r}
	if s.started {
		for _, it := range s.items {
			item := it.item
			if !it.done && item.Status != "" {
				item.Status = responses.Incomplete
			}
			r.Output = append(r.Output, item)
		}
		s.ended = true
		r.Status = responses.Failed
		return s.emit(&s.ev)
	}
	return s.take()
}
