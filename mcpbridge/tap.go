package mcpbridge

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

const (
	maxTools    = 1024    // of one server
	maxToolList = 8 << 20 // bytes of all its pages
	maxPages    = 64
	lastWord    = 5 * time.Second // for a message that nobody waits for
)

// tapped is what the tap kept of an answer.
type tapped struct {
	err    *RPCError
	result jsontext.Value   // of tools/call
	tools  []jsontext.Value // of tools/list, all pages so far
	bytes  int              // of all pages
	pages  int
	large  int // tools left out because of their size
	listed int // tools, those left out too
	defs   int // bytes of what is used of them
}

// tap lies between mcp-go's client and a transport. mcp-go 1.2.1 reads a schema into a struct and drops the members it
// does not know, fails a whole list for one odd schema and a whole result for one unknown kind of content, and loses
// the code of most errors. So the tap keeps every answer as it came, for us to read, and lets mcp-go have as much of it
// as it needs: for the headers that MCP 2026-07-28 makes of arguments (SEP-2243), and for its retries (SEP-2322).
type tap struct {
	transport.Interface
	limits   toolLimits
	maxError int // bytes of an error's message; 0 means DefaultMaxOutput

	// What uses the transport is counted, so that close can wait for it: mcp-go sends notifications on goroutines of
	// its own.
	mu    sync.Mutex
	users int
	shut  bool
	idle  chan struct{} // closed when shut and no user is left
}

func newTap(t transport.Interface) *tap { return &tap{Interface: t, idle: make(chan struct{})} }

// enter begins a use of the transport, which leave ends. It reports false once the tap is shut.
func (t *tap) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return false
	}
	t.users++
	return true
}

func (t *tap) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users--; t.users == 0 && t.shut {
		close(t.idle)
	}
}

// drain takes no more users, and returns what closes when the last is gone.
func (t *tap) drain() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.shut && t.users == 0 {
		close(t.idle)
	}
	t.shut = true
	return t.idle
}

// close ends the transport, and returns when nothing uses it any more.
func (t *tap) close() {
	idle := t.drain()
	_ = t.Close()
	<-idle
}

// webTap is a tap on streamable HTTP. mcp-go sees by SetProtocolVersion that a transport is HTTP.
type webTap struct {
	*tap
	http *transport.StreamableHTTP
}

func (t *webTap) SetProtocolVersion(v string) { t.http.SetProtocolVersion(v) }

// SendRequest passes a request on, and keeps the answer in the context's note.
func (t *tap) SendRequest(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	if !t.enter() {
		return nil, errNotSent
	}
	defer t.leave()
	response, err := t.Interface.SendRequest(ctx, request)
	n := noteOf(ctx)
	if err != nil || n == nil {
		return response, err
	}
	if response.Error != nil {
		// M10: an error's words go where a result's do, and are cut as a result's are.
		response.Error.Message = shorten(response.Error.Message, orElse(t.maxError, DefaultMaxOutput))
		response.Error.Data = nil // nobody reads it
		n.err = &RPCError{response.Error.Code, response.Error.Message}
		return response, nil
	}
	if request.Method == string(mcp.MethodInitialize) || request.Method == string(mcp.MethodServerDiscover) {
		if len(response.Result) > maxHello { // mcp-go keeps what the server says of itself
			return nil, fmt.Errorf("its answer to %s has %d bytes; at most %d are allowed", request.Method, len(response.Result), maxHello)
		}
	}
	response.Result = bytes.ToValidUTF8(response.Result, []byte("\ufffd"))
	switch request.Method {
	case string(mcp.MethodToolsList):
		response.Result, err = n.keepList(jsontext.Value(response.Result), t.limits)
	case string(mcp.MethodToolsCall):
		n.result = jsontext.Value(response.Result)
		var kind struct {
			ResultType string `json:"resultType"`
		}
		if json.Unmarshal(n.result, &kind, lenient) == nil && kind.ResultType == string(mcp.ResultTypeInputRequired) {
			return response, nil // mcp-go tries again, or says why it cannot
		}
		response.Result = stdjson.RawMessage(`{"content":[]}`)
	}
	return response, err
}

