package convert

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// call is a tool call that a Chat stream is telling of.
type call struct {
	at   *int // the upstream's index, if it gave one
	id   string
	name string
	args []byte // what cannot be passed on as it comes
	json jsonEnd

	ref    toolRef
	native bool // the upstream sent a custom tool's call
	begun  bool // its name is known, and what comes of it
	closed bool
	callID string
	rung   *rung // nil for a call that is told of at the end

	extra  jsontext.Value // what must come back with the call
	unwrap unwrapper      // of a wrapped custom tool
}

// callList are the calls of an answer, in the order in which they began.
type callList struct {
	list    []*call
	byID    map[string]*call
	byIndex map[int]*call // the last call with that index
	callIDs map[string]bool
}

func (l *callList) add(index *int) *call {
	if l.byID == nil {
		l.byID, l.byIndex, l.callIDs = map[string]*call{}, map[int]*call{}, map[string]bool{}
	}
	c := &call{}
	if index != nil {
		at := *index
		c.at = &at
		l.byIndex[at] = c
	}
	l.list = append(l.list, c)
	return c
}

// piece is what a delta says of a call.
type piece struct {
	index    *int
	id, name string
	args     string
	native   bool
}

// toolCall takes a piece of a tool call and finds the call that it belongs to.
func (s *chatStream) toolCall(d *chat.CallDelta) error {
	p := piece{index: d.Index, id: d.ID}
	switch {
	case d.Function != nil:
		p.name, p.args = d.Function.Name, d.Function.Arguments.JSON() // Google and TGI send the object
	case d.Custom != nil:
		p.name, p.args, p.native = d.Custom.Name, d.Custom.Input, true
	case d.ID == "":
		return nil // says nothing
	}
	before := len(s.calls.list)
	c := s.calls.find(&p)
	if len(s.calls.list) > before && !s.l.keep(callWeight+len(p.id)+len(p.name)) {
		return nil
	}
	if c.id == "" && p.id != "" {
		c.id = p.id
		s.calls.byID[p.id] = c
	}
	if c.name == "" {
		c.name = p.name
	}
	c.native = c.native || p.native
	if isSet(d.ExtraContent) {
		c.extra = d.ExtraContent
	}
	c.json.feed(p.args)
	if c.name == "" {
		s.keepArgs(c, p.args)
		return nil
	}
	if !c.begun {
		if err := s.begin(c); err != nil {
			return err
		}
	}
	return s.callArgs(c, p.args)
}

// find finds the call of a piece, or begins a new one. An index alone does not
// tell: Ollama and Gemini give all calls of an answer the same one, or none;
// others repeat or change the id.
func (l *callList) find(p *piece) *call {
	var at, last *call
	if len(l.list) > 0 {
		last = l.list[len(l.list)-1]
		at = last
	}
	if p.index != nil {
		at = l.byIndex[*p.index]
	}
	if c := l.byID[p.id]; c != nil && p.id != "" {
		moved := p.index != nil && c.at != nil && *p.index != *c.at
		if p.name == "" || c.name == "" || !moved && !c.whole(p) {
			return c
		}
		return l.add(p.index) // two calls under one id
	}
	switch {
	case at == nil:
	case p.name == "": // more of it, whatever its id: some servers make a new one for each piece
		return at
	case p.index == nil: // Gemini sends whole calls
	case at.name == "" && (at.id == "" || p.id == ""):
		return at // its name comes late
	case at.name != p.name || at.whole(p):
	case p.id == "" || at.id == "":
		return at // the name is repeated
	}
	return l.add(p.index)
}

// whole tells that a call has all its arguments, and that a piece with a name
// has some for another.
func (c *call) whole(p *piece) bool { return c.json.ended() && p.args != "" && !p.native }

// begin decides what comes of a call, when its name is known, and announces it if
// its kind can be streamed. A call id is made now where there is none: it must
// not change.
func (s *chatStream) begin(c *call) error {
	c.begun = true
	s.dropHold()
	c.ref = s.names.tool(c.name)
	switch {
	case c.native && c.ref.kind == kindFunction:
		c.ref.kind = kindNative // a custom tool that was not declared
	case !c.native && c.ref.kind == kindNative:
		c.ref.kind = kindCustom // a server that has made a function of it
	}
	c.callID = c.id
	if c.callID == "" || s.calls.callIDs[c.callID] {
		c.callID = s.o.newID("call_")
	}
	s.calls.callIDs[c.callID] = true
	if err := s.closeBefore(c); err != nil {
		return err
	}
	var err error
	switch {
	case c.name == parallelName && c.ref.kind == kindFunction && !s.names.has(c.name): // it may hold other calls
	case c.ref.kind == kindFunction:
		c.rung, err = s.l.open(s.functionItem(c))
	case c.ref.kind == kindCustom || c.ref.kind == kindNative:
		c.rung, err = s.l.open(&responses.Item{Type: "custom_tool_call", CallID: c.callID, Name: c.ref.name, Namespace: c.ref.namespace})
	}
	if err != nil {
		return err
	}
	early := string(c.args)
	c.args = nil
	return s.callArgs(c, early)
}

