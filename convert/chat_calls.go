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
	args []byte

	ref    toolRef
	open   bool // its item has been announced
	closed bool
	index  int
	itemID string
	callID string

	extra  jsontext.Value // what must come back with the call
	unwrap unwrapper      // of a wrapped custom tool
}

// toolCall takes a piece of a tool call and finds the call that it belongs to.
func (s *chatStream) toolCall(d *chat.CallDelta) error {
	name, args := "", ""
	switch {
	case d.Function != nil:
		name = d.Function.Name
		args = d.Function.Arguments.JSON() // Google and TGI send the object
	case d.Custom != nil:
		name, args = d.Custom.Name, d.Custom.Input
	}
	c := s.findCall(d, name)
	if c.id == "" {
		c.id = d.ID
	}
	if c.name == "" {
		c.name = name
	}
	if isSet(d.ExtraContent) {
		c.extra = d.ExtraContent
	}
	if c.name == "" {
		c.args = append(c.args, args...)
		return nil
	}
	if !c.open {
		if err := s.openCall(c); err != nil {
			return err
		}
		args = string(c.args) + args
		c.args = c.args[:0]
	}
	return s.callArgs(c, args)
}

// findCall finds the call of a piece, or begins a new one. An index alone does
// not tell: Ollama and Gemini give all calls of an answer the same one, or none;
// others repeat or change the id.
func (s *chatStream) findCall(d *chat.CallDelta, name string) *call {
	var sameIndex *call
	for _, c := range s.calls {
		moved := d.Index != nil && c.at != nil && *d.Index != *c.at
		if d.ID != "" && c.id == d.ID && !(moved && name != "" && c.name != "") {
			return c
		}
		if d.Index != nil && c.at != nil && *c.at == *d.Index {
			sameIndex = c
		}
	}
	last := len(s.calls) - 1
	switch {
	case d.ID != "":
		if sameIndex != nil && (sameIndex.id == "" || name == "") {
			return sameIndex
		}
	case d.Index != nil:
		if sameIndex != nil && (name == "" || sameIndex.name == "" || !jsontext.Value(sameIndex.args).IsValid()) {
			return sameIndex
		}
	case name == "" && last >= 0:
		return s.calls[last]
	}
	c := &call{at: d.Index}
	s.calls = append(s.calls, c)
	return c
}

// openCall announces a call, if its kind can be streamed.
func (s *chatStream) openCall(c *call) error {
	s.hold = ""
	c.ref = s.names.tool(c.name)
	c.callID = c.id
	if c.callID == "" || s.hasCallID(c) {
		c.callID = s.o.newID("call_")
	}
	if err := s.closeBefore(c); err != nil {
		return err
	}
	c.open = true
	switch {
	case c.name == parallelName && c.ref.kind == kindFunction && !s.names.has(c.name):
		return nil // told at the end, as the calls that it holds
	case c.ref.kind == kindFunction:
		return s.announce(c, "fc_", s.functionItem(c, responses.InProgress, ""))
	case c.ref.kind == kindCustom || c.ref.kind == kindNative:
		return s.announce(c, "ctc_", s.customItem(c, responses.InProgress, ""))
	}
	return nil // its item needs the whole arguments
}

func (n *Names) has(name string) bool {
	if n == nil {
		return false
	}
	_, ok := n.byFlat[name]
	return ok
}

func (s *chatStream) hasCallID(c *call) bool {
	for _, other := range s.calls {
		if other != c && other.callID == c.callID {
			return true
		}
	}
	return false
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
		r := &reasoningItem{id: s.o.newID("rs_"), index: s.outputs}
		if err := s.addItem(&responses.Item{Type: "reasoning", ID: r.id, Summary: []responses.Part{}}); err != nil {
			return err
		}
		s.think = r
	}
	return s.closeReasoning(extra)
}

func (s *chatStream) announce(c *call, prefix string, item *responses.Item) error {
	c.itemID = s.o.newID(prefix)
	c.index = s.outputs
	item.ID = c.itemID
	return s.addItem(item)
}

func (s *chatStream) functionItem(c *call, status, args string) *responses.Item {
	item := &responses.Item{
		Type: "function_call", ID: c.itemID, Status: status, CallID: c.callID,
		Name: c.ref.name, Namespace: c.ref.namespace, Arguments: responses.String(args),
	}
	if c.ref.plainArgs {
		item.EncryptedFunctionArgs = []string{}
	}
	return item
}

func (s *chatStream) customItem(c *call, status, input string) *responses.Item {
	return &responses.Item{
		Type: "custom_tool_call", ID: c.itemID, Status: status, CallID: c.callID,
		Name: c.ref.name, Namespace: c.ref.namespace, Input: &input,
	}
}

