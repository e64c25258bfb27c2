package convert

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// call adds a tool call to the open turn.
func (x *itemReader) call(at string, it *responses.Item, c chat.ToolCall) error {
	if it.CallID == "" {
		return missing(at + ".call_id")
	}
	if earlier := x.owner[it.CallID]; earlier != nil && earlier.outputs[it.CallID] == nil {
		return invalid("invalid_value", at+".call_id", "Duplicate tool call id '%s': the earlier call has no output yet.", it.CallID)
	}
	if it.ID != "" {
		x.byItem[it.ID] = it.CallID
	}
	t := x.need()
	c.ID = it.CallID
	t.calls = append(t.calls, c)
	x.owner[it.CallID] = t
	name := ""
	if c.Function != nil {
		name = c.Function.Name
	} else {
		name = c.Custom.Name
	}
	x.names[c.ID] = name
	x.byName[name] = append(x.byName[name], c.ID)
	return nil
}

func function(name, arguments string) chat.ToolCall {
	return chat.ToolCall{Type: "function", Function: &chat.FunctionCall{Name: name, Arguments: chat.Arguments(orEmptyObject(arguments))}}
}

func (x *itemReader) functionCall(at string, it *responses.Item) error {
	if it.Name == "" {
		return missing(at + ".name")
	}
	return x.call(at, it, function(upstreamName(it.Namespace, it.Name), it.Arguments.JSON()))
}

func (x *itemReader) customCall(at string, it *responses.Item) error {
	if it.Name == "" {
		return missing(at + ".name")
	}
	input := ""
	if it.Input != nil {
		input = *it.Input
	}
	name := upstreamName(it.Namespace, it.Name)
	if x.d.Custom {
		return x.call(at, it, chat.ToolCall{Type: "custom", Custom: &chat.CustomCall{Name: name, Input: input}})
	}
	return x.call(at, it, function(name, wrapInput(input)))
}

// wrapInput makes the arguments of the function that stands for a custom tool:
// the same bytes each time, so that prompt caches match.
func wrapInput(input string) string {
	return string(append(appendQuoted([]byte(`{"input":`), input), '}'))
}

// toolSearchCall: a search without a call_id ran at OpenAI; only its output
// counts, which has what was found.
func (x *itemReader) toolSearchCall(at string, it *responses.Item) error {
	if it.CallID == "" && it.Execution == "server" {
		return nil
	}
	return x.call(at, it, function("tool_search", it.Arguments.JSON()))
}

func (x *itemReader) localShellCall(at string, it *responses.Item) error {
	if it.Action.Kind() != '{' {
		return missing(at + ".action")
	}
	return x.call(at, it, function("local_shell", without(it.Action, "type")))
}

func (x *itemReader) shellCall(at string, it *responses.Item) error {
	if it.Action.Kind() != '{' {
		return missing(at + ".action")
	}
	return x.call(at, it, function("shell", string(it.Action)))
}

func (x *itemReader) applyPatchCall(at string, it *responses.Item) error {
	if it.Operation.Kind() != '{' {
		return missing(at + ".operation")
	}
	return x.call(at, it, function("apply_patch", `{"operation":`+string(it.Operation)+`}`))
}

// without is a JSON object without one of its members.
func without(object jsontext.Value, drop string) string {
	b := []byte{'{'}
	for name, value := range eachMember(object) {
		if name == drop {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), value...)
	}
	return string(append(b, '}'))
}

func (x *itemReader) callOutput(at string, it *responses.Item) error {
	id := it.CallID
	if id == "" && it.Name != "" {
		id = x.openCall(upstreamName(it.Namespace, it.Name))
	}
	if id == "" {
		return missing(at + ".call_id")
	}
	out, err := x.output(at, it)
	if err != nil {
		return err
	}
	return x.attach(at, outputWords[it.Type], id, out)
}

// outputWords are what OpenAI's error messages call the calls.
var outputWords = map[string]string{
	"function_call_output": "function call", "custom_tool_call_output": "custom tool call",
	"shell_call_output": "shell call", "apply_patch_call_output": "apply patch call",
}

// openCall is the last call of a function that has no output, or "".
func (x *itemReader) openCall(name string) string {
	ids := x.byName[name]
	for len(ids) > 0 {
		id := ids[len(ids)-1]
		if x.owner[id].outputs[id] == nil {
			return id
		}
		ids = ids[:len(ids)-1]
		x.byName[name] = ids // it is never open again
	}
	return ""
}

// attach gives a call its output, wherever the call stands.
func (x *itemReader) attach(at, word, id string, out *output) error {
	t := x.owner[id]
	if t == nil {
		return invalid("", at, "No tool call found for %s output with call_id %s. Send the call before it, in 'input'.", word, id)
	}
	if t.outputs == nil {
		t.outputs = map[string]*output{}
	}
	t.outputs[id] = out
	return nil
}

