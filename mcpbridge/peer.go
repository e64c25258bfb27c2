package mcpbridge

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// peer is JSON-RPC over a carrier, in the form mcp-go wants a transport in. It stands in for mcp-go 1.2.1's own stdio
// and SSE transports, which
//   - hold a lock during a write without a deadline, so that one child that does not read stops every call;
//   - take an SSE server's own requests for answers to ours with the same number, and answer none of them;
//   - let calls on an SSE stream that has ended wait for their timeout;
//   - lose an answer whose id comes back as a text.
type peer struct {
	carrier
	mu      sync.Mutex
	pending map[string]chan *transport.JSONRPCResponse
	notify  func(mcp.JSONRPCNotification)
	err     error         // why it ended; set before done closes
	done    chan struct{} // no message will come any more
	replies chan []byte
	running sync.WaitGroup
}

func newPeer(c carrier) *peer {
	return &peer{carrier: c, pending: map[string]chan *transport.JSONRPCResponse{}, done: make(chan struct{}), replies: make(chan []byte, 64)}
}

// message is any JSON-RPC message.
type message struct {
	ID     jsontext.Value `json:"id"`
	Method string         `json:"method"`
	Result jsontext.Value `json:"result"`
	Error  jsontext.Value `json:"error"`
}

// Start begins to receive. The context is not used: the connection lives until Close.
func (p *peer) Start(context.Context) error {
	p.running.Go(func() {
		err := p.receive(p.deliver)
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	})
	p.running.Go(func() {
		for {
			select {
			case m := <-p.replies:
				ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
				_ = p.send(ctx, m)
				cancel()
			case <-p.done:
				return
			}
		}
	})
	return nil
}

// deliver takes one message; false means it is none.
func (p *peer) deliver(raw []byte) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' {
		return false
	}
	raw = bytes.ToValidUTF8(raw, []byte("\ufffd")) // a copy only where it is needed
	var m message
	if json.Unmarshal(raw, &m, lenient) != nil {
		return false
	}
	switch {
	case m.Method != "" && m.ID == nil:
		p.mu.Lock()
		notify := p.notify
		p.mu.Unlock()
		var n mcp.JSONRPCNotification
		if notify != nil && stdjson.Unmarshal(raw, &n) == nil {
			notify(n)
		}
	case m.Method != "":
		if len(m.ID) > maxMessageID {
			return true // no answer: it would wait in replies with the whole of it
		}
		select {
		case p.replies <- reply(m):
		default: // it asks faster than it reads the answers
		}
	case m.ID != nil:
		p.mu.Lock()
		waiting := p.pending[idKey(m.ID)]
		delete(p.pending, idKey(m.ID))
		p.mu.Unlock()
		if waiting == nil {
			return true // an answer that nobody waits for any more
		}
		answer := &transport.JSONRPCResponse{JSONRPC: mcp.JSONRPC_VERSION, Result: stdjson.RawMessage(m.Result)}
		if m.Error != nil && m.Error.Kind() != 'n' {
			answer.Error = new(mcp.JSONRPCErrorDetails)
			if stdjson.Unmarshal(m.Error, answer.Error) != nil {
				answer.Error.Code, answer.Error.Message = mcp.INTERNAL_ERROR, "the server answered with an error that is no JSON-RPC error"
			}
		}
		waiting <- answer
	default:
		return false
	}
	return true
}

// reply answers a request of the server. We declare neither roots nor sampling nor elicitation: a gateway has no
// folders to show, lends nobody its model, and has no person to ask. MCP 2025-11-25, client/roots, "Error Handling":
// method not found. A ping is answered (basic/utilities/ping).
func reply(m message) []byte {
	if m.Method == string(mcp.MethodPing) {
		return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
	}
	text, _ := jsontext.AppendQuote(nil, "this client does not support "+brief(m.Method, maxMethodShown))
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s}}`, m.ID, mcp.METHOD_NOT_FOUND, text)
}

// idKey makes 7 and "7" the same id.
func idKey(id jsontext.Value) string { return strings.Trim(string(id), `"`) }

// SendRequest sends a request and waits for its answer.
func (p *peer) SendRequest(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
	raw, err := stdjson.Marshal(request)
	if err != nil {
		return nil, err
	}
	id, err := stdjson.Marshal(request.ID)
	if err != nil {
		return nil, err
	}
	answer := make(chan *transport.JSONRPCResponse, 1)
	p.mu.Lock()
	p.pending[idKey(id)] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, idKey(id))
		p.mu.Unlock()
	}()
	select {
	case <-p.done:
		return nil, p.ended(errNotSent)
	default:
	}
	if err := p.send(ctx, raw); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		select {
		case r := <-answer: // it came before the end
			return r, nil
		default:
			return nil, p.ended(errGone)
		}
	}
}

// ended is what with the reason of the connection's end.
func (p *peer) ended(what error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%w: %w", what, p.err)
}

// SendNotification sends a notification.
func (p *peer) SendNotification(ctx context.Context, n mcp.JSONRPCNotification) error {
	raw, err := stdjson.Marshal(n)
	if err != nil {
		return err
	}
	return p.send(ctx, raw)
}

// SetNotificationHandler sets what is called, on the receiving goroutine, for each notification.
func (p *peer) SetNotificationHandler(h func(mcp.JSONRPCNotification)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notify = h
}

// GetSessionId is empty: neither carrier has sessions.
//
//lint:ignore ST1003 mcp-go's interface spells it so
func (p *peer) GetSessionId() string { return "" }

// Close ends the connection and returns when nothing of it runs any more.
func (p *peer) Close() error {
	p.close()
	p.running.Wait()
	return nil
}

var _ transport.Interface = (*peer)(nil)
