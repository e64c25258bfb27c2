package convert

import (
	"strings"
	"unicode/utf8"

	"github.com/labiium/chat2response/convert/responses"
)

// ladder emits the events of a response's items rung by rung, whatever the
// upstream did: an item is announced before anything is said of it and a part
// before its text; ids and places do not change; the done events say what the
// deltas said; every item has an end. Clients throw where one of these does not
// hold.
type ladder struct {
	o    *Options
	emit Emit
	ev   responses.Event // the one that is emitted: none is allocated for a delta

	rungs  []*rung
	output []responses.Item // each item as far as it has come
	ids    map[string]bool  // of items and calls

	stops   []string // stop sequences that the upstream does not have
	stopped bool     // one has come: the rest of the answer is not wanted

	kept, held int64  // bytes of the answer that are kept, and that are on the account
	cause      *Error // why the answer must fail: it is too large, or a piece of it was lost
}

// rung is an item of the response.
type rung struct {
	item    responses.Item // as it was announced
	index   int
	parts   []*rungPart // of a message, or of a reasoning item's content
	summary []*rungPart
	args    strings.Builder // of a call: arguments or input
	argsEnd bool            // their done event has been emitted
	done    bool
	matched bool // the upstream's terminal event has it

	places map[partPlace]*rungPart // of the parts that the upstream's events told of
}

// partPlace is where the upstream has a part: its index, among those of its type.
type partPlace struct {
	at  int
	typ string
}

// rungPart is a part of an item.
type rungPart struct {
	part  responses.Part // as it will be when done, but for what is in buf
	kind  *partKind
	index int
	buf   strings.Builder
	ended bool // its text is
	done  bool

	held  string              // text that may be the beginning of a stop sequence
	probs []responses.Logprob // of tokens that are not all told
	ahead int                 // how much of the first of these is
}

// partKind are the events of one type of part.
type partKind struct {
	added, delta, done, closed string
}

var partKinds = map[string]*partKind{
	"output_text":    {responses.EventPartAdded, responses.EventTextDelta, responses.EventTextDone, responses.EventPartDone},
	"refusal":        {responses.EventPartAdded, responses.EventRefusalDelta, responses.EventRefusalDone, responses.EventPartDone},
	"reasoning_text": {responses.EventPartAdded, responses.EventReasoningDelta, responses.EventReasoningDone, responses.EventPartDone},
	"summary_text":   {responses.EventSummaryPartAdded, responses.EventSummaryDelta, responses.EventSummaryDone, responses.EventSummaryPartDone},
}

// otherPart is a part of a type without deltas.
var otherPart = &partKind{added: responses.EventPartAdded, closed: responses.EventPartDone}

// prefixes begin the ids of items. OpenAI's servers check them by type.
var prefixes = map[string]string{
	"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_", "web_search_call": "ws_",
	"file_search_call": "fs_", "code_interpreter_call": "ci_", "image_generation_call": "ig_", "mcp_call": "mcp_",
	"mcp_list_tools": "mcpl_", "mcp_approval_request": "mcpr_", "computer_call": "cu_", "local_shell_call": "lsh_",
	"shell_call": "sh_", "apply_patch_call": "apc_", "tool_search_call": "tsc_", "tool_search_output": "tso_", "compaction": "cmp_",
}

func (l *ladder) send(e responses.Event) error {
	l.ev = e
	return l.emit(&l.ev)
}

// open announces an item; what it says is still to come.
func (l *ladder) open(item *responses.Item) (*rung, error) {
	opening := *item
	prefix := prefixes[item.Type]
	if prefix == "" {
		prefix = "item_"
	}
	opening.ID = l.unique("item", item.ID, prefix)
	switch item.Type {
	case "message":
		opening.Role, opening.Status = "assistant", responses.InProgress
		opening.Content = responses.Parts()
	case "reasoning":
		opening.Summary, opening.EncryptedContent = []responses.Part{}, ""
		if !item.Content.IsZero() {
			opening.Content = responses.Parts()
		}
	case "function_call":
		opening.Status, opening.Arguments = responses.InProgress, responses.String("")
		l.name(&opening)
	case "custom_tool_call":
		opening.Status, opening.Input = responses.InProgress, new(string)
		l.name(&opening)
	}
	if opening.Status != "" {
		opening.Status = responses.InProgress
	}
	l.keep(itemWeight)
	r := &rung{item: opening, index: len(l.rungs)}
	l.rungs = append(l.rungs, r)
	l.output = append(l.output, opening)
	return r, l.send(responses.Event{Type: responses.EventItemAdded, OutputIndex: r.index, Item: &opening})
}

