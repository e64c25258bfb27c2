package chat2response

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/mcpbridge"
)

// loop answers a request to whose tools the gateway has added its own: it runs the
// model's calls of these and asks again with their results, until the model has
// answered, or calls tools of the client. The client sees one answer.
//
// Only calls that the upstream has made in this answer are run, and those that the
// client has approved; never one that a client brings as history.
type loop struct {
	x       *exchange
	session *mcpbridge.Session
	splice  *convert.Splice
	tools   map[string]*mcpbridge.Tool // by the model's name
	asks    map[string]bool            // those that the client must approve
	options convert.Options
	owner   string
	last    bool // the model may call no more tools
}

// maxMessage bounds what of an error a client is told of a call.
const maxMessage = 1 << 10

// hosted tells of a tool by the model's name for it.
func (l *loop) hosted(name string) (convert.HostedTool, bool) {
	t, ok := l.tools[name]
	if !ok {
		return convert.HostedTool{}, false
	}
	return convert.HostedTool{Server: t.Server, Name: t.Original, Approve: l.asks[name]}, true
}

// run asks the upstream as often as need be.
func (l *loop) run() error {
	x := l.x
	l.splice = convert.NewSplice(x.req, l.options, l.hosted, x.tell)
	if err := l.begin(); err != nil {
		return l.broke(err)
	}
	turns := 0
	defer func() { mcpTurns.Observe(float64(turns)) }()
	for {
		var err error
		if x.turn, err = x.to(x.up.Mode, l.options); err != nil {
			return l.broke(err)
		}
		turns++
		if err := x.ask(); err != nil {
			return l.broke(err)
		}
		more, err := l.settle(l.splice.Turn())
		if err != nil {
			return l.broke(err)
		}
		if !more {
			return x.deliver()
		}
		l.splice.Next()
		x.resp.again()
	}
}

// broke ends an answer whose upstream failed, perhaps in a later turn.
func (l *loop) broke(err error) error {
	x := l.x
	if lapsed := x.keyEnded(); lapsed != nil && !x.gone {
		x.outcome, err = "unauthorized", lapsed
	} else if errors.Is(err, errGone) || x.r.Context().Err() != nil {
		x.outcome = "client_gone"
		return errGone
	}
	if !x.begun {
		return err // still an HTTP status
	}
	var failure *convert.Error
	if !errors.As(err, &failure) {
		failure = &convert.Error{Status: http.StatusBadGateway, Type: "server_error", Code: "server_error", Message: "The gateway could not go on with this answer."}
	}
	if err := l.say(func() error { return l.splice.Finish(failure) }); err != nil {
		return errGone
	}
	return x.deliver()
}

// say emits events between two turns.
func (l *loop) say(f func() error) error {
	return l.x.resp.locked(func() error {
		if err := f(); err != nil {
			return err
		}
		return l.x.send()
	})
}

// settle does what the upstream wants, and tells whether it is to be asked again.
func (l *loop) settle(turn convert.SplicedTurn) (more bool, err error) {
	x, r := l.x, turn.Response
	if r.Status != responses.Completed || l.last || len(turn.Calls) == 0 {
		// A call that was cut off, or that came although none was allowed, is not run.
		return false, l.finish(turn.Calls)
	}
	var run, asked []*convert.HostedCall
	for _, c := range turn.Calls {
		if c.Approve {
			asked = append(asked, c)
		} else {
			run = append(run, c)
		}
	}
	x.resp.keepAwake()
	outputs, err := l.call(run)
	if err != nil {
		return false, err
	}
	x.req.More.Items = append(append(x.req.More.Items, r.Output...), outputs...)
	if turn.Theirs {
		l.hide(turn)
	}
	if turn.Theirs || len(asked) > 0 {
		for _, c := range asked {
			if err := l.say(func() error { return l.splice.Put(l.approvalOf(c)) }); err != nil {
				return false, errGone
			}
		}
		return false, l.finish(nil)
	}
	if !l.budget() {
		return false, l.finish(nil)
	}
	x.req.More.Choice = "auto" // what the client has forced has been called
	if l.last = l.session.Last(); l.last {
		x.req.More.Choice = "none"
	}
	return true, nil
}

// finish ends the answer with the turn that there was.
func (l *loop) finish(dropped []*convert.HostedCall) error {
	if in := l.x.req.Chat(); in != nil {
		in.Messages = l.x.sent // what is stored of it is what the client has sent
	}
	err := l.say(func() error {
		for _, c := range dropped {
			if err := l.splice.Drop(c); err != nil {
				return err
			}
		}
		return l.splice.Finish(nil)
	})
	if err != nil {
		return errGone
	}
	return nil
}

// budget takes what has been used off the client's limit of tokens, and ends the
// answer where nothing is left.
func (l *loop) budget() bool {
	limit, used := l.x.req.Canonical.MaxOutputTokens, l.splice.Usage()
	if limit == nil || used == nil {
		return true
	}
	left := *limit - used.OutputTokens
	if left <= 0 {
		l.splice.Stop()
		return false
	}
	if l.x.up.Mode == convert.Responses {
		left = max(left, l.x.up.dialect.MinTokens)
	}
	l.x.req.More.MaxOutputTokens = &left
	return true
}

