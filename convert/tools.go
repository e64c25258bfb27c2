package convert

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// toolWriter writes the tools of a Responses request as Chat's.
type toolWriter struct {
	o      *Options
	d      *Dialect
	report *Report
	names  *Names
	out    []chat.Tool
	search *chat.WebSearchOptions
	model  string
	// hosted are the types of the tools that were left out.
	hosted map[string]bool
	// repeated is how many bytes of namespaces' descriptions stand again in their tools.
	repeated int
	// entered says where each tool stands, by its flat name.
	entered map[string]toolPlace
}

// toolPlace is where a tool stands: in which list of the request, and in the output.
type toolPlace struct {
	list  string
	index int
}

// hostedTools run at OpenAI. Those that only add knowledge are left out; a
// request with one of the others relies on it.
var hostedTools = map[string]bool{ // true: leave out
	"web_search":                    true,
	"web_search_2025_08_26":         true,
	"web_search_preview":            true,
	"web_search_preview_2025_03_11": true,
	"programmatic_tool_calling":     true,
	"file_search":                   false,
	"code_interpreter":              false,
	"image_generation":              false,
	"computer":                      false,
	"computer_use_preview":          false,
	"mcp":                           false,
}

// The parameters of the functions that stand for tools without any.
var (
	customSchema     = jsontext.Value(`{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}`)
	shellSchema      = jsontext.Value(`{"type":"object","properties":{"commands":{"type":"array","items":{"type":"string"},"description":"Shell commands to run, in order."},"timeout_ms":{"type":"integer","description":"Time limit in milliseconds."},"max_output_length":{"type":"integer","description":"Most characters of output to return."}},"required":["commands"],"additionalProperties":false}`)
	localShellSchema = jsontext.Value(`{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The command and its arguments."},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer","description":"Time limit in milliseconds."},"env":{"type":"object","additionalProperties":{"type":"string"}}},"required":["command"],"additionalProperties":false}`)
	patchSchema      = jsontext.Value(`{"type":"object","properties":{"operation":{"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file","delete_file"]},"path":{"type":"string"},"diff":{"type":"string","description":"A V4A diff; not for delete_file."}},"required":["type","path"],"additionalProperties":false}},"required":["operation"],"additionalProperties":false}`)
	anySchema        = jsontext.Value(`{"type":"object","properties":{}}`)
)

// emulated are the tools that the client runs and that a Chat server knows only
// as functions.
var emulated = map[string]struct {
	kind        toolKind
	description string
	schema      jsontext.Value
}{
	"shell":       {kindShell, "Runs shell commands and returns what they print.", shellSchema},
	"local_shell": {kindLocalShell, "Runs a command on the user's machine and returns what it prints.", localShellSchema},
	"apply_patch": {kindApplyPatch, "Creates, updates or deletes a file.", patchSchema},
}

// maxRepeated bounds what the descriptions of a request's namespaces may come to in bytes, where each stands once for
// each of its tools: a body could ask for a thousand times its own size.
const maxRepeated = 4 << 20

func (w *toolWriter) add(at string, tools []responses.Tool) error {
	for i := range tools {
		if err := w.tool(element(at, i), &tools[i], ""); err != nil {
			return err
		}
	}
	return nil
}