// name gives a call what its output must name it by: an id that no other call
// of the answer has.
func (l *ladder) name(call *responses.Item) {
	if call.Name == "" {
		call.Name = "unknown_tool"
	}
	call.CallID = l.unique("call", call.CallID, "call_")
}

// unique is an id, or a new one where there is none or another has it.
// what is item or call: an item may have the id of its call.
func (l *ladder) unique(what, id, prefix string) string {
	if l.ids == nil {
		l.ids = map[string]bool{}
	}
	key := what + " " + id
	if id == "" || l.ids[key] {
		return l.o.newID(prefix)
	}
	l.ids[key] = true
	return id
}

// openPart announces a part of an item.
func (l *ladder) openPart(r *rung, part responses.Part) (*rungPart, error) {
	list := &r.parts
	if part.Type == "summary_text" {
		list = &r.summary
	}
	p := &rungPart{kind: partKinds[part.Type], index: len(*list), part: part}
	if p.kind == nil {
		p.kind = otherPart
	} else { // its text, annotations and so on are still to be told
		p.part = emptyPart(part.Type)
	}
	l.keep(partWeight)
	*list = append(*list, p)
	announced := p.part
	return p, l.send(p.event(r, responses.Event{Type: p.kind.added, Part: &announced}))
}

// emptyPart is a part of which nothing has been said.
func emptyPart(typ string) responses.Part {
	switch typ {
	case "output_text":
		return responses.OutputText("")
	case "refusal":
		return responses.Refusal("")
	}
	return responses.Part{Type: typ, Text: new(string)}
}

func (p *rungPart) event(r *rung, e responses.Event) responses.Event {
	e.ItemID, e.OutputIndex = r.item.ID, r.index
	if p.part.Type == "summary_text" {
		e.SummaryIndex = p.index
	} else {
		e.ContentIndex = p.index
	}
	return e
}

// say adds to the text of a part. probs have bytes, which deltas leave out.
func (l *ladder) say(r *rung, p *rungPart, text string, probs []responses.Logprob) error {
	if len(l.stops) > 0 && p.part.Type == "output_text" {
		text, probs = l.hold(p, text, probs)
	}
	if text == "" || p.ended || p.kind.delta == "" {
		return nil
	}
	text = whole(text)
	if !l.keep(len(text) + weightOf(probs)) {
		return nil
	}
	p.buf.WriteString(text)
	l.ev = responses.Event{Type: p.kind.delta, ItemID: r.item.ID, OutputIndex: r.index, Delta: text}
	if p.part.Type == "summary_text" {
		l.ev.SummaryIndex = p.index
	} else {
		l.ev.ContentIndex = p.index
	}
	if len(probs) > 0 {
		p.part.Logprobs = append(p.part.Logprobs, probs...)
		l.ev.Logprobs = deltaLogprobs(probs)
	}
	return l.emit(&l.ev)
}