func (n *Names) has(name string) bool {
	if n == nil {
		return false
	}
	_, ok := n.byFlat[name]
	return ok
}

// closeBefore closes the open message or reasoning. What a call must come back
// with is sealed into the reasoning before it, for clients that carry that.
func (s *chatStream) closeBefore(c *call) error {
	var extra map[string]jsontext.Value
	if c.extra != nil && s.seal {
		extra = map[string]jsontext.Value{c.callID: c.extra}
	}
	if err := s.closeText(false); err != nil {
		return err
	}
	if s.think == nil && extra != nil {
		if err := s.openReasoning(false); err != nil {
			return err
		}
	}
	return s.closeReasoning(extra)
}

func (s *chatStream) functionItem(c *call) *responses.Item {
	item := &responses.Item{Type: "function_call", CallID: c.callID, Name: c.ref.name, Namespace: c.ref.namespace}
	if c.ref.plainArgs {
		item.EncryptedFunctionArgs = []string{}
	}
	return item
}

// callArgs takes a piece of a call's arguments.
func (s *chatStream) callArgs(c *call, args string) error {
	if args == "" || c.closed {
		return nil
	}
	if c.rung == nil {
		s.keepArgs(c, args)
		return nil
	}
	if c.ref.kind != kindCustom {
		return s.l.arguments(c.rung, args)
	}
	input, inside := c.unwrap.feed(args)
	if !inside {
		s.keepArgs(c, args)
	}
	return s.l.arguments(c.rung, input)
}

// keepArgs keeps arguments that cannot be passed on yet.
func (s *chatStream) keepArgs(c *call, args string) {
	if s.l.keep(len(args)) {
		c.args = append(c.args, args...)
	}
}

// closeCall completes a call at the end of the stream. incomplete tells that the
// answer broke off, perhaps in the middle of the call.
func (s *chatStream) closeCall(c *call, incomplete bool) error {
	if c.closed {
		return nil
	}
	if !c.begun { // a call that never got a name
		c.name = "unknown_tool"
		if err := s.begin(c); err != nil {
			return err
		}
	}
	// A call that was cut in its arguments is not to be run, whatever the reason for the end says.
	incomplete = incomplete && (!c.json.ended() || c.ref.kind == kindNative) || c.cut()
	var err error
	switch {
	case c.ref.kind == kindFunction && c.rung == nil:
		err = s.expandParallel(c, incomplete)
	case c.ref.kind == kindCustom:
		if err = s.l.arguments(c.rung, c.unwrap.rest(string(c.args))); err == nil {
			err = s.l.finish(c.rung, nil, status(incomplete))
		}
	case c.ref.kind == kindFunction || c.ref.kind == kindNative:
		err = s.l.finish(c.rung, nil, status(incomplete))
	default:
		err = s.closeEmulated(c, incomplete)
	}
	c.closed = true
	return err
}

// cut reports whether the arguments of a call are a piece of what they should be. None at all are those of a function
// without parameters, the input of a custom tool may be bare text, and what does not begin as JSON was not cut: the client
// says best what is wrong with it.
func (c *call) cut() bool {
	switch {
	case c.ref.kind == kindNative:
		return false
	case c.ref.kind == kindCustom:
		return c.unwrap.cut()
	}
	args := string(c.args)
	if c.rung != nil {
		args = c.rung.args.String()
	}
	args = strings.TrimSpace(args)
	return (strings.HasPrefix(args, "{") || strings.HasPrefix(args, "[")) && !jsontext.Value(args).IsValid(lenient)
}

// plainCall tells of a call as one of a function, when all of it is known.
func (s *chatStream) plainCall(c *call, incomplete bool) error {
	var err error
	if c.rung, err = s.l.open(s.functionItem(c)); err != nil {
		return err
	}
	if err := s.l.arguments(c.rung, string(c.args)); err != nil {
		return err
	}
	return s.l.finish(c.rung, nil, status(incomplete))
}

