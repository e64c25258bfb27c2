package convert

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/responses"
)

// A Splice makes one response of several turns of an upstream, between which its
// calls of the gateway's own tools are run: the client sees one response, with an
// mcp_call in the place of each such call.
//
// The events of each turn go to [Splice.Event]; its terminal event is kept back.
// Then [Splice.Turn] tells what the upstream wants, the caller says what became of
// it, and either calls [Splice.Next] and asks again, or [Splice.Finish].
//
// A Splice is for one goroutine at a time.
type Splice struct {
	emit Emit
	o    *Options
	tool func(name string) (HostedTool, bool)
	keep bool // the client carries reasoning that it cannot read
	chat bool // and is one of Chat, which can use only that of a Responses upstream

	first   *responses.Response // as the client was told of it
	told    bool                // response.in_progress was emitted
	pending []responses.Item    // of Put, before there is a response
	output  []responses.Item
	ids     map[string]bool
	usage   *responses.Usage

	// Of this turn, by the upstream's index and item id:
	index   map[int]int
	renames map[string]string
	calls   map[string]*HostedCall
	order   []*HostedCall
	last    *responses.Response
	ev      responses.Event
}

// HostedTool is a tool that the gateway runs.
type HostedTool struct {
	// Server and Name are what the client is told: the server's label, and the
	// server's own name for the tool.
	Server, Name string
	// Approve: the client is asked first, with an mcp_approval_request.
	Approve bool
}

// HostedCall is the upstream's call of such a tool.
type HostedCall struct {
	HostedTool
	// Call is the upstream's function_call.
	Call responses.Item

	item  responses.Item // the mcp_call
	index int
}

// SplicedTurn is what an upstream said in one turn.
type SplicedTurn struct {
	// Response is the upstream's, with its own status and usage.
	Response *responses.Response
	// Calls are those of the gateway's tools, in the upstream's order.
	Calls []*HostedCall
	// Theirs tells that the client's tools are called too.
	Theirs bool
}

// Events of an mcp_call and an mcp_list_tools; the package responses passes them on
// without knowing their members.
// https://platform.openai.com/docs/api-reference/responses-streaming
const (
	eventCallInProgress = "response.mcp_call.in_progress"
	eventCallArguments  = "response.mcp_call_arguments.delta"
	eventCallWhole      = "response.mcp_call_arguments.done"
	eventCallCompleted  = "response.mcp_call.completed"
	eventCallFailed     = "response.mcp_call.failed"
	eventListing        = "response.mcp_list_tools.in_progress"
	eventListed         = "response.mcp_list_tools.completed"
)

// NewSplice returns a Splice for a request's answer. tool tells which of the
// upstream's calls are the gateway's.
func NewSplice(r *Request, o Options, tool func(name string) (HostedTool, bool), emit Emit) *Splice {
	s := &Splice{emit: emit, o: &o, tool: tool, keep: wantsSeal(r.Canonical, &o), chat: r.Out == Chat, ids: map[string]bool{}}
	s.Next()
	return s
}

// Next begins a turn.
func (s *Splice) Next() {
	s.index, s.renames, s.calls = map[int]int{}, map[string]string{}, map[string]*HostedCall{}
	s.order, s.last = nil, nil
}

// Event takes an event of the turn.
func (s *Splice) Event(e *responses.Event) error {
	switch e.Type {
	case responses.EventCreated, responses.EventQueued, responses.EventInProgress:
		return s.opening(e)
	}
	if responses.Terminal(e.Type) {
		s.last = e.Response
		return nil
	}
	if err := s.unpend(); err != nil {
		return err
	}
	switch e.Type {
	case responses.EventItemAdded:
		return s.added(e)
	case responses.EventItemDone:
		return s.done(e)
	}
	if c := s.calls[e.ItemID]; c != nil {
		return s.arguments(c, e)
	}
	s.ev = *e
	if s.ev.ItemID != "" {
		s.ev.ItemID = s.renamed(e.ItemID)
		s.ev.OutputIndex = s.place(e.OutputIndex)
	}
	return s.emit(&s.ev)
}