// call runs calls, and returns what the model is told of them, in their order.
func (l *loop) call(list []*convert.HostedCall) ([]responses.Item, error) {
	calls := make([]mcpbridge.Call, len(list))
	byID := map[string]*convert.HostedCall{}
	for i, c := range list {
		id := strconv.Itoa(i) // the model's own need not be unique
		calls[i] = mcpbridge.Call{ID: id, Name: c.Call.Name, Arguments: c.Call.Arguments.JSON()}
		byID[id] = c
	}
	ctx := l.x.r.Context()
	outcomes := l.session.Run(ctx, calls, func(o mcpbridge.Outcome) {
		l.count(&o)
		// An error here is one of the client's connection, which ends ctx.
		_ = l.say(func() error { return l.splice.Ran(byID[o.Call.ID], o.Text, failureOf(&o)) })
	})
	if ctx.Err() != nil {
		return nil, errGone
	}
	outputs := make([]responses.Item, len(outcomes))
	for i := range outcomes {
		outputs[i] = responses.Item{Type: "function_call_output", CallID: list[i].Call.CallID, Output: l.output(&outcomes[i])}
	}
	return outputs, nil
}

// output is a result as the upstream is told of it. A tool message of Chat has room
// for text only; a Responses upstream sees images too.
func (l *loop) output(o *mcpbridge.Outcome) responses.Value {
	images := false
	for _, c := range o.Content {
		images = images || c.Type == "image"
	}
	if !images || l.x.up.Mode == convert.Chat {
		return responses.String(o.Text)
	}
	var parts []responses.Part
	for _, c := range o.Content {
		if c.Type == "image" {
			parts = append(parts, responses.Part{Type: "input_image", ImageURL: "data:" + c.MIMEType + ";base64," + c.Data, Detail: "auto"})
		}
	}
	parts = append(parts, responses.InputText(o.Text))
	b, err := json.Marshal(parts)
	if err != nil {
		return responses.String(o.Text)
	}
	return responses.Raw(b)
}

// failureOf is the error of an mcp_call: nil if the tool did what it was to do.
func failureOf(o *mcpbridge.Outcome) jsontext.Value {
	if !o.Failed {
		return nil
	}
	var rpc *mcpbridge.RPCError
	var status *mcpbridge.HTTPError
	var v any
	switch {
	case errors.As(o.Err, &rpc):
		v = map[string]any{"type": "mcp_protocol_error", "code": rpc.Code, "message": clip(rpc.Message, maxMessage)}
	case errors.As(o.Err, &status):
		v = map[string]any{"type": "http_error", "code": status.Status, "message": clip(status.Error(), maxMessage)}
	case o.Err != nil:
		v = map[string]any{"type": "mcp_protocol_error", "code": codeOf(o.Err), "message": clip(o.Text, maxMessage)}
	default:
		v = map[string]any{"type": "mcp_tool_execution_error", "content": []any{map[string]string{"type": "text", "text": o.Text}}}
	}
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return jsontext.Value(`{"type":"mcp_protocol_error","code":-32603,"message":"The call failed."}`)
	}
	return b
}

// codeOf is the number that JSON-RPC 2.0 §5.1 has for what kept a call from being
// answered.
func codeOf(err error) int {
	switch {
	case errors.Is(err, mcpbridge.ErrArguments):
		return -32602 // invalid params
	case errors.Is(err, mcpbridge.ErrUnknownTool), errors.Is(err, mcpbridge.ErrForbidden):
		return -32601 // method not found
	}
	return -32603 // internal error
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// hide keeps the calls that a Chat client does not see, for its next request.
func (l *loop) hide(turn convert.SplicedTurn) {
	x := l.x
	in := x.req.Chat()
	if in == nil || x.req.Out != convert.Chat {
		return
	}
	var ids []string
	ours := map[string]bool{}
	for _, c := range turn.Calls {
		ours[c.Call.ID] = true
	}
	var items []responses.Item
	for _, it := range x.req.More.Items {
		switch {
		case it.Type == "message": // the client has the text
		case (it.Type == "function_call" || it.Type == "custom_tool_call") && !l.session.Owns(it.Name):
		default:
			items = append(items, it)
		}
	}
	for i := range turn.Response.Output {
		it := &turn.Response.Output[i]
		if (it.Type == "function_call" || it.Type == "custom_tool_call") && !ours[it.ID] {
			ids = append(ids, it.CallID)
		}
	}
	messages, err := convert.Messages(items, l.options)
	if err != nil || len(messages) == 0 || len(ids) == 0 {
		return
	}
	var before []byte
	for i := range x.sent {
		before = said(before, &x.sent[i])
	}
	slices.Sort(ids)
	hidden.put(keyOf(l.owner, x.req.Model(), before, ids), messages, time.Now())
}

// count counts a call.
func (l *loop) count(o *mcpbridge.Outcome) {
	server, tool := o.Tool.Server, o.Tool.Original
	if t := l.tools[o.Call.Name]; t == nil || t.Remote { // names that clients choose are no labels
		server, tool = "client", ""
	}
	outcome := "ok"
	switch {
	case errors.Is(o.Err, context.Canceled):
		outcome = "cancelled"
	case o.Err != nil:
		outcome = "error"
	case o.Failed:
		outcome = "failed"
	}
	mcpCalls.WithLabelValues(server, tool, outcome).Inc()
	mcpSeconds.WithLabelValues(server).Observe(o.Took.Seconds())
}
