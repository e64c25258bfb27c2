package convert

import (
	"slices"
	"strings"

	"github.com/labiium/chat2response/convert/responses"
)

// onlyFunctions makes functions of the custom tools of a request, for a Responses
// upstream that skips other tools, and of their calls; names gets what the
// answer's calls are then known by. The request is changed in place.
func onlyFunctions(req *responses.Request, names *Names) error {
	for i := range req.Tools {
		t := &req.Tools[i]
		kind := kindFunction
		if t.Type == "custom" {
			kind = kindCustom
			*t = responses.Tool{Type: "function", Name: t.Name, Description: customDescription(t), Parameters: customSchema, Strict: new(bool)}
		}
		if _, clash := names.add(t.Name, toolRef{kind: kind, name: t.Name}); clash {
			return invalid("invalid_value", "tools", "Invalid 'tools': a function and a custom tool are both called '%s', and the upstream knows only functions. Rename one.", t.Name)
		}
	}
	for i := range req.Input {
		switch it := &req.Input[i]; it.Type {
		case "custom_tool_call":
			it.Type, it.Arguments, it.Input = "function_call", responses.String(wrapInput(or(it.Input, ""))), nil
		case "custom_tool_call_output":
			it.Type = "function_call_output"
		}
	}
	if c := req.ToolChoice; c != nil {
		choice := functionChoice(*c)
		choice.Tools = slices.Clone(c.Tools)
		for i, t := range choice.Tools {
			choice.Tools[i] = functionChoice(t)
		}
		req.ToolChoice = &choice
	}
	return nil
}

func functionChoice(c responses.ToolChoice) responses.ToolChoice {
	if c.Type == "custom" {
		c.Type = "function"
	}
	return c
}

// customDescription is the description of the function that stands for a custom
// tool; the model is told of a grammar in words.
func customDescription(t *responses.Tool) string {
	if t.Format == nil || t.Format.Type != "grammar" {
		return t.Description
	}
	return strings.TrimPrefix(t.Description+"\nThe `input` must follow this "+t.Format.Syntax+" grammar:\n"+t.Format.Definition, "\n")
}

// wrappedCall tells whether a call of the upstream's is one of a custom tool that
// was made a function.
func (n *Names) wrappedCall(item *responses.Item) bool {
	return item.Type == "function_call" && item.Name != "" && n.tool(item.Name).kind == kindCustom
}

// unwrapped is such a call as the client's tool is called. What it is called with
// is whole only when the item is done.
func unwrapped(item *responses.Item) *responses.Item {
	call := *item
	args := item.Arguments.JSON()
	var u unwrapper
	input, _ := u.feed(args)
	input += u.rest(args)
	call.Type, call.Arguments, call.Input = "custom_tool_call", responses.Value{}, &input
	return &call
}