func (x *itemReader) output(at string, it *responses.Item) (*output, error) {
	if it.Output.IsText() || it.Output.IsZero() {
		out := &output{text: it.Output.Text}
		switch {
		case out.text != "":
		case it.Type == "apply_patch_call_output":
			out.text = it.Status // it may have nothing else
		case it.Output.IsZero():
			return nil, missing(at + ".output")
		}
		return out, nil
	}
	if it.Type == "shell_call_output" || it.Output.Raw.Kind() != '[' {
		return &output{text: string(it.Output.Raw)}, nil
	}
	var parts []responses.Part
	if err := json.Unmarshal(it.Output.Raw, &parts); err != nil {
		return nil, invalid("invalid_type", at+".output", "Invalid type for '%s.output': expected a string or an array of content parts.", at)
	}
	out := &output{}
	var texts []string
	for j := range parts {
		here := element(at+".output", j)
		p, err := x.part(here, &parts[j])
		if err != nil {
			return nil, err
		}
		if p.Type == "text" {
			if p.CacheBreakpoint != nil {
				if err := x.report.hint(x.o, here+".prompt_cache_breakpoint", "the output's texts are joined"); err != nil {
					return nil, err
				}
			}
			texts = append(texts, p.Text)
			continue
		}
		out.attached = append(out.attached, p)
	}
	out.text = strings.Join(texts, "\n")
	if len(texts) == 0 && len(out.attached) > 0 {
		out.text = "[see attached file]"
		if out.attached[0].Type == "image_url" {
			out.text = "[see attached image]"
		}
	}
	return out, nil
}

// localShellOutput pairs by id: the item has no call_id.
func (x *itemReader) localShellOutput(at string, it *responses.Item) error {
	id := it.CallID
	if id == "" {
		id = it.ID
	}
	if x.owner[id] == nil && x.byItem[id] != "" {
		id = x.byItem[id]
	}
	return x.attach(at, "local shell call", id, &output{text: it.Output.JSON()})
}

// toolSearchOutput hands the tools that were found to the model: their names in
// the answer to its call, and themselves among the request's tools.
func (x *itemReader) toolSearchOutput(at string, it *responses.Item) error {
	if err := x.tools.add(at+".tools", it.Tools); err != nil {
		return err
	}
	type found struct {
		Name        string `json:"name"`
		Description string `json:"description,omitzero"`
	}
	list := []found{}
	var collect func(namespace string, tools []responses.Tool)
	collect = func(namespace string, tools []responses.Tool) {
		for _, t := range tools {
			if t.Type == "namespace" {
				collect(t.Name, t.Tools)
				continue
			}
			list = append(list, found{upstreamName(namespace, t.Name), t.Description})
		}
	}
	collect("", it.Tools)
	text, err := json.Marshal(list)
	if err != nil {
		return invalid("invalid_value", at+".tools", "Invalid '%s.tools': %v.", at, err)
	}
	id := it.CallID
	if id == "" {
		id = x.openCall("tool_search")
	}
	if id == "" {
		return nil // the search ran at OpenAI; only its result counts
	}
	return x.attach(at, "tool search call", id, &output{text: string(text)})
}

func (x *itemReader) additionalTools(at string, it *responses.Item) error {
	return x.tools.add(at+".tools", it.Tools)
}

func (x *itemReader) configurationUpdate(at string, it *responses.Item) error {
	if r := it.Reasoning; r != nil {
		if r.Effort != "" {
			x.effort = r.Effort
		}
		if err := strays[responses.Reasoning](x.report, x.o, at+".reasoning", r.Unknown); err != nil {
			return err
		}
	}
	if t := it.Text; t != nil {
		if t.Format != nil {
			x.format = t.Format
		}
		return strays[responses.TextConfig](x.report, x.o, at+".text", t.Unknown)
	}
	return nil
}

// mcpCall is both halves of a call that a server ran.
func (x *itemReader) mcpCall(at string, it *responses.Item) error {
	c := *it
	if c.CallID == "" {
		c.CallID = it.ID
	}
	if c.CallID == "" {
		return missing(at + ".id")
	}
	if it.Name == "" {
		return missing(at + ".name")
	}
	if err := x.call(at, &c, function(upstreamName("mcp__"+it.ServerLabel, it.Name), it.Arguments.JSON())); err != nil {
		return err
	}
	return x.attach(at, "MCP call", c.CallID, &output{text: MCPResult(it)})
}

func (x *itemReader) reference(at string, it *responses.Item) error {
	return &Error{Status: 404, Type: "invalid_request_error", Param: at, Message: "Item with id '" + it.ID + "' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."}
}

// agentMessage is a task that another agent gives, in Codex's multi-agent mode.
func (x *itemReader) agentMessage(at string, it *responses.Item) error {
	if it.Content.IsZero() || joinParts(it.Content.Parts)+it.Content.Text == "" {
		return invalid("unsupported_value", at, "Unsupported value: '%s' is an agent_message whose text is encrypted for OpenAI's servers. Run the agent that sent it through this gateway too.", at)
	}
	m := *it
	m.Type, m.Role = "message", "user"
	return x.message(at, &m)
}

func (x *itemReader) drop(at string, it *responses.Item) error {
	return x.report.hint(x.o, at, "the upstream does not know what "+it.Type+" is")
}