// closeEmulated tells of a call whose item has structured members. Arguments
// that are not the object asked for make a plain function call, which the
// client will refuse with a better message than this program could.
func (s *chatStream) closeEmulated(c *call, incomplete bool) error {
	args := jsontext.Value(orEmptyObject(string(c.args)))
	item := responses.Item{Status: status(incomplete), CallID: c.callID}
	ok := args.IsValid() && args.Kind() == '{'
	if ok {
		ok = args.Compact() == nil
	}
	switch c.ref.kind {
	case kindToolSearch:
		item.Type = "tool_search_call"
		item.Execution, item.Arguments = "client", responses.Raw(args)
	case kindLocalShell:
		item.Type = "local_shell_call"
		item.Action = localShellAction(args)
	case kindShell:
		item.Type = "shell_call"
		item.Action = shellAction(args)
	case kindApplyPatch:
		item.Type = "apply_patch_call"
		var patch struct {
			Operation jsontext.Value `json:"operation"`
		}
		ok = ok && json.Unmarshal(args, &patch, lenient) == nil && patch.Operation.Kind() == '{'
		item.Operation = patch.Operation
	}
	if !ok {
		return s.plainCall(c, incomplete)
	}
	return s.l.replay(&item)
}

func localShellAction(args jsontext.Value) jsontext.Value {
	rest := strings.TrimPrefix(without(args, "type"), "{")
	if !strings.Contains(rest, `"env":`) {
		rest = `"env":{}` + comma(rest) + rest
	}
	return jsontext.Value(`{"type":"exec"` + comma(rest) + rest)
}

// shellAction has all members that the API requires, null where not given.
func shellAction(args jsontext.Value) jsontext.Value {
	var a struct {
		Commands  jsontext.Value `json:"commands"`
		Timeout   jsontext.Value `json:"timeout_ms"`
		MaxOutput jsontext.Value `json:"max_output_length"`
	}
	if json.Unmarshal(args, &a, lenient) != nil || a.Commands == nil {
		return args
	}
	b := append(jsontext.Value(`{"commands":`), a.Commands...)
	b = append(append(b, `,"timeout_ms":`...), orNull(a.Timeout)...)
	b = append(append(b, `,"max_output_length":`...), orNull(a.MaxOutput)...)
	return append(b, '}')
}

func comma(rest string) string {
	if rest == "}" {
		return ""
	}
	return ","
}

// parallelName is a wrapper that OpenAI's models were trained on and sometimes
// call though nobody declared it.
const parallelName = "multi_tool_use.parallel"

// expandParallel turns the wrapper into the calls that it holds, if all of them
// are known.
func (s *chatStream) expandParallel(c *call, incomplete bool) error {
	var wrapper struct {
		ToolUses []struct {
			RecipientName string         `json:"recipient_name"`
			Parameters    jsontext.Value `json:"parameters"`
		} `json:"tool_uses"`
	}
	ok := json.Unmarshal(c.args, &wrapper, lenient) == nil && len(wrapper.ToolUses) > 0
	for _, u := range wrapper.ToolUses {
		ok = ok && s.names.has(strings.TrimPrefix(u.RecipientName, "functions."))
	}
	if !ok {
		return s.plainCall(c, incomplete)
	}
	for _, u := range wrapper.ToolUses {
		inner := &call{name: strings.TrimPrefix(u.RecipientName, "functions.")}
		inner.json.feed(string(u.Parameters))
		if err := s.begin(inner); err != nil {
			return err
		}
		if err := s.callArgs(inner, string(u.Parameters)); err != nil {
			return err
		}
		if err := s.closeCall(inner, incomplete); err != nil {
			return err
		}
	}
	return nil
}

// jsonEnd tells when a JSON object or array that comes in pieces is whole,
// looking at each byte once. It does not check what is between the brackets.
type jsonEnd struct {
	depth   int
	begun   bool
	text    bool // inside a string
	escaped bool // behind a backslash in it
}

func (j *jsonEnd) feed(s string) {
	for i := range len(s) {
		c := s[i]
		switch {
		case j.escaped:
			j.escaped = false
		case j.text:
			j.escaped = c == '\\'
			j.text = c != '"'
		case c == '"':
			j.text = true
		case c == '{' || c == '[':
			j.depth++
			j.begun = true
		case c == '}' || c == ']':
			j.depth--
		}
	}
}

func (j *jsonEnd) ended() bool { return j.begun && j.depth <= 0 && !j.text }