func (s *Splice) opening(e *responses.Event) error {
	switch {
	case s.first == nil:
		s.first = e.Response
	case e.Type == responses.EventCreated || s.told || len(s.output) > 0:
		return nil
	}
	s.told = s.told || e.Type == responses.EventInProgress
	return s.emit(e)
}

// unpend emits what was put before there was a response.
func (s *Splice) unpend() error {
	pending := s.pending
	s.pending = nil
	for i := range pending {
		if err := s.put(pending[i]); err != nil {
			return err
		}
	}
	return nil
}

// place is the client's index of an item of the turn.
func (s *Splice) place(index int) int {
	at, ok := s.index[index]
	if !ok {
		at = len(s.output)
		s.index[index] = at
		s.output = append(s.output, responses.Item{})
	}
	return at
}

// renamed is the client's id of an item of the turn: upstreams may use an id again
// in the next.
func (s *Splice) renamed(id string) string {
	if to, ok := s.renames[id]; ok {
		return to
	}
	return id
}

func (s *Splice) name(item *responses.Item) {
	to := item.ID
	if s.ids[to] {
		prefix := prefixes[item.Type]
		if prefix == "" {
			prefix = "item_"
		}
		to = s.o.newID(prefix)
		s.renames[item.ID] = to
	}
	s.ids[to] = true
}

// shown is an item as the client is to see it.
func (s *Splice) shown(item responses.Item) responses.Item {
	item.ID = s.renamed(item.ID)
	if item.Type == "reasoning" && (!s.keep || s.chat && isOurs(item.EncryptedContent)) {
		item.EncryptedContent = ""
	}
	return item
}

func (s *Splice) added(e *responses.Event) error {
	if e.Item.Type == "function_call" && e.Item.Namespace == "" {
		if tool, ok := s.tool(e.Item.Name); ok {
			return s.announce(e, tool)
		}
	}
	s.name(e.Item)
	item := s.shown(*e.Item)
	at := s.place(e.OutputIndex)
	s.output[at] = item
	return s.send(responses.Event{Type: e.Type, OutputIndex: at, Item: &item})
}

func (s *Splice) send(e responses.Event) error {
	s.ev = e
	return s.emit(&s.ev)
}

// announce tells the client of a call of a tool of the gateway.
func (s *Splice) announce(e *responses.Event, tool HostedTool) error {
	c := &HostedCall{HostedTool: tool, Call: *e.Item}
	s.calls[e.Item.ID] = c
	s.order = append(s.order, c)
	if tool.Approve {
		return nil
	}
	c.index = s.place(e.OutputIndex)
	return s.begin(c)
}

func (s *Splice) begin(c *HostedCall) error {
	c.item = responses.Item{
		Type: "mcp_call", ID: s.o.newID(prefixes["mcp_call"]), Status: responses.InProgress, Name: c.Name, ServerLabel: c.Server,
		Arguments: responses.String(""), Output: responses.Raw(null), Error: null, Unknown: noApproval,
	}
	s.output[c.index] = c.item
	item := c.item
	if err := s.send(responses.Event{Type: responses.EventItemAdded, OutputIndex: c.index, Item: &item}); err != nil {
		return err
	}
	return s.step(eventCallInProgress, c.index, c.item.ID, "")
}

var (
	null       = jsontext.Value("null")
	noApproval = jsontext.Value(`{"approval_request_id":null}`)
)

// step emits an event that names an item, with further members as JSON.
func (s *Splice) step(typ string, index int, id, more string) error {
	return s.send(responses.Event{
		Type: typ, OutputIndex: index, ItemID: id, Raw: jsontext.Value(`{"item_id":"","output_index":0` + more + `}`),
	})
}

