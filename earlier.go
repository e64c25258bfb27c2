package chat2response

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/mcpbridge"
)

// listings are the lists of tools of the servers that the client has named with an
// address, as items, but for those that the input has already.
func (l *loop) listings() []responses.Item {
	byLabel := map[string][]any{}
	var labels []string
	for _, t := range l.session.Tools() {
		if !t.Remote {
			continue
		}
		if byLabel[t.Server] == nil {
			labels = append(labels, t.Server)
		}
		byLabel[t.Server] = append(byLabel[t.Server], map[string]any{
			"annotations": map[string]bool{"read_only": t.ReadOnly}, "description": t.Description, "input_schema": t.Schema, "name": t.Original,
		})
	}
	for _, it := range l.x.req.Canonical.Input {
		if it.Type == "mcp_list_tools" {
			delete(byLabel, it.ServerLabel)
		}
	}
	var items []responses.Item
	for _, label := range labels {
		if byLabel[label] == nil {
			continue
		}
		tools, err := json.Marshal(map[string]any{"tools": byLabel[label]}, json.Deterministic(true))
		if err != nil {
			continue
		}
		items = append(items, responses.Item{Type: "mcp_list_tools", ID: convert.NewID("mcpl_"), ServerLabel: label, Unknown: tools})
	}
	return items
}

// approvalOf asks the client for its approval of a call. The id can only come from
// here, and for this call.
func (l *loop) approvalOf(c *convert.HostedCall) responses.Item {
	args := c.Call.Arguments.JSON()
	return responses.Item{
		Type: "mcp_approval_request", ID: "mcpr_" + l.options.Sealer.Mark(l.marked(c.Server, c.Name, args)),
		Name: c.Name, ServerLabel: c.Server, Arguments: responses.String(args),
	}
}

func (l *loop) marked(server, name, arguments string) string {
	return strings.Join([]string{l.owner, server, name, arguments}, "\x00")
}

// begin makes of the client's input what the upstream can read: calls of the
// gateway's tools become function calls, and those that the client has approved
// are run.
func (l *loop) begin() error {
	x := l.x
	if x.req.In == convert.Responses && len(x.req.Past) > 0 { // an answer to what was asked in a stored turn
		x.req.Canonical.Input = slices.Concat(x.req.Past, x.req.Canonical.Input)
		x.req.Past = []responses.Item{}
	}
	for _, item := range l.listings() {
		if err := l.splice.Put(item); err != nil {
			return err
		}
	}
	if x.req.In != convert.Responses {
		return nil
	}
	h := earlier{l: l, requests: map[string]*responses.Item{}, done: map[string]bool{}}
	return h.rewrite()
}

// earlier rewrites the items of earlier answers.
type earlier struct {
	l        *loop
	requests map[string]*responses.Item // approval requests by id
	done     map[string]bool            // those whose call is in the input
	out      []responses.Item
}

func (h *earlier) rewrite() error {
	x := h.l.x
	input := x.req.Canonical.Input
	answered := map[string]bool{}
	for i := range input {
		it := &input[i]
		switch it.Type {
		case "mcp_approval_request":
			if h.requests[it.ID] != nil {
				return badTool(fmt.Sprintf("input[%d]", i), "Duplicate item found with id %s. Remove duplicate items from your input and try again.", it.ID)
			}
			h.requests[it.ID] = it
		case "mcp_call":
			h.done[memberOf(it, "approval_request_id")] = true
		case "mcp_approval_response":
			answered[memberOf(it, "approval_request_id")] = true
		}
	}
	for i := range input {
		it := &input[i]
		known := h.l.knows(it.ServerLabel)
		switch {
		case it.Type == "mcp_list_tools" && known:
		case it.Type == "mcp_call" && known:
			h.call(it.ID, it, convert.MCPResult(it))
		case it.Type == "mcp_approval_request" && known:
			if !answered[it.ID] && !h.done[it.ID] {
				h.call(it.ID, it, "The user has not yet said whether this call may run.")
			}
		case it.Type == "mcp_approval_response":
			if err := h.response(it, fmt.Sprintf("input[%d]", i)); err != nil {
				return err
			}
		default:
			h.out = append(h.out, *it)
		}
	}
	x.req.Canonical.Input = h.out
	return nil
}

// knows tells whether a label is that of a server whose calls the gateway runs.
func (l *loop) knows(label string) bool {
	return slices.Contains(l.x.h.MCP.bridge.names, label) || l.x.req.More.Hosted[label]
}

// call adds both halves of a call.
func (h *earlier) call(id string, it *responses.Item, output string) {
	if id == "" {
		id = convert.NewID("call_")
	}
	h.out = append(h.out,
		responses.Item{Type: "function_call", CallID: id, Name: h.l.nameOf(it.ServerLabel, it.Name), Arguments: it.Arguments},
		responses.Item{Type: "function_call_output", CallID: id, Output: responses.String(output)})
}

// nameOf is the model's name for a tool. One that is not offered any more has one
// all the same: it was called.
func (l *loop) nameOf(server, tool string) string {
	for _, t := range l.tools {
		if t.Server == server && t.Original == tool {
			return t.Name
		}
	}
	return mcpbridge.Name(server, tool)
}

// response takes the client's answer to a request for its approval.
func (h *earlier) response(it *responses.Item, at string) error {
	l := h.l
	id := memberOf(it, "approval_request_id")
	ask := h.requests[id]
	switch {
	case ask == nil:
		return badTool(at+".approval_request_id", "No approval request found with id '%s'. Send the mcp_approval_request back with its mcp_approval_response.", id)
	case !l.knows(ask.ServerLabel):
		h.out = append(h.out, *it) // of a server of the upstream's
		return nil
	case h.done[id]:
		return nil
	}
	var answer struct {
		Approve bool   `json:"approve"`
		Reason  string `json:"reason"`
	}
	if json.Unmarshal(it.Unknown, &answer) != nil {
		return badTool(at+".approve", "Invalid '%s': 'approve' must be true or false.", at)
	}
	if !answer.Approve {
		text := "The user declined this call."
		if answer.Reason != "" {
			text = "The user declined this call: " + answer.Reason
		}
		h.call(id, ask, text)
		return nil
	}
	args := ask.Arguments.JSON()
	mark, ours := strings.CutPrefix(id, "mcpr_")
	if !ours || !l.options.Sealer.Marked(mark, l.marked(ask.ServerLabel, ask.Name, args)) {
		return badTool(at+".approval_request_id", "The approval request '%s' is not one that this gateway made for you with these arguments, or its secret has changed since.", id)
	}
	l.x.resp.keepAwake()
	o := l.session.Run(l.x.r.Context(), []mcpbridge.Call{{ID: id, Name: l.nameOf(ask.ServerLabel, ask.Name), Arguments: args}}, nil)[0]
	if l.x.r.Context().Err() != nil {
		return errGone
	}
	l.count(&o)
	h.call(id, ask, o.Text)
	return l.splice.Put(convert.MCPCall(l.options, convert.HostedTool{Server: ask.ServerLabel, Name: ask.Name}, args, o.Text, failureOf(&o), id))
}

// memberOf is a text member of an item that has no field of its own.
func memberOf(it *responses.Item, name string) string {
	if len(it.Unknown) == 0 {
		return ""
	}
	var object map[string]jsontext.Value
	var text string
	if json.Unmarshal(it.Unknown, &object) != nil || json.Unmarshal(object[name], &text) != nil {
		return ""
	}
	return text
}