// keepList keeps the tools of one page, and returns the page with everything gone that mcp-go could trip over. How many
// there are and how large is looked at first.
func (n *note) keepList(raw jsontext.Value, limits toolLimits) (stdjson.RawMessage, error) {
	n.bytes += len(raw)
	if n.pages++; n.pages > maxPages || n.bytes > maxToolList {
		return nil, toolLimits{}.check(maxTools+1, 0)
	}
	var page struct {
		Tools      []jsontext.Value `json:"tools"`
		NextCursor jsontext.Value   `json:"nextCursor"`
	}
	if err := json.Unmarshal(raw, &page, lenient); err != nil {
		return nil, fmt.Errorf("its list of tools cannot be read: %w", err)
	}
	n.listed += len(page.Tools)
	if err := limits.check(n.listed, n.defs); err != nil {
		return nil, err
	}
	type thin struct {
		Name   string             `json:"name"`
		Schema stdjson.RawMessage `json:"inputSchema"`
	}
	list := make([]thin, 0, len(page.Tools))
	for _, t := range page.Tools {
		var in struct {
			Name        string         `json:"name"`
			Description jsontext.Value `json:"description"`
			Schema      jsontext.Value `json:"inputSchema"`
		}
		if json.Unmarshal(t, &in, lenient) != nil || in.Name == "" {
			n.listed--
			continue
		}
		n.defs += len(in.Name) + min(len(in.Description), maxDescription) + len(in.Schema)
		if len(in.Name) > maxToolName || len(in.Schema) > maxSchema {
			n.large++
			continue
		}
		n.tools = append(n.tools, t)
		list = append(list, thin{in.Name, stdjson.RawMessage(in.Schema)})
	}
	if err := limits.check(n.listed, n.defs); err != nil {
		return nil, err
	}
	for i, out := range list {
		trial, err := stdjson.Marshal(out)
		if err != nil || stdjson.Unmarshal(trial, new(mcp.Tool)) != nil {
			list[i].Schema = stdjson.RawMessage(`{"type":"object"}`)
		}
	}
	var cursor string
	if page.NextCursor.Kind() == '"' {
		_ = json.Unmarshal(page.NextCursor, &cursor, lenient)
	}
	return stdjson.Marshal(struct {
		Tools      []thin `json:"tools"`
		NextCursor string `json:"nextCursor,omitempty"`
	}{list, cursor})
}

// SendRequest passes a request on, and tells a server of MCP 2025-11-25 or before when nobody waits for the answer any
// more: that the connection is gone does not tell it (basic/transports, "Sending Messages to the Server"), and mcp-go
// 1.2.1 says nothing over HTTP.
func (t *webTap) SendRequest(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	response, err := t.tap.SendRequest(ctx, request)
	if err != nil && ctx.Err() != nil && request.Method == string(mcp.MethodToolsCall) && t.http.GetSessionId() != "" {
		cancelled := mcp.JSONRPCNotification{JSONRPC: mcp.JSONRPC_VERSION, Notification: mcp.Notification{
			Method: string(mcp.MethodNotificationCancelled),
			Params: mcp.NotificationParams{AdditionalFields: map[string]any{"requestId": request.ID, "reason": "nobody waits for it any more"}},
		}}
		// The caller need not wait for this. close waits: the transport's end ends it.
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
			defer cancel()
			_ = t.SendNotification(ctx, cancelled)
		}()
	}
	return response, err
}

// SendNotification passes a notification on.
func (t *tap) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	if !t.enter() {
		return errNotSent
	}
	defer t.leave()
	return t.Interface.SendNotification(ctx, n)
}

// refuser answers requests that a server sends over streamable HTTP, as [reply] does on the other transports. mcp-go
// 1.2.1 answers each on a goroutine and a connection of its own, for as long as the server lets it wait: so at most
// [maxReplies] are on their way, and a server that asks faster than it reads gets no answer to the rest.
type refuser chan struct{}

func (f refuser) refuse(ctx context.Context, r transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	select {
	case f <- struct{}{}:
	default:
		return nil, nil // which mcp-go does not send
	}
	// mcp-go ends ctx when the answer was sent.
	context.AfterFunc(ctx, func() { <-f })
	if id, ok := r.ID.Value().(string); ok && len(id) > maxMessageID {
		return nil, nil
	}
	if r.Method == string(mcp.MethodPing) {
		return transport.NewJSONRPCResultResponse(r.ID, stdjson.RawMessage("{}")), nil
	}
	return transport.NewJSONRPCErrorResponse(r.ID, mcp.METHOD_NOT_FOUND, "this client does not support "+brief(r.Method, maxMethodShown), nil), nil
}