// whole is text without half characters, which JSON cannot hold: what they become
// must be the same in the delta and in the whole.
func whole(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// annotate adds a citation to a part.
func (l *ladder) annotate(r *rung, p *rungPart, note *responses.Annotation) error {
	if p.done || p.part.Type != "output_text" {
		return nil
	}
	if !l.keep(partWeight) {
		return nil
	}
	p.part.Annotations = append(p.part.Annotations, *note)
	return l.send(p.event(r, responses.Event{
		Type: responses.EventAnnotationAdded, AnnotationIndex: len(p.part.Annotations) - 1, Annotation: note,
	}))
}

// endText ends the text of a part, of which annotations may follow.
func (l *ladder) endText(r *rung, p *rungPart) error {
	if p.ended || p.kind.delta == "" {
		return nil
	}
	if p.held != "" && !l.stopped {
		held, probs, stops := p.held, p.probs, l.stops
		p.held, p.probs = "", nil
		l.stops = nil // it was only the beginning of one
		err := l.say(r, p, held, probs)
		l.stops = stops
		if err != nil {
			return err
		}
	}
	p.ended = true
	text := p.buf.String()
	p.buf = strings.Builder{}
	done := p.event(r, responses.Event{Type: p.kind.done})
	if p.part.Type == "refusal" {
		p.part.Refusal, done.Refusal = &text, text
	} else {
		p.part.Text = &text
		p.part.Logprobs = wholeLogprobs(p.part.Logprobs)
		done.Text, done.Logprobs = text, p.part.Logprobs
	}
	return l.send(done)
}

// closePart ends a part. final is the upstream's idea of the whole, if it has
// told: what is missing is said first. Where it contradicts what the client has
// been told, that stays.
func (l *ladder) closePart(r *rung, p *rungPart, final *responses.Part) error {
	if p.done {
		return nil
	}
	switch {
	case final == nil || final.Type != p.part.Type:
	case p.kind == otherPart:
		p.part = *final
	default:
		if err := l.complete(r, p, final); err != nil {
			return err
		}
	}
	if err := l.endText(r, p); err != nil {
		return err
	}
	p.done = true
	part := p.part
	return l.send(p.event(r, responses.Event{Type: p.kind.closed, Part: &part}))
}

// complete says what the whole part has and the client has not been told.
func (l *ladder) complete(r *rung, p *rungPart, final *responses.Part) error {
	rest, ok := strings.CutPrefix(final.Str(), p.buf.String())
	if ok {
		rest, ok = strings.CutPrefix(rest, p.held)
	}
	switch {
	case p.ended || l.stopped:
	case !ok && len(final.Str()) > p.buf.Len()+len(p.held):
		// There is more of it than what was told, and not behind that: a piece was lost on the way.
		if l.cause == nil {
			l.cause = lostPiece
		}
	case ok && rest != "":
		var probs []responses.Logprob
		if len(p.part.Logprobs) == 0 && p.held == "" {
			probs = final.Logprobs
		}
		if err := l.say(r, p, rest, probs); err != nil {
			return err
		}
	}
	if l.stopped {
		return nil
	}
	for i := len(p.part.Annotations); i < len(final.Annotations); i++ {
		if err := l.annotate(r, p, &final.Annotations[i]); err != nil {
			return err
		}
	}
	if len(final.Annotations) == len(p.part.Annotations) && len(final.Annotations) > 0 {
		p.part.Annotations = final.Annotations
	}
	if len(final.Logprobs) > 0 {
		p.part.Logprobs = wholeLogprobs(final.Logprobs)
	}
	p.part.Unknown = final.Unknown
	return nil
}

// arguments adds to the arguments or the input of a call.
func (l *ladder) arguments(r *rung, piece string) error {
	if piece == "" || r.argsEnd {
		return nil
	}
	piece = whole(piece)
	if !l.keep(len(piece)) {
		return nil
	}
	r.args.WriteString(piece)
	e := responses.Event{Type: responses.EventArgumentsDelta, ItemID: r.item.ID, OutputIndex: r.index, Delta: piece}
	if r.item.Type == "custom_tool_call" {
		e.Type = responses.EventInputDelta
	}
	return l.send(e)
}

// endArguments ends them. final is the upstream's idea of the whole.
func (l *ladder) endArguments(r *rung, final string) error {
	if r.argsEnd {
		return nil
	}
	if rest, ok := strings.CutPrefix(final, r.args.String()); ok {
		if err := l.arguments(r, rest); err != nil {
			return err
		}
	}
	r.argsEnd = true
	e := responses.Event{Type: responses.EventArgumentsDone, ItemID: r.item.ID, OutputIndex: r.index, Arguments: r.args.String()}
	if r.item.Type == "custom_tool_call" {
		e.Type, e.Arguments, e.Input = responses.EventInputDone, "", r.args.String()
	}
	return l.send(e)
}

// finish ends an item. final is the upstream's idea of the whole, nil if there is
// none; status is completed or incomplete, for items that have one.
func (l *ladder) finish(r *rung, final *responses.Item, status string) error {
	if r.done {
		return nil
	}
	if final == nil {
		final = &r.item
	}
	item := *final
	item.Type, item.ID, item.Role, item.CallID = r.item.Type, r.item.ID, r.item.Role, r.item.CallID
	if item.Name == "" {
		item.Name, item.Namespace = r.item.Name, r.item.Namespace
	}
	var err error
	switch item.Type {
	case "message":
		err = l.finishParts(r, contentOf(final), &r.parts)
		item.Content = doneParts(r.parts)
	case "reasoning":
		if err = l.finishParts(r, retyped(final.Summary, "summary_text"), &r.summary); err == nil {
			err = l.finishParts(r, contentOf(final), &r.parts)
		}
		item.Summary = doneParts(r.summary).Parts
		if !r.item.Content.IsZero() || len(r.parts) > 0 {
			item.Content = doneParts(r.parts)
		}
	case "function_call":
		args := final.Arguments.JSON()
		if status == responses.Completed && isBlank(args) && isBlank(r.args.String()) {
			args = r.args.String() + "{}" // of a function without parameters
		}
		err = l.endArguments(r, args)
		item.Arguments = responses.String(r.args.String())
	case "custom_tool_call":
		err = l.endArguments(r, or(final.Input, ""))
		input := r.args.String()
		item.Input = &input
	}
	if err != nil {
		return err
	}
	if r.item.Status != "" || item.Status != "" {
		item.Status = status
		if status == responses.Failed && (textTypes[item.Type] != "" || isCall(item.Type)) {
			item.Status = responses.Incomplete
		}
	}
	r.done, r.args = true, strings.Builder{}
	l.output[r.index] = item
	return l.send(responses.Event{Type: responses.EventItemDone, OutputIndex: r.index, Item: &item})
}

// textTypes are the types that the text of an item has, where a server has
// another name for it.
var textTypes = map[string]string{"message": "output_text", "reasoning": "reasoning_text"}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// contentOf is the content of an item as parts; some servers send the bare text.
func contentOf(item *responses.Item) []responses.Part {
	typ := textTypes[item.Type]
	if item.Content.IsText() {
		return []responses.Part{{Type: typ, Text: &item.Content.Text}}
	}
	return retyped(item.Content.Parts, typ)
}

func retyped(parts []responses.Part, typ string) []responses.Part {
	for i := range parts {
		if t := parts[i].Type; t == "text" || t == "" {
			parts[i].Type = typ
		}
	}
	return parts
}

func (l *ladder) finishParts(r *rung, finals []responses.Part, list *[]*rungPart) error {
	n := 0
	for i := range finals {
		if (finals[i].Type == "summary_text") != (list == &r.summary) {
			continue
		}
		if l.stopped {
			break
		}
		if n == len(*list) {
			if _, err := l.openPart(r, finals[i]); err != nil {
				return err
			}
		}
		if err := l.closePart(r, (*list)[n], &finals[i]); err != nil {
			return err
		}
		n++
	}
	for _, p := range *list {
		if err := l.closePart(r, p, nil); err != nil {
			return err
		}
	}
	return nil
}

func doneParts(list []*rungPart) responses.Content {
	parts := make([]responses.Part, len(list))
	for i, p := range list {
		parts[i] = p.part
	}
	return responses.Parts(parts...)
}

// replay emits all events of a whole item.
func (l *ladder) replay(item *responses.Item) error {
	r, err := l.open(item)
	if err != nil {
		return err
	}
	return l.finish(r, item, doneStatus(item.Status))
}

// doneStatus is the status of an item that is done: completed, incomplete, or, of
// a hosted tool's, failed.
func doneStatus(status string) string {
	if status == responses.Incomplete || status == responses.Failed {
		return status
	}
	return responses.Completed
}

// broken are the items of a response that failed: those that are open stand in
// it as far as they have come, and are not done: a client would run a half
// written call.
func (l *ladder) broken() []responses.Item {
	for _, r := range l.rungs {
		if r.done {
			continue
		}
		item := &l.output[r.index]
		if item.Status != "" {
			item.Status = responses.Incomplete
		}
		for _, p := range append(r.parts[:len(r.parts):len(r.parts)], r.summary...) {
			if p.ended || p.kind == otherPart {
				continue
			}
			text := p.buf.String()
			if p.part.Type == "refusal" {
				p.part.Refusal = &text
			} else {
				p.part.Text = &text
			}
		}
		switch item.Type {
		case "message":
			item.Content = doneParts(r.parts)
		case "reasoning":
			item.Summary = doneParts(r.summary).Parts
			if len(r.parts) > 0 {
				item.Content = doneParts(r.parts)
			}
		case "function_call":
			item.Arguments = responses.String(r.args.String())
		case "custom_tool_call":
			input := r.args.String()
			item.Input = &input
		}
	}
	return l.output
}
