package convert

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// itemReader groups input items into messages. One turn of the assistant is
// several items and one message; behind it come its tool messages, in the order
// of its calls, wherever the outputs stood in the list. Servers refuse anything
// else.
type itemReader struct {
	o      *Options
	d      *Dialect
	report *Report
	tools  *toolWriter

	steps   []step
	cur     *turn            // the assistant turn that is open, if any
	pending []string         // reasoning that belongs to the next turn
	owner   map[string]*turn // the turn of each call
	names   map[string]string
	byItem  map[string]string   // the call_id of each call item that has an id of its own
	byName  map[string][]string // the call_ids of each function, as they came
	// forgotten counts the reasoning items that the upstream has no place for.
	forgotten int
	// signatures are what calls carried that must come back with them.
	signatures map[string]jsontext.Value
	// effort and format are what configuration_update items ask for.
	effort string
	format *responses.TextFormat
}

// step is a message, or a turn of the assistant.
type step struct {
	message *chat.Message
	turn    *turn
}

// turn is one turn of the assistant.
type turn struct {
	texts     []string
	refusal   string
	reasoning []string
	calls     []chat.ToolCall
	outputs   map[string]*output
}

// output is what a tool call returned. Chat's tool messages carry only text, so
// images and files follow in a user message.
type output struct {
	text     string
	attached []chat.Part
}

// dropped are the items that are left out whole: what hosted tools did, which the
// text that follows has the result of, and what one of them offered.
var dropped = map[string]bool{
	"web_search_call": true, "file_search_call": true, "code_interpreter_call": true, "image_generation_call": true,
	"mcp_list_tools": true,
}

// itemKinds are the types of input items and what becomes of each.
var itemKinds map[string]func(x *itemReader, at string, it *responses.Item) error

func init() {
	itemKinds = map[string]func(x *itemReader, at string, it *responses.Item) error{
		"message":                 (*itemReader).message,
		"reasoning":               (*itemReader).reasoningItem,
		"function_call":           (*itemReader).functionCall,
		"custom_tool_call":        (*itemReader).customCall,
		"tool_search_call":        (*itemReader).toolSearchCall,
		"local_shell_call":        (*itemReader).localShellCall,
		"shell_call":              (*itemReader).shellCall,
		"apply_patch_call":        (*itemReader).applyPatchCall,
		"function_call_output":    (*itemReader).callOutput,
		"custom_tool_call_output": (*itemReader).callOutput,
		"shell_call_output":       (*itemReader).callOutput,
		"apply_patch_call_output": (*itemReader).callOutput,
		"local_shell_call_output": (*itemReader).localShellOutput,
		"tool_search_output":      (*itemReader).toolSearchOutput,
		"additional_tools":        (*itemReader).additionalTools,
		"configuration_update":    (*itemReader).configurationUpdate,
		"mcp_call":                (*itemReader).mcpCall,
		"mcp_list_tools":          func(*itemReader, string, *responses.Item) error { return nil }, // a listing, not history
		"item_reference":          (*itemReader).reference,
		"agent_message":           (*itemReader).agentMessage,

		// What hosted tools did; the text that follows holds what came of it.
		"web_search_call":       (*itemReader).drop,
		"file_search_call":      (*itemReader).drop,
		"code_interpreter_call": (*itemReader).drop,
		"image_generation_call": (*itemReader).drop,

		"computer_call":           refuse("the upstream cannot use a computer"),
		"computer_call_output":    refuse("the upstream cannot use a computer"),
		"mcp_approval_request":    refuse("the upstream runs no MCP tools"),
		"mcp_approval_response":   refuse("the upstream runs no MCP tools"),
		"compaction":              refuse("only the server that made it can read it; start from the conversation itself"),
		"compaction_trigger":      refuse("the upstream cannot compact a conversation"),
		"program":                 refuse("the upstream cannot run programs"),
		"program_output":          refuse("the upstream cannot run programs"),
		"multi_agent_call":        refuse("the upstream runs no other agents"),
		"multi_agent_call_output": refuse("the upstream runs no other agents"),
	}
}

func refuse(why string) func(*itemReader, string, *responses.Item) error {
	return func(_ *itemReader, at string, it *responses.Item) error {
		return invalid("unsupported_value", at, "Unsupported value: an item of type '%s' cannot be carried over to Chat Completions: %s.", it.Type, why)
	}
}

