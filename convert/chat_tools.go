package convert

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

func chatTools(req *chat.Request, o *Options, report *Report, out *responses.Request) error {
	for i := range req.Tools {
		tool, err := chatTool(element("tools", i), &req.Tools[i], o, report)
		if err != nil {
			return err
		}
		out.Tools = append(out.Tools, tool)
	}
	legacy := len(out.Tools) == 0 && len(req.Functions) > 0
	if legacy {
		for i := range req.Functions {
			at := element("functions", i)
			if req.Functions[i].Name == "" {
				return missing(at + ".name")
			}
			if err := strays[chat.Function](report, o, at, req.Functions[i].Unknown); err != nil {
				return err
			}
			out.Tools = append(out.Tools, functionTool(&req.Functions[i]))
		}
		// An answer of this form has room for one call.
		out.ParallelToolCalls = new(bool)
	} else if len(req.Functions) > 0 {
		if err := report.hint(o, "functions", "tools is there too"); err != nil {
			return err
		}
	}
	if w := req.WebSearchOptions; w != nil {
		tool := responses.Tool{Type: "web_search", SearchContextSize: w.SearchContextSize}
		if err := strays[chat.WebSearchOptions](report, o, "web_search_options", w.Unknown); err != nil {
			return err
		}
		if w.UserLocation != nil {
			tool.UserLocation = flattenLocation(w.UserLocation.Approximate)
			if err := strays[chat.UserLocation](report, o, "web_search_options.user_location", w.UserLocation.Unknown); err != nil {
				return err
			}
		}
		out.Tools = append(out.Tools, tool)
	}
	return chatToolChoice(req, o, report, legacy, out)
}

func chatTool(at string, t *chat.Tool, o *Options, report *Report) (responses.Tool, error) {
	if err := strays[chat.Tool](report, o, at, t.Unknown); err != nil {
		return responses.Tool{}, err
	}
	switch t.Type {
	case "function", "": // some clients leave the type out
		f := t.Function
		if f == nil {
			return responses.Tool{}, missing(at + ".function")
		}
		if f.Name == "" {
			return responses.Tool{}, missing(at + ".function.name")
		}
		return functionTool(f), strays[chat.Function](report, o, at+".function", f.Unknown)
	case "custom":
		if t.Custom == nil {
			return responses.Tool{}, missing(at + ".custom")
		}
		return customTool(at+".custom", t.Custom, o, report)
	}
	return responses.Tool{}, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function' and 'custom'.", t.Type)
}

// customTool lifts the members of a grammar one level.
func customTool(at string, c *chat.Custom, o *Options, report *Report) (responses.Tool, error) {
	tool := responses.Tool{Type: "custom", Name: c.Name, Description: c.Description}
	if c.Name == "" {
		return tool, missing(at + ".name")
	}
	if err := strays[chat.Custom](report, o, at, c.Unknown); err != nil || c.Format == nil {
		return tool, err
	}
	tool.Format = &responses.Format{Type: c.Format.Type}
	if err := strays[chat.Format](report, o, at+".format", c.Format.Unknown); err != nil || c.Format.Grammar == nil {
		return tool, err
	}
	tool.Format.Syntax, tool.Format.Definition = c.Format.Grammar.Syntax, c.Format.Grammar.Definition
	return tool, strays[chat.Grammar](report, o, at+".format.grammar", c.Format.Grammar.Unknown)
}

func functionTool(f *chat.Function) responses.Tool {
	strict := f.Strict != nil && *f.Strict
	params := optional(f.Parameters)
	if params == nil {
		params = jsontext.Value(`{"type":"object","properties":{}}`)
	}
	return responses.Tool{Type: "function", Name: f.Name, Description: f.Description, Parameters: params, Strict: &strict}
}

// flattenLocation lifts the members of approximate one level.
func flattenLocation(approximate jsontext.Value) jsontext.Value {
	b := []byte(`{"type":"approximate"`)
	for name, value := range eachMember(approximate) {
		if name == "type" {
			continue
		}
		b = append(appendQuoted(append(b, ','), name), ':')
		b = append(b, value...)
	}
	return append(b, '}')
}

func chatToolChoice(req *chat.Request, o *Options, report *Report, legacy bool, out *responses.Request) error {
	if legacy {
		switch c := req.FunctionCall; {
		case c == nil:
		case c.Mode == "none" || c.Mode == "auto":
			out.ToolChoice = &responses.ToolChoice{Word: c.Mode}
		case c.Mode != "":
			return invalid("invalid_value", "function_call", "Invalid value: '%s'. Supported values are: 'none', 'auto' and an object with the function's name.", c.Mode)
		case c.Name == "":
			return missing("function_call.name")
		default:
			out.ToolChoice = &responses.ToolChoice{Type: "function", Name: c.Name}
		}
		return nil
	}
	if req.FunctionCall != nil {
		if err := report.hint(o, "function_call", "it goes with functions, not with tools"); err != nil {
			return err
		}
	}
	c := req.ToolChoice
	if c == nil {
		return nil
	}
	if len(out.Tools) == 0 {
		if c.Mode == "none" || c.Mode == "auto" {
			return nil
		}
		return report.hint(o, "tool_choice", "there are no tools")
	}
	if err := strays[chat.ToolChoice](report, o, "tool_choice", c.Unknown); err != nil {
		return err
	}
	choice, err := chatChoice(c, "tool_choice")
	out.ToolChoice = choice
	return err
}

func chatChoice(c *chat.ToolChoice, at string) (*responses.ToolChoice, error) {
	switch {
	case c.Mode == "any": // Mistral's word
		return &responses.ToolChoice{Word: "required"}, nil
	case c.Mode == "none" || c.Mode == "auto" || c.Mode == "required":
		return &responses.ToolChoice{Word: c.Mode}, nil
	case c.Mode != "":
		return nil, invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: 'none', 'auto' and 'required'.", c.Mode)
	case c.Type == "function" && c.Function != nil && c.Function.Name != "":
		return &responses.ToolChoice{Type: "function", Name: c.Function.Name}, nil
	case c.Type == "custom" && c.Custom != nil && c.Custom.Name != "":
		return &responses.ToolChoice{Type: "custom", Name: c.Custom.Name}, nil
	case c.Type == "allowed_tools" && c.AllowedTools != nil:
		out := &responses.ToolChoice{Type: "allowed_tools", Mode: c.AllowedTools.Mode}
		for i := range c.AllowedTools.Tools {
			t, err := chatChoice(&c.AllowedTools.Tools[i], element(at+".allowed_tools.tools", i))
			if err != nil {
				return nil, err
			}
			out.Tools = append(out.Tools, *t)
		}
		return out, nil
	case c.Type == "function" || c.Type == "custom":
		return nil, missing(at + "." + c.Type + ".name")
	case c.Type == "allowed_tools":
		return nil, missing(at + ".allowed_tools")
	}
	return nil, invalid("invalid_value", at+".type", "Invalid value: '%s'. Supported values are: 'function', 'custom' and 'allowed_tools'.", c.Type)
}
