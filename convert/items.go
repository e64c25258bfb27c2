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
		"compaction":              (*itemReader).compaction,

		// What hosted tools did; the text that follows holds what came of it.
		"web_search_call":       (*itemReader).drop,
		"file_search_call":      (*itemReader).drop,
		"code_interpreter_call": (*itemReader).drop,
		"image_generation_call": (*itemReader).drop,

		"computer_call":           refuse("the upstream cannot use a computer"),
		"computer_call_output":    refuse("the upstream cannot use a computer"),
		"mcp_approval_request":    refuse("the upstream runs no MCP tools"),
		"mcp_approval_response":   refuse("the upstream runs no MCP tools"),
		"compaction_trigger":      refuse("it must be the last of the input"),
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
	sealed, ok, err := x.o.open(it.EncryptedContent)
	if err != nil {
		return err
	}
	if ok {
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