func (w *toolWriter) tool(at string, t *responses.Tool, namespace string) error {
	switch t.Type {
	case "function":
		if t.Name == "" {
			return missing(at + ".name")
		}
		if err := w.hints(at, t); err != nil {
			return err
		}
		strict, err := w.strict(at, t)
		if err != nil {
			return err
		}
		params, encrypted := dropEncrypted(t.Parameters)
		f := &chat.Function{Name: t.Name, Description: t.Description, Parameters: params, Strict: strict}
		return w.function(at, toolRef{kindFunction, namespace, t.Name, encrypted}, f)
	case "custom":
		if t.Name == "" {
			return missing(at + ".name")
		}
		if err := w.hints(at, t); err != nil {
			return err
		}
		return w.custom(at, t, namespace)
	case "namespace":
		if t.Name == "" {
			return missing(at + ".name")
		}
		if err := w.hints(at, t); err != nil {
			return err
		}
		for i, inner := range t.Tools {
			if t.Description != "" {
				if w.repeated += len(t.Description); w.repeated > maxRepeated {
					return invalid("string_above_max_length", at+".description", "Invalid '%s.description': it stands before the description of each of the namespace's tools, as the upstream has no namespaces, and all of them would have more than %d bytes. Shorten it.", at, maxRepeated)
				}
				inner.Description = strings.TrimSuffix(t.Description+"\n\n"+inner.Description, "\n\n")
			}
			if err := w.tool(element(at+".tools", i), &inner, t.Name); err != nil {
				return err
			}
		}
		return nil
	case "tool_search":
		if t.Execution != "client" {
			return w.drop(at, t.Type) // all deferred tools are sent anyway
		}
		if err := w.hints(at, t); err != nil {
			return err
		}
		f := &chat.Function{Name: "tool_search", Description: t.Description, Parameters: t.Parameters}
		return w.function(at, toolRef{kind: kindToolSearch, name: "tool_search"}, f)
	case "":
		return missing(at + ".type")
	}
	if e, ok := emulated[t.Type]; ok {
		if err := w.environment(at, t); err != nil {
			return err
		}
		if err := w.hints(at, t); err != nil {
			return err
		}
		f := &chat.Function{Name: t.Type, Description: e.description, Parameters: e.schema}
		return w.function(at, toolRef{kind: e.kind, name: t.Type}, f)
	}
	if strings.HasPrefix(t.Type, "web_search") && w.d.knows("web_search_options") && strings.Contains(w.model, "search") {
		if err := w.hints(at, t); err != nil {
			return err
		}
		w.search = &chat.WebSearchOptions{SearchContextSize: t.SearchContextSize}
		if isSet(t.UserLocation) {
			w.search.UserLocation = &chat.UserLocation{Type: "approximate", Approximate: nestLocation(t.UserLocation)}
		}
		return nil
	}
	if drop, known := hostedTools[t.Type]; known && !drop && !w.o.DropHosted {
		return invalid("unsupported_value", at, "Unsupported value: tool type '%s' is not supported by the selected model: it runs at OpenAI, and the upstream speaks Chat Completions. Remove '%s'.", t.Type, at)
	}
	return w.drop(at, t.Type)
}

func (w *toolWriter) drop(at, typ string) error {
	if w.hosted == nil {
		w.hosted = map[string]bool{}
	}
	w.hosted[typ] = true
	return w.report.hint(w.o, at, "the upstream has no tool of type "+typ)
}

// hints leaves out the members of a tool that Chat has no word for: where it may
// run and when it is shown to the model.
func (w *toolWriter) hints(at string, t *responses.Tool) error {
	if or(t.DeferLoading, false) {
		if err := w.report.change(w.o, at+".defer_loading", "sent at once", "it has no deferred tools"); err != nil {
			return err
		}
	}
	if err := strays[responses.Tool](w.report, w.o, at, t.Unknown); err != nil || t.Format == nil {
		return err
	}
	return strays[responses.Format](w.report, w.o, at+".format", t.Format.Unknown)
}

// environment refuses a shell that does not run at the client.
func (w *toolWriter) environment(at string, t *responses.Tool) error {
	if !isSet(t.Environment) {
		return nil
	}
	var e struct {
		Type   string         `json:"type"`
		Skills jsontext.Value `json:"skills"`
	}
	if json.Unmarshal(t.Environment, &e) != nil || e.Type != "local" {
		return invalid("unsupported_value", at+".environment", "Unsupported value: '%s.environment'. The upstream has no containers; a shell tool can only run at the client. Send {\"type\":\"local\"}.", at)
	}
	if isSet(e.Skills) {
		return w.report.hint(w.o, at+".environment.skills", "it has no skills")
	}
	return nil
}

func nestLocation(flat jsontext.Value) jsontext.Value {
	b := []byte{'{'}
	for name, value := range eachMember(flat) {
		if name == "type" || value.Kind() == 'n' {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, name), ':'), value...)
	}
	return append(b, '}')
}

// function adds a function under its flat name.
func (w *toolWriter) function(at string, ref toolRef, f *chat.Function) error {
	f.Name = upstreamName(ref.namespace, f.Name)
	if !isSet(f.Parameters) {
		f.Parameters = anySchema
	}
	return w.enter(at, f.Name, ref, chat.Tool{Type: "function", Function: f})
}