func (x *itemReader) read(items []responses.Item) error {
	x.steps = make([]step, 0, len(items))
	for i := range items {
		at := "input"
		if i >= x.o.past {
			at = element("input", i-x.o.past)
		}
		it := &items[i]
		kind := it.Kind()
		if kind == "" {
			return missing(at + ".type")
		}
		read, ok := itemKinds[kind]
		if !ok {
			return invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: %s.", kind, quotedList(sortedKeys(itemKinds)))
		}
		if isSet(it.Caller) && isProgram(it.Caller) {
			return refuse("it was called by a program, which the upstream cannot run")(x, at, it)
		}
		if !dropped[kind] {
			if err := strays[responses.Item](x.report, x.o, at, it.Unknown, silentMembers...); err != nil {
				return err
			}
		}
		if err := read(x, at, it); err != nil {
			return err
		}
	}
	if x.forgotten > 0 {
		x.report.add("input", "%d reasoning items dropped", x.forgotten)
	}
	return nil
}

// silentMembers are members of items that say nothing to a model: who made the
// item, and how it was run.
var silentMembers = []string{"created_by", "async", "max_output_length", "approval_request_id", "environment"}

// configured are the request's reasoning and text, with what configuration_update
// items have changed of them.
func (x *itemReader) configured(req *responses.Request) (*responses.Reasoning, *responses.TextConfig) {
	reasoning, text := req.Reasoning, req.Text
	if x.effort != "" {
		changed := or(reasoning, responses.Reasoning{})
		changed.Effort = x.effort
		reasoning = &changed
	}
	if x.format != nil {
		changed := or(text, responses.TextConfig{})
		changed.Format = x.format
		text = &changed
	}
	return reasoning, text
}

func isProgram(caller jsontext.Value) bool {
	var c struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(caller, &c) == nil && c.Type == "program"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func quotedList(words []string) string {
	return "'" + strings.Join(words, "', '") + "'"
}

// need returns the open turn of the assistant, opening one where there is none
// or where the open one has outputs: a call behind an output is a new step.
func (x *itemReader) need() *turn {
	if x.cur == nil || len(x.cur.outputs) > 0 {
		x.cur = &turn{reasoning: x.pending}
		x.pending = nil
		x.steps = append(x.steps, step{turn: x.cur})
	}
	return x.cur
}

func (x *itemReader) message(at string, it *responses.Item) error {
	switch it.Role {
	case "assistant":
		return x.assistant(at, it)
	case "user", "system", "developer":
	case "tool":
		return invalid("invalid_value", at+".role", "Invalid value: 'tool'. Send the tool's output as an item of type 'function_call_output'.")
	case "":
		return missing(at + ".role")
	default:
		return invalid("invalid_value", at+".role", "Invalid value: '%s'. Supported values are: 'assistant', 'system', 'developer' and 'user'.", it.Role)
	}
	if it.Content.IsZero() {
		return missing(at + ".content")
	}
	content, err := x.content(at, it.Content)
	if err != nil {
		return err
	}
	x.cur = nil
	if it.Role == "user" {
		x.pending = nil
	}
	x.steps = append(x.steps, step{message: &chat.Message{Role: x.role(it.Role), Content: content}})
	return nil
}

func (x *itemReader) role(role string) string {
	if role == "developer" && !x.d.Developer {
		return "system"
	}
	return role
}

func (x *itemReader) assistant(at string, it *responses.Item) error {
	t := x.need()
	if it.Content.IsText() {
		t.texts = append(t.texts, it.Content.Text)
		return nil
	}
	texts := make([]string, 0, 4)
	for j := range it.Content.Parts {
		p := &it.Content.Parts[j]
		if err := x.partHints(element(at+".content", j), p); err != nil {
			return err
		}
		switch p.Type {
		case "output_text", "text":
			texts = append(texts, p.Str())
		case "refusal":
			if x.d.Refusals {
				t.refusal += p.Str()
			} else {
				texts = append(texts, p.Str())
			}
		default:
			return invalid("invalid_value", element(at+".content", j), "Invalid value: '%s'. Supported values are: 'output_text' and 'refusal'.", p.Type)
		}
	}
	t.texts = append(t.texts, strings.Join(texts, ""))
	return nil
}

func (x *itemReader) reasoningItem(_ string, it *responses.Item) error {
	text := ""
	if sealed, ok := x.o.Sealer.open(it.EncryptedContent); ok {
		text = sealed.Text
		for id, extra := range sealed.Calls {
			x.signatures[id] = extra
		}
	}
	if text == "" {
		text = joinParts(it.Content.Parts)
	}
	if text == "" {
		text = joinParts(it.Summary)
	}
	if text == "" {
		return nil
	}
	if x.d.Reasoning == "" {
		x.forgotten++
	}
	if x.cur != nil && len(x.cur.outputs) == 0 {
		x.cur.reasoning = append(x.cur.reasoning, text)
		return nil
	}
	x.cur = nil
	x.pending = append(x.pending, text)
	return nil
}

func joinParts(parts []responses.Part) string {
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].Str()
	}
	return strings.Join(texts, "\n\n")
}

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
	text := it.Output.JSON()
	if it.Output.IsZero() && isSet(it.Error) {
		text = "Error: " + string(it.Error)
	}
	return x.attach(at, "MCP call", c.CallID, &output{text: text})
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

