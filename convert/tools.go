package convert

import (
	"bytes"
	"fmt"
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

func (w *toolWriter) add(at string, tools []responses.Tool) error {
	for i := range tools {
		if err := w.tool(fmt.Sprintf("%s[%d]", at, i), &tools[i], ""); err != nil {
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
		params, encrypted := dropEncrypted(t.Parameters)
		f := &chat.Function{Name: t.Name, Description: t.Description, Parameters: params, Strict: w.strict(t)}
		return w.function(at, toolRef{kindFunction, namespace, t.Name, encrypted}, f)
	case "custom":
		if t.Name == "" {
			return missing(at + ".name")
		}
		return w.custom(at, t, namespace)
	case "namespace":
		if t.Name == "" {
			return missing(at + ".name")
		}
		for i, inner := range t.Tools {
			if t.Description != "" {
				inner.Description = strings.TrimSuffix(t.Description+"\n\n"+inner.Description, "\n\n")
			}
			if err := w.tool(fmt.Sprintf("%s.tools[%d]", at, i), &inner, t.Name); err != nil {
				return err
			}
		}
		return nil
	case "tool_search":
		if t.Execution != "client" {
			return w.drop(at, t.Type) // all deferred tools are sent anyway
		}
		f := &chat.Function{Name: "tool_search", Description: t.Description, Parameters: t.Parameters}
		return w.function(at, toolRef{kind: kindToolSearch, name: "tool_search"}, f)
	case "":
		return missing(at + ".type")
	}
	if e, ok := emulated[t.Type]; ok {
		if isSet(t.Environment) && t.Type == "shell" && !isLocal(t.Environment) {
			return invalid("unsupported_value", at+".environment", "Unsupported value: '%s.environment'. The upstream has no containers; a shell tool can only run at the client.", at)
		}
		f := &chat.Function{Name: t.Type, Description: e.description, Parameters: e.schema}
		return w.function(at, toolRef{kind: e.kind, name: t.Type}, f)
	}
	if strings.HasPrefix(t.Type, "web_search") && w.d.knows("web_search_options") && strings.Contains(w.model, "search") {
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

func isLocal(environment jsontext.Value) bool {
	var e struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(environment, &e) == nil && e.Type == "local"
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
	f.Name = flatName(ref.namespace, f.Name)
	if !isSet(f.Parameters) {
		f.Parameters = anySchema
	}
	added, clash := w.names.add(f.Name, ref)
	if clash {
		return invalid("invalid_value", at, "Invalid '%s': another tool is called '%s' too, once tools and namespaces are turned into functions. Rename one.", at, f.Name)
	}
	if added {
		w.out = append(w.out, chat.Tool{Type: "function", Function: f})
	}
	return nil
}

func (w *toolWriter) custom(at string, t *responses.Tool, namespace string) error {
	if w.d.Custom {
		c := &chat.Custom{Name: flatName(namespace, t.Name), Description: t.Description}
		if t.Format != nil {
			c.Format = &chat.Format{Type: t.Format.Type}
			if t.Format.Type == "grammar" {
				c.Format.Grammar = &chat.Grammar{Definition: t.Format.Definition, Syntax: t.Format.Syntax}
			}
		}
		added, clash := w.names.add(c.Name, toolRef{kindNative, namespace, t.Name, false})
		if clash {
			return invalid("invalid_value", at, "Invalid '%s': another tool is called '%s' too. Rename one.", at, c.Name)
		}
		if added {
			w.out = append(w.out, chat.Tool{Type: "custom", Custom: c})
		}
		return nil
	}
	description := t.Description
	if f := t.Format; f != nil && f.Type == "grammar" {
		description += "\nThe `input` must follow this " + f.Syntax + " grammar:\n" + f.Definition
	}
	return w.function(at, toolRef{kindCustom, namespace, t.Name, false}, &chat.Function{Name: t.Name, Description: strings.TrimPrefix(description, "\n"), Parameters: customSchema})
}

// strict is what a function of Chat says for one of Responses, where a function
// that says nothing is strict if its schema allows it.
func (w *toolWriter) strict(t *responses.Tool) *bool {
	if !w.d.Strict {
		return nil
	}
	yes := true
	if t.Strict != nil {
		if *t.Strict {
			return &yes
		}
		return nil
	}
	if w.d.StrictDefault && strictSchema(t.Parameters) {
		return &yes
	}
	return nil
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
	return nil, w.report.hint(w.o, "tool_choice", "the upstream chooses by itself")
}

func (w *toolWriter) mode(word string) (*chat.ToolChoice, error) {
	switch word {
	case "none", "auto":
		return &chat.ToolChoice{Mode: word}, nil
	case "required":
		if w.d.Required == "" {
			return nil, w.report.hint(w.o, "tool_choice", "the upstream chooses by itself")
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
	flat := flatName(c.Namespace, name)
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
		at := fmt.Sprintf("tool_choice.tools[%d]", i)
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
		if named.Custom != nil {
			keep[named.Custom.Name] = true
		} else {
			keep[named.Function.Name] = true
		}
	}
	mode := c.Mode
	if mode == "" {
		mode = "auto"
	}
	if w.d.AllowedTools {
		return &chat.ToolChoice{Type: "allowed_tools", AllowedTools: &chat.AllowedTools{Mode: mode, Tools: list}}, nil
	}
	w.out = slices.DeleteFunc(w.out, func(t chat.Tool) bool {
		if t.Custom != nil {
			return !keep[t.Custom.Name]
		}
		return !keep[t.Function.Name]
	})
	if len(w.out) == 0 {
		return nil, nil
	}
	return w.mode(mode)
}
