package convert

import (
	"slices"
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// seenItem is an item of the upstream's stream.
type seenItem struct {
	id string // the upstream's
	// rung is nil for a call that was announced without a name: Ollama does so, and
	// a client cannot be told the name later.
	rung *rung
	// unwrap is set for the call of a custom tool that was made a function.
	unwrap *unwrapper
}

// find is the item of an event: by its id, else by its place; Ollama gives all
// parallel calls the same place.
func (s *responsesStream) find(id string, place int) *seenItem {
	if id != "" {
		if s.last != nil && s.last.id == id {
			return s.last
		}
		if it := s.byID[id]; it != nil {
			s.last = it
			return it
		}
	}
	return s.byPlace[place]
}

func (s *responsesStream) enter(item *responses.Item, place int, r *rung) *seenItem {
	it := &seenItem{id: item.ID, rung: r}
	if item.ID != "" {
		s.byID[item.ID] = it
	}
	s.byPlace[place] = it
	s.last = it
	return it
}

func isCall(typ string) bool { return typ == "function_call" || typ == "custom_tool_call" }

func (s *responsesStream) itemAdded(item *responses.Item, place int) error {
	if !typed(item) {
		return nil
	}
	if known := s.byID[item.ID]; known != nil && item.ID != "" && (known.rung == nil || !known.rung.done) {
		return nil // announced twice
	}
	it := s.enter(item, place, nil)
	if isCall(item.Type) && item.Name == "" {
		return nil
	}
	if s.names.wrappedCall(item) {
		item, it.unwrap = unwrapped(item), new(unwrapper)
	}
	var err error
	it.rung, err = s.open(item)
	return err
}

// open announces an item. OpenAI's servers check the ids of what is sent back: the
// id of a function's call is none for one of a custom tool.
func (s *responsesStream) open(item *responses.Item) (*rung, error) {
	if item.Type == "custom_tool_call" && strings.HasPrefix(item.ID, prefixes["function_call"]) {
		call := *item
		call.ID = ""
		item = &call
	}
	return s.l.open(item)
}

// typed tells whether an item has a type, which messages may leave out.
func typed(item *responses.Item) bool {
	if item != nil && item.Type == "" && item.Role != "" {
		item.Type = "message"
	}
	return item != nil && item.Type != ""
}

func (s *responsesStream) itemDone(item *responses.Item, place int) error {
	if !typed(item) {
		return nil
	}
	if s.names.wrappedCall(item) {
		item = unwrapped(item)
	}
	it := s.byID[item.ID]
	if it == nil { // an id that changes, or none
		if at := s.byPlace[place]; at != nil && (at.rung == nil || !at.rung.done && at.rung.item.Type == item.Type) {
			it = at
		}
	}
	if it == nil {
		it = s.enter(item, place, nil)
	}
	return s.finish(it, item, doneStatus(item.Status))
}

// finish ends an item, announcing it first if it was not.
func (s *responsesStream) finish(it *seenItem, item *responses.Item, status string) error {
	if it.rung == nil {
		r, err := s.open(item)
		if err != nil {
			return err
		}
		it.rung = r
	}
	return s.l.finish(it.rung, item, status)
}

// itemOf are the types of items that an event which comes unannounced must be of.
var itemOf = map[string]string{
	responses.EventTextDelta: "message", responses.EventTextDone: "message", responses.EventRefusalDelta: "message", responses.EventRefusalDone: "message",
	responses.EventAnnotationAdded: "message",
	responses.EventSummaryDelta:    "reasoning", responses.EventSummaryDone: "reasoning", responses.EventSummaryPartAdded: "reasoning",
	responses.EventReasoningDelta: "reasoning", responses.EventReasoningDone: "reasoning",
	responses.EventOpenReasoningDelta: "reasoning", responses.EventOpenReasoningDone: "reasoning",
}

// partOf are the types of the parts that events are about.
var partOf = map[string]string{
	responses.EventTextDelta: "output_text", responses.EventTextDone: "output_text", responses.EventAnnotationAdded: "output_text",
	responses.EventRefusalDelta: "refusal", responses.EventRefusalDone: "refusal",
	responses.EventReasoningDelta: "reasoning_text", responses.EventReasoningDone: "reasoning_text",
	responses.EventOpenReasoningDelta: "reasoning_text", responses.EventOpenReasoningDone: "reasoning_text",
	responses.EventSummaryDelta: "summary_text", responses.EventSummaryDone: "summary_text",
	responses.EventSummaryPartAdded: "summary_text", responses.EventSummaryPartDone: "summary_text",
}

// inItem takes an event that tells of an item.
func (s *responsesStream) inItem(raw []byte) error {
	e := &s.ev
	it := s.find(e.ItemID, e.OutputIndex)
	if !responses.Known(e.Type) {
		return s.pass(it, raw)
	}
	want := itemOf[e.Type]
	if want == "" && e.Part != nil && e.Type == responses.EventPartAdded {
		want = "message"
		if e.Part.Type == "reasoning_text" {
			want = "reasoning"
		}
	}
	if want != "" && (it == nil || it.rung == nil || it.rung.item.Type != want || it.rung.done) {
		if it != nil && it.rung != nil && it.id == e.ItemID && (e.ItemID != "" || it.rung.item.Type == want) {
			return nil // of another kind of item, or of one that is done
		}
		r, err := s.l.open(&responses.Item{Type: want, ID: e.ItemID})
		if err != nil {
			return err
		}
		it = s.enter(&responses.Item{ID: e.ItemID}, e.OutputIndex, r)
	}
	if it == nil || it.rung == nil || it.rung.done {
		return nil // of a call whose name is still to come: its item will have all
	}
	switch e.Type {
	case responses.EventArgumentsDelta, responses.EventInputDelta:
		switch {
		case it.unwrap != nil:
			input, _ := it.unwrap.feed(e.Delta)
			return s.l.arguments(it.rung, input)
		case isCall(it.rung.item.Type):
			return s.l.arguments(it.rung, e.Delta)
		}
		return nil
	case responses.EventArgumentsDone, responses.EventInputDone:
		args := e.Arguments
		if it.unwrap != nil {
			return nil // its item will have all
		}
		if it.rung.item.Type == "custom_tool_call" {
			args = e.Input
		}
		// None at all is {} in the end, unless the answer breaks off.
		if isCall(it.rung.item.Type) && args != "" {
			return s.l.endArguments(it.rung, args)
		}
		return nil
	}
	return s.inPart(it.rung)
}

// inPart takes an event that tells of a part of an item.
func (s *responsesStream) inPart(r *rung) error {
	e := &s.ev
	typ, at := partOf[e.Type], e.ContentIndex
	if typ == "" {
		if e.Part == nil {
			return nil
		}
		typ = e.Part.Type
		if typ == "" || typ == "text" {
			typ = textTypes[r.item.Type]
		}
	}
	if typ == "summary_text" {
		if r.item.Type != "reasoning" {
			return nil
		}
		at = e.SummaryIndex
	}
	p := r.partAt(at, typ)
	if p == nil {
		if textTypes[r.item.Type] == "" || e.Part == nil && (e.Type == responses.EventPartDone || e.Type == responses.EventSummaryPartDone) {
			return nil
		}
		var err error
		opening := responses.Part{Type: typ}
		if e.Part != nil && partKinds[typ] == nil {
			opening = *e.Part
		}
		if p, err = s.l.openPart(r, opening); err != nil {
			return err
		}
		if r.places == nil {
			r.places = map[partPlace]*rungPart{}
		}
		r.places[partPlace{at, typ}] = p
	}
	switch e.Type {
	case responses.EventTextDelta:
		return s.l.say(r, p, e.Delta, e.Logprobs)
	case responses.EventRefusalDelta, responses.EventSummaryDelta, responses.EventReasoningDelta, responses.EventOpenReasoningDelta:
		return s.l.say(r, p, e.Delta, nil)
	case responses.EventAnnotationAdded:
		if e.Annotation != nil {
			return s.l.annotate(r, p, e.Annotation)
		}
	case responses.EventTextDone, responses.EventRefusalDone, responses.EventSummaryDone, responses.EventReasoningDone, responses.EventOpenReasoningDone:
		whole := responses.Part{Type: typ, Text: &e.Text, Logprobs: e.Logprobs}
		if typ == "refusal" {
			whole.Text = &e.Refusal
		}
		if err := s.l.complete(r, p, &whole); err != nil {
			return err
		}
		return s.l.endText(r, p)
	case responses.EventPartDone, responses.EventSummaryPartDone:
		if e.Part != nil {
			e.Part.Type = typ
		}
		return s.l.closePart(r, p, e.Part)
	}
	return nil
}

// partAt is the part of a type that the upstream has at a place.
func (r *rung) partAt(at int, typ string) *rungPart { return r.places[partPlace{at, typ}] }

// hosted are the events that are passed on as they come, by their family, and the
// type of the item that they are of. They are all of OpenAI's that this program
// does not read. The client of the npm package throws at any other type.
// https://platform.openai.com/docs/api-reference/responses-streaming
var hosted = map[string]struct {
	item  string
	steps string
}{
	"mcp_call":                        {"mcp_call", "in_progress completed failed"},
	"mcp_call_arguments":              {"mcp_call", "delta done"},
	"mcp_list_tools":                  {"mcp_list_tools", "in_progress completed failed"},
	"web_search_call":                 {"web_search_call", "in_progress searching completed"},
	"file_search_call":                {"file_search_call", "in_progress searching completed"},
	"code_interpreter_call":           {"code_interpreter_call", "in_progress interpreting completed"},
	"code_interpreter_call_code":      {"code_interpreter_call", "delta done"},
	"image_generation_call":           {"image_generation_call", "in_progress generating completed partial_image"},
	"shell_call_command":              {"shell_call", "added delta done"},
	"shell_call_output_content":       {"shell_call", "delta done"},
	"apply_patch_call_operation_diff": {"apply_patch_call", "delta done"},
	"compaction":                      {"compaction", "compacting"},
	"audio":                           {"", "delta done"},
	"audio.transcript":                {"", "delta done"},
}

// pass hands on an event of which this program does not know the members.
func (s *responsesStream) pass(it *seenItem, raw []byte) error {
	e := &s.ev
	name, ours := strings.CutPrefix(e.Type, "response.")
	at := strings.LastIndexByte(name, '.')
	if !ours || at < 0 {
		return nil
	}
	known, ok := hosted[name[:at]]
	if !ok || !slices.Contains(strings.Fields(known.steps), name[at+1:]) {
		return nil
	}
	if known.item != "" && (it == nil || it.rung == nil || it.id != e.ItemID && it.rung.item.Type != known.item) {
		r, err := s.l.open(&responses.Item{Type: known.item, ID: e.ItemID, Status: responses.InProgress})
		if err != nil {
			return err
		}
		it = s.enter(&responses.Item{ID: e.ItemID}, e.OutputIndex, r)
	}
	if it != nil && it.rung != nil {
		if it.rung.done {
			return nil
		}
		e.ItemID, e.OutputIndex = it.rung.item.ID, it.rung.index
	}
	e.Raw = raw
	return s.l.emit(e)
}