// content translates the content of a user, system or developer message at a place.
func (x *itemReader) content(at string, c responses.Content) (chat.Content, error) {
	if c.IsText() {
		return chat.Text(c.Text), nil
	}
	parts := make([]chat.Part, 0, len(c.Parts))
	onlyText := true
	for j := range c.Parts {
		p, err := x.part(element(at+".content", j), &c.Parts[j])
		if err != nil {
			return chat.Content{}, err
		}
		if p.Type == "text" && p.Text == "" {
			continue // a text part must have text
		}
		onlyText = onlyText && p.Type == "text" && p.CacheBreakpoint == nil
		parts = append(parts, p)
	}
	if !onlyText || len(parts) > 1 && !x.d.JoinText {
		return chat.Parts(parts...), nil
	}
	texts := make([]string, len(parts))
	for j := range parts {
		texts[j] = parts[j].Text
	}
	return chat.Text(strings.Join(texts, "\n\n")), nil
}

// partHints leaves out the members of a part that Chat has no word for.
func (x *itemReader) partHints(at string, p *responses.Part) error {
	if p.Detail != "" && p.Type == "input_file" {
		if err := x.report.hint(x.o, at+".detail", "its files have no detail"); err != nil {
			return err
		}
	}
	return strays[responses.Part](x.report, x.o, at, p.Unknown)
}

func (x *itemReader) part(at string, p *responses.Part) (chat.Part, error) {
	out := chat.Part{}
	switch p.Type {
	case "input_text", "output_text", "text":
		out = chat.Part{Type: "text", Text: p.Str()}
	case "input_image":
		if p.ImageURL == "" && p.FileID == "" {
			return out, missing(at + ".image_url")
		}
		if p.ImageURL == "" {
			return out, unsupported(at+".file_id", "Unsupported parameter: '%s.file_id'. The upstream has no stored files; send the image as a data URL in 'image_url'.", at)
		}
		detail := p.Detail
		switch {
		case detail == "auto":
			detail = ""
		case detail == "original" && !x.d.Original:
			detail = "high"
			if err := x.report.change(x.o, at+".detail", "changed to high", "it does not know original"); err != nil {
				return out, err
			}
		}
		out = chat.Part{Type: "image_url", ImageURL: &chat.ImageURL{URL: p.ImageURL, Detail: detail}}
	case "input_file":
		f := &chat.File{FileID: p.FileID, FileData: p.FileData, Filename: p.Filename}
		switch {
		case p.FileURL == "" && p.FileID == "" && p.FileData == "":
			return out, missing(at + ".file_data")
		case p.FileURL != "":
			return out, unsupported(at+".file_url", "Unsupported parameter: '%s.file_url'. Chat Completions takes no file URLs; send the content in 'file_data'.", at)
		case p.FileID != "" && !x.d.FileIDs:
			return out, unsupported(at+".file_id", "Unsupported parameter: '%s.file_id'. The upstream has no stored files; send the content in 'file_data'.", at)
		case !x.d.Files:
			return out, unsupported(at, "Unsupported content part: the upstream takes no files ('%s'). Send their text.", at)
		}
		out = chat.Part{Type: "file", File: f}
	case "input_audio":
		out = chat.Part{Type: "input_audio", InputAudio: p.InputAudio}
	case "":
		return out, missing(at + ".type")
	default:
		return out, invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: 'input_text', 'input_image', 'input_file' and 'input_audio'.", p.Type)
	}
	if err := x.partHints(at, p); err != nil {
		return out, err
	}
	if isSet(p.CacheBreakpoint) {
		if !x.d.knows("prompt_cache_options") {
			return out, x.report.hint(x.o, at+".prompt_cache_breakpoint", "the upstream has no such parameter")
		}
		out.CacheBreakpoint = p.CacheBreakpoint
	}
	return out, nil
}
