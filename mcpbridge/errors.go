package mcpbridge

import (
	"context"
	"errors"
	"fmt"
)

// What can keep a call from having a result. Each is a result for the model ([Outcome.Text]), never a failure of the
// client's request.
var (
	// ErrUnavailable is a call to a server that has no connection just now.
	ErrUnavailable = errors.New("the MCP server is unavailable, try again later")
	// ErrLost is a call whose connection ended before its answer. The tool may or may not have run, so the call is
	// not repeated.
	ErrLost = errors.New("the connection to the MCP server was lost during the call; it is not known whether the tool ran")
	// ErrTimeout is a call that took longer than [ServerConfig.CallTimeout] or [Limits.CallTimeout].
	ErrTimeout = errors.New("the tool did not answer in time")
	// ErrClosed is the answer of a [Bridge] after [Bridge.Stop].
	ErrClosed = errors.New("the MCP bridge is stopped")
	// ErrUnknownTool is a call to a name that the session did not offer.
	ErrUnknownTool = errors.New("there is no such tool")
	// ErrForbidden is a call that [Request.Allows] does not allow any more.
	ErrForbidden = errors.New("this tool is not allowed here")
	// ErrArguments is a call whose arguments are not one JSON object.
	ErrArguments = errors.New("the arguments are not a JSON object")
	// ErrBudget is a call beyond [Limits.Calls].
	ErrBudget = errors.New("the limit of tool calls is reached; answer with what you have")
	// ErrPanic is a call that ended in a panic. It was logged with its stack.
	ErrPanic = errors.New("the tool call failed inside the gateway")

	// errNotSent: nothing of the request left, so it can be sent again without running a tool twice.
	errNotSent = errors.New("the request was not sent")
	// errGone: the connection ended.
	errGone = errors.New("the connection was lost")
	// errSession: the server has forgotten the session (HTTP 404), and by MCP 2025-11-25, basic/transports, "Session
	// Management", did not run the request.
	errSession = errors.New("the MCP server has ended the session")
)

// RPCError is an error that the server answered with, by JSON-RPC 2.0 §5.1.
type RPCError struct {
	// Code is the server's own number.
	Code int
	// Message is the server's own words.
	Message string
}

func (e *RPCError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// HTTPError is an HTTP status that is no answer.
type HTTPError struct {
	Status int
}

func (e *HTTPError) Error() string {
	text := fmt.Sprintf("the MCP server answered HTTP %d", e.Status)
	if e.Status/100 == 3 {
		return text + " (redirects are not followed: configure the final URL)"
	}
	return text
}

// RemoteError is a server named by the client ([Request.Remote]) that could not be used.
type RemoteError struct {
	// Label is the client's name for it.
	Label string
	// Refused: the gateway's rules forbid this server or its headers; nothing was connected.
	Refused bool
	// Err is the reason. For a refusal it may be shown to the client. Otherwise it belongs in the log only: it would
	// tell the client what answers on which address.
	Err error
}

func (e *RemoteError) Error() string { return fmt.Sprintf("MCP server %q: %v", e.Label, e.Err) }

// Unwrap returns the reason.
func (e *RemoteError) Unwrap() error { return e.Err }

// forModel is what the model may read of an error: the server's own words or one of ours, never an address.
func forModel(err error) string {
	var rpc *RPCError
	var status *HTTPError
	switch {
	case errors.As(err, &rpc):
		return rpc.Message
	case errors.As(err, &status):
		return status.Error()
	}
	for _, known := range []error{ErrUnavailable, ErrLost, ErrTimeout, ErrClosed, ErrUnknownTool, ErrForbidden, ErrArguments, ErrBudget, ErrPanic} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if errors.Is(err, context.Canceled) {
		return "the call was cancelled"
	}
	return ErrUnavailable.Error()
}