func (s *Splice) arguments(c *HostedCall, e *responses.Event) error {
	if c.Approve {
		return nil
	}
	switch e.Type {
	case responses.EventArgumentsDelta:
		return s.step(eventCallArguments, c.index, c.item.ID, string(appendQuoted([]byte(`,"delta":`), e.Delta)))
	case responses.EventArgumentsDone:
		return s.step(eventCallWhole, c.index, c.item.ID, string(appendQuoted([]byte(`,"arguments":`), e.Arguments)))
	}
	return nil
}

func (s *Splice) done(e *responses.Event) error {
	if c := s.calls[e.Item.ID]; c != nil {
		c.Call = *e.Item
		return nil // it is done when it has run
	}
	item := s.shown(*e.Item)
	at := s.place(e.OutputIndex)
	s.output[at] = item
	return s.send(responses.Event{Type: e.Type, OutputIndex: at, Item: &item})
}

// Turn tells what the upstream said in the turn that has ended.
func (s *Splice) Turn() SplicedTurn {
	if s.last == nil {
		return SplicedTurn{}
	}
	s.usage = addUsage(s.usage, s.last.Usage)
	t := SplicedTurn{Response: s.last, Calls: s.order}
	for i := range s.last.Output {
		it := &s.last.Output[i]
		if c := s.calls[it.ID]; c != nil {
			c.Call = *it
			continue
		}
		if isCall(it.Type) || clientTools[it.Type] || it.Type == "tool_search_call" && it.Execution == "client" {
			t.Theirs = true
		}
		if at, ok := s.index[i]; ok {
			s.output[at] = s.shown(*it) // of a response that failed, as far as it came
		}
	}
	return t
}

// Ran tells the client how a call ended. output is what the tool said; failure is
// the item's error, nil if there was none.
func (s *Splice) Ran(c *HostedCall, output string, failure jsontext.Value) error {
	c.item.Arguments = responses.String(c.Call.Arguments.JSON())
	c.item.Status, c.item.Output = responses.Completed, responses.String(output)
	typ := eventCallCompleted
	if failure != nil {
		c.item.Status, c.item.Output, c.item.Error = responses.Failed, responses.Raw(null), failure
		typ = eventCallFailed
	}
	if err := s.step(typ, c.index, c.item.ID, ""); err != nil {
		return err
	}
	return s.close(c)
}

// Drop tells the client that a call was not run.
func (s *Splice) Drop(c *HostedCall) error {
	if c.Approve {
		return nil
	}
	c.item.Arguments, c.item.Status = responses.String(c.Call.Arguments.JSON()), responses.Incomplete
	return s.close(c)
}

func (s *Splice) close(c *HostedCall) error {
	s.output[c.index] = c.item
	item := c.item
	return s.send(responses.Event{Type: responses.EventItemDone, OutputIndex: c.index, Item: &item})
}

// Put adds a whole item of the gateway's own to the response. An mcp_call has been
// run. Before the first turn it waits until the upstream has begun to answer.
func (s *Splice) Put(item responses.Item) error {
	if s.first == nil {
		s.pending = append(s.pending, item)
		return nil
	}
	return s.put(item)
}

func (s *Splice) put(item responses.Item) error {
	at := len(s.output)
	s.output = append(s.output, item)
	opening := item
	var steps [][2]string
	switch item.Type {
	case "mcp_call":
		opening.Status, opening.Arguments = responses.InProgress, responses.String("")
		opening.Output, opening.Error = responses.Raw(null), null
		args := item.Arguments.JSON()
		last := eventCallCompleted
		if item.Status == responses.Failed {
			last = eventCallFailed
		}
		steps = [][2]string{
			{eventCallInProgress, ""},
			{eventCallArguments, string(appendQuoted([]byte(`,"delta":`), args))},
			{eventCallWhole, string(appendQuoted([]byte(`,"arguments":`), args))},
			{last, ""},
		}
	case "mcp_list_tools":
		opening.Unknown = jsontext.Value(`{"tools":[]}`)
		steps = [][2]string{{eventListing, ""}, {eventListed, ""}}
	}
	if err := s.send(responses.Event{Type: responses.EventItemAdded, OutputIndex: at, Item: &opening}); err != nil {
		return err
	}
	for _, step := range steps {
		if err := s.step(step[0], at, item.ID, step[1]); err != nil {
			return err
		}
	}
	return s.send(responses.Event{Type: responses.EventItemDone, OutputIndex: at, Item: &item})
}