// enter adds a tool to the request. A tool that another list repeats, as the
// output of a search repeats what was deferred, takes the place of the earlier.
func (w *toolWriter) enter(at, flat string, ref toolRef, t chat.Tool) error {
	list := at[:strings.IndexByte(at, '[')]
	if strings.HasPrefix(at, "input[") {
		list = at[:strings.IndexByte(at, ']')]
	}
	added, clash := w.names.add(flat, ref)
	switch {
	case clash:
		return invalid("invalid_value", at, "Invalid '%s': another tool is called '%s' too, once tools and namespaces are turned into functions. Rename one.", at, flat)
	case added:
		if w.entered == nil {
			w.entered = map[string]toolPlace{}
		}
		w.entered[flat] = toolPlace{list, len(w.out)}
		w.out = append(w.out, t)
	case w.entered[flat].list == list:
		return invalid("invalid_value", at, "Tool names must be unique: '%s' appears more than once. Remove '%s' or rename it.", ref.name, at)
	default:
		index := w.entered[flat].index
		w.out[index] = t
		w.entered[flat] = toolPlace{list, index}
	}
	return nil
}

func toolName(t *chat.Tool) string {
	if t.Custom != nil {
		return t.Custom.Name
	}
	return t.Function.Name
}

func (w *toolWriter) custom(at string, t *responses.Tool, namespace string) error {
	if w.d.Custom {
		c := &chat.Custom{Name: upstreamName(namespace, t.Name), Description: t.Description}
		if t.Format != nil {
			c.Format = &chat.Format{Type: t.Format.Type}
			if t.Format.Type == "grammar" {
				c.Format.Grammar = &chat.Grammar{Definition: t.Format.Definition, Syntax: t.Format.Syntax}
			}
		}
		return w.enter(at, c.Name, toolRef{kindNative, namespace, t.Name, false}, chat.Tool{Type: "custom", Custom: c})
	}
	return w.function(at, toolRef{kindCustom, namespace, t.Name, false}, &chat.Function{Name: t.Name, Description: customDescription(t), Parameters: customSchema})
}

// strict is what a function of Chat says for one of Responses, where a function
// that says nothing is strict if its schema allows it.
func (w *toolWriter) strict(at string, t *responses.Tool) (*bool, error) {
	yes := true
	switch {
	case t.Strict != nil && !*t.Strict:
	case t.Strict != nil && w.d.Strict:
		return &yes, nil
	case t.Strict != nil:
		return nil, w.report.hint(w.o, at+".strict", "it does not know strict functions")
	case w.d.StrictDefault && strictSchema(t.Parameters):
		return &yes, nil
	}
	return nil, nil
}

// strictSchema tells whether a schema is one that strict mode takes as it is:
// every object closed, every property required.
func strictSchema(v jsontext.Value) bool {
	var schema any
	if json.Unmarshal(v, &schema) != nil {
		return false
	}
	var ok func(any) bool
	ok = func(v any) bool {
		switch v := v.(type) {
		case []any:
			return !slices.ContainsFunc(v, func(e any) bool { return !ok(e) })
		case map[string]any:
			props, isObject := v["properties"].(map[string]any)
			if isObject || v["type"] == "object" {
				required, _ := v["required"].([]any)
				if v["additionalProperties"] != false || len(required) != len(props) {
					return false
				}
			}
			for _, e := range v {
				if !ok(e) {
					return false
				}
			}
		}
		return true
	}
	object, isObject := schema.(map[string]any)
	return isObject && object["type"] == "object" && ok(schema)
}

// dropEncrypted removes "encrypted": true from a schema: with it OpenAI's models
// write an argument that only OpenAI can read, and other servers refuse it.
func dropEncrypted(schema jsontext.Value) (jsontext.Value, bool) {
	if !bytes.Contains(schema, []byte(`"encrypted"`)) {
		return schema, false
	}
	found := false
	var walk func(v jsontext.Value) jsontext.Value
	walk = func(v jsontext.Value) jsontext.Value {
		switch v.Kind() {
		case '{':
			b := []byte{'{'}
			for name, value := range eachMember(v) {
				if name == "encrypted" && value.Kind() == 't' {
					found = true
					continue
				}
				if len(b) > 1 {
					b = append(b, ',')
				}
				b = append(appendQuoted(b, name), ':')
				b = append(b, walk(value.Clone())...)
			}
			return append(b, '}')
		case '[':
			var list []jsontext.Value
			if json.Unmarshal(v, &list) != nil {
				return v
			}
			b := []byte{'['}
			for i, e := range list {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, walk(e)...)
			}
			return append(b, ']')
		}
		return v
	}
	out := walk(schema)
	return out, found
}