// callArgs takes a piece of a call's arguments.
func (s *chatStream) callArgs(c *call, args string) error {
	if args == "" || c.closed {
		return nil
	}
	c.args = append(c.args, args...)
	if c.itemID == "" {
		return nil
	}
	switch c.ref.kind {
	case kindFunction:
		return s.send(responses.Event{Type: responses.EventArgumentsDelta, ItemID: c.itemID, OutputIndex: c.index, Delta: args})
	case kindNative:
		return s.send(responses.Event{Type: responses.EventInputDelta, ItemID: c.itemID, OutputIndex: c.index, Delta: args})
	}
	piece := c.unwrap.feed(args)
	if piece == "" {
		return nil
	}
	return s.send(responses.Event{Type: responses.EventInputDelta, ItemID: c.itemID, OutputIndex: c.index, Delta: piece})
}

// closeCall completes a call at the end of the stream.
func (s *chatStream) closeCall(c *call, incomplete bool) error {
	if c.closed {
		return nil
	}
	c.closed = true
	if !c.open { // a call that never got a name
		c.name = "unknown_tool"
		if err := s.openCall(c); err != nil {
			return err
		}
	}
	switch c.ref.kind {
	case kindFunction:
		if c.itemID == "" {
			return s.expandParallel(c, incomplete)
		}
		return s.closeFunction(c, incomplete)
	case kindCustom, kindNative:
		return s.closeCustom(c, incomplete)
	}
	return s.closeEmulated(c, incomplete)
}

func (s *chatStream) closeFunction(c *call, incomplete bool) error {
	args := string(c.args)
	if strings.TrimSpace(args) == "" && !incomplete {
		args = "{}"
		if err := s.send(responses.Event{Type: responses.EventArgumentsDelta, ItemID: c.itemID, OutputIndex: c.index, Delta: args}); err != nil {
			return err
		}
	}
	if err := s.send(responses.Event{Type: responses.EventArgumentsDone, ItemID: c.itemID, OutputIndex: c.index, Arguments: args}); err != nil {
		return err
	}
	return s.itemDone(c.index, s.functionItem(c, status(incomplete), args))
}

func (s *chatStream) closeCustom(c *call, incomplete bool) error {
	input := string(c.args)
	if c.ref.kind == kindCustom {
		rest := ""
		input, rest = c.unwrap.finish(input)
		if rest != "" {
			if err := s.send(responses.Event{Type: responses.EventInputDelta, ItemID: c.itemID, OutputIndex: c.index, Delta: rest}); err != nil {
				return err
			}
		}
	}
	if err := s.send(responses.Event{Type: responses.EventInputDone, ItemID: c.itemID, OutputIndex: c.index, Input: input}); err != nil {
		return err
	}
	return s.itemDone(c.index, s.customItem(c, status(incomplete), input))
}

// closeEmulated tells of a call whose item has structured members. Arguments
// that are not the object asked for make a plain function call, which the
// client will refuse with a better message than this program could.
func (s *chatStream) closeEmulated(c *call, incomplete bool) error {
	args := jsontext.Value(orEmptyObject(string(c.args)))
	item := responses.Item{Status: status(incomplete), CallID: c.callID}
	prefix := ""
	ok := args.IsValid() && args.Kind() == '{'
	if ok {
		ok = args.Compact() == nil
	}
	switch c.ref.kind {
	case kindToolSearch:
		item.Type, prefix = "tool_search_call", "tsc_"
		item.Execution, item.Arguments = "client", responses.Raw(args)
	case kindLocalShell:
		item.Type, prefix = "local_shell_call", "lsh_"
		item.Action = localShellAction(args)
	case kindShell:
		item.Type, prefix = "shell_call", "sh_"
		item.Action = shellAction(args)
	case kindApplyPatch:
		item.Type, prefix = "apply_patch_call", "apc_"
		var patch struct {
			Operation jsontext.Value `json:"operation"`
		}
		ok = ok && json.Unmarshal(args, &patch, lenient) == nil && patch.Operation.Kind() == '{'
		item.Operation = patch.Operation
	}
	if !ok {
		if err := s.announce(c, "fc_", s.functionItem(c, responses.InProgress, "")); err != nil {
			return err
		}
		return s.closeFunction(c, incomplete)
	}
	opening := item
	opening.Status = responses.InProgress
	if err := s.announce(c, prefix, &opening); err != nil {
		return err
	}
	item.ID = c.itemID
	return s.itemDone(c.index, &item)
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
		if err := s.announce(c, "fc_", s.functionItem(c, responses.InProgress, "")); err != nil {
			return err
		}
		return s.closeFunction(c, incomplete)
	}
	for _, u := range wrapper.ToolUses {
		inner := &call{name: strings.TrimPrefix(u.RecipientName, "functions.")}
		s.calls = append(s.calls, inner) // so that its id is unique
		if err := s.openCall(inner); err != nil {
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