// Finish emits the terminal event: that of the last turn, for all of them. With
// cause the response failed.
func (s *Splice) Finish(cause *Error) error {
	r := responses.Response{Object: "response", Status: responses.Failed}
	switch {
	case s.last != nil:
		r = *s.last
	case s.first != nil:
		r = *s.first
	}
	if s.first != nil {
		r.ID, r.CreatedAt, r.Model = s.first.ID, s.first.CreatedAt, s.first.Model
	}
	if cause != nil {
		r.Status, r.Error = responses.Failed, responseError(cause)
		r.CompletedAt, r.IncompleteDetails = nil, nil
	}
	if err := s.unpend(); err != nil {
		return err
	}
	r.Output, r.Usage = s.output, s.usage
	for i := range r.Output {
		if it := &r.Output[i]; it.Status == responses.InProgress {
			it.Status = responses.Incomplete
		}
	}
	return s.send(responses.Event{Type: terminalOf(r.Status), Response: &r})
}

// Stop makes the response one that ran out of tokens, with what there is.
func (s *Splice) Stop() {
	r := *s.last
	r.Status, r.CompletedAt = responses.Incomplete, nil
	r.IncompleteDetails = &responses.IncompleteDetails{Reason: "max_output_tokens"}
	s.last = &r
}

// Usage is what the turns have used so far, nil if no upstream has said.
func (s *Splice) Usage() *responses.Usage { return s.usage }

// addUsage adds up what two turns have used.
func addUsage(a, b *responses.Usage) *responses.Usage {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	sum := *a
	sum.InputTokens += b.InputTokens
	sum.InputTokensDetails.CachedTokens += b.InputTokensDetails.CachedTokens
	sum.InputTokensDetails.CacheWriteTokens += b.InputTokensDetails.CacheWriteTokens
	sum.OutputTokens += b.OutputTokens
	sum.OutputTokensDetails.ReasoningTokens += b.OutputTokensDetails.ReasoningTokens
	sum.TotalTokens += b.TotalTokens
	sum.Unknown = b.Unknown
	return &sum
}

// MCPCall is the item of a call that the gateway has run on the client's approval.
func MCPCall(o Options, tool HostedTool, arguments, output string, failure jsontext.Value, approval string) responses.Item {
	item := responses.Item{
		Type: "mcp_call", ID: o.newID(prefixes["mcp_call"]), Status: responses.Completed, Name: tool.Name, ServerLabel: tool.Server,
		Arguments: responses.String(arguments), Output: responses.String(output), Error: null,
	}
	if failure != nil {
		item.Status, item.Output, item.Error = responses.Failed, responses.Raw(null), failure
	}
	item.Unknown, _ = json.Marshal(map[string]string{"approval_request_id": approval})
	return item
}

// MCPResult is what an mcp_call came to, as text for the model.
func MCPResult(it *responses.Item) string {
	if text := it.Output.JSON(); !it.Output.IsZero() && text != "null" {
		return text
	}
	if !isSet(it.Error) {
		return "(no output)"
	}
	var e struct { // a text in older versions of the API
		Message string           `json:"message"`
		Content []responses.Part `json:"content"`
	}
	var text string
	switch {
	case json.Unmarshal(it.Error, &text, lenient) == nil:
		return "Error: " + text
	case json.Unmarshal(it.Error, &e, lenient) != nil || e.Message == "" && len(e.Content) == 0:
		return "Error: " + string(it.Error)
	case e.Message != "" && !strings.HasPrefix(e.Message, "Error: "):
		return "Error: " + e.Message
	}
	return e.Message + joinParts(e.Content)
}