// choice writes tool_choice.
func (w *toolWriter) choice(c *responses.ToolChoice) (*chat.ToolChoice, error) {
	if c == nil {
		return nil, nil
	}
	if c.Word == "" && !slices.Contains([]string{"function", "custom", "allowed_tools"}, c.Type) {
		if _, ok := emulated[c.Type]; !ok {
			return nil, invalid("unsupported_value", "tool_choice", "Unsupported value: 'tool_choice' forces a tool of type '%s', which the upstream does not have.", c.Type)
		}
	}
	if len(w.out) == 0 {
		if c.Word == "required" && len(w.hosted) > 0 {
			return nil, invalid("unsupported_value", "tool_choice", "Unsupported value: 'tool_choice' is 'required', and none of the request's tools is known to the upstream.")
		}
		if c.Word == "none" || c.Word == "auto" {
			return nil, nil
		}
		return nil, w.report.hint(w.o, "tool_choice", "there are no tools")
	}
	if err := strays[responses.ToolChoice](w.report, w.o, "tool_choice", c.Unknown); err != nil {
		return nil, err
	}
	if c.Word != "" {
		return w.mode(c.Word)
	}
	if c.Type == "allowed_tools" {
		return w.allowed(c)
	}
	named, err := w.named(c, "tool_choice")
	if err != nil || !w.d.AutoOnly {
		return named, err
	}
	w.narrow(map[string]bool{choiceName(named): true})
	return nil, w.report.change(w.o, "tool_choice", "not forced", "it chooses by itself")
}

// narrow keeps only some of the tools.
func (w *toolWriter) narrow(keep map[string]bool) {
	w.out = slices.DeleteFunc(w.out, func(t chat.Tool) bool { return !keep[toolName(&t)] })
}

func choiceName(c *chat.ToolChoice) string {
	if c.Custom != nil {
		return c.Custom.Name
	}
	return c.Function.Name
}

func (w *toolWriter) mode(word string) (*chat.ToolChoice, error) {
	switch word {
	case "none":
		if w.d.AutoOnly { // what it does not see it does not call
			w.out = nil
			return nil, nil
		}
		return &chat.ToolChoice{Mode: word}, nil
	case "auto":
		return &chat.ToolChoice{Mode: word}, nil
	case "required":
		if w.d.Required == "" {
			return nil, w.report.change(w.o, "tool_choice", "not forced", "it chooses by itself")
		}
		return &chat.ToolChoice{Mode: w.d.Required}, nil
	}
	return nil, invalid("invalid_value", "tool_choice", "Invalid value: '%s'. Supported values are: 'none', 'auto' and 'required'.", word)
}

// named refers to one tool by its name at the upstream.
func (w *toolWriter) named(c *responses.ToolChoice, at string) (*chat.ToolChoice, error) {
	name := c.Name
	if _, ok := emulated[c.Type]; ok {
		name = c.Type
	}
	if name == "" {
		return nil, missing(at + ".name")
	}
	flat := upstreamName(c.Namespace, name)
	ref, ok := w.names.byFlat[flat]
	if !ok {
		return nil, invalid("invalid_value", at, "Invalid '%s': tool '%s' is not among the request's tools.", at, name)
	}
	if ref.kind == kindNative {
		return &chat.ToolChoice{Type: "custom", Custom: &chat.Named{Name: flat}}, nil
	}
	return &chat.ToolChoice{Type: "function", Function: &chat.Named{Name: flat}}, nil
}

// allowed writes the list of allowed tools, or narrows the tools to it.
func (w *toolWriter) allowed(c *responses.ToolChoice) (*chat.ToolChoice, error) {
	var list []chat.ToolChoice
	keep := map[string]bool{}
	for i := range c.Tools {
		at := element("tool_choice.tools", i)
		if _, hosted := hostedTools[c.Tools[i].Type]; hosted {
			if err := w.report.hint(w.o, at, "the upstream has no such tool"); err != nil {
				return nil, err
			}
			continue
		}
		named, err := w.named(&c.Tools[i], at)
		if err != nil {
			return nil, err
		}
		list = append(list, *named)
		keep[choiceName(named)] = true
	}
	mode := c.Mode
	if mode == "" {
		mode = "auto"
	}
	if w.d.AllowedTools && len(list) > 0 {
		return &chat.ToolChoice{Type: "allowed_tools", AllowedTools: &chat.AllowedTools{Mode: mode, Tools: list}}, nil
	}
	w.narrow(keep)
	if len(w.out) == 0 {
		return nil, nil
	}
	return w.mode(mode)
}
