package mcpbridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
)

// Request says what one client request may use.
type Request struct {
	// Allows reports whether a tool may be used. It is asked when the tools are listed and again for every call: what
	// is not in the list could otherwise be called by its name. It must not change the tool. Default: all are.
	Allows func(t *Tool) bool
	// ClientTools are the names of functions that the client brought. A tool of the same name is not offered.
	ClientTools []string
	// Remote are servers that the client names.
	Remote []Remote
	// Owner is who the client is, the id of its key for instance: connections to a [Remote] are shared within it only.
	Owner string
	// Limits of the session.
	Limits Limits
}

// Limits bound what a session does. Zero means the default.
type Limits struct {
	// Turns is how often the model is asked at most, the last time without tools ([Session.Last]). Default: 8.
	Turns int
	// Calls is how many calls run at most; those above get an answer that says so. Default: 32.
	Calls int
	// Parallel is how many calls run at one time. Default: 8.
	Parallel int
	// ResultBytes is the most text of one result. Default and at most: [ServerConfig.MaxOutput].
	ResultBytes int
	// CallTimeout bounds one call. Default and at most: [ServerConfig.CallTimeout].
	CallTimeout time.Duration
}

// Session is one client request's use of the servers. Its methods are for one goroutine at a time. [Session.Close]
// must be called.
type Session struct {
	bridge *Bridge
	limits Limits
	allows func(*Tool) bool
	tools  []Tool
	by     map[string]bound
	turn   int
	calls  int
	leave  []func()
}

// bound is a tool and where it runs.
type bound struct {
	tool   *Tool
	server *Server
	cfg    *ServerConfig
}

// Call is a call that the model made.
type Call struct {
	// ID is the model's, and comes back in the [Outcome].
	ID string
	// Name is [Tool.Name].
	Name string
	// Arguments are a JSON object as text; "" means {}.
	Arguments string
}

// Outcome is what became of a call.
type Outcome struct {
	Call Call
	// Tool is the tool called, the zero Tool if there is none of that name.
	Tool Tool
	// Text is the result as plain text, or for a failure what the model should know of it. Never empty.
	Text string
	// Content is the result in pieces, its text and data bounded as Text is. Empty for a failure with Err.
	Content []Content
	// Structured is the result's structuredContent; nil if there is none, or if it is larger than a text may be.
	Structured jsontext.Value
	// Failed: the tool says that it failed (isError; Err is nil), or the call did (Err says why).
	Failed bool
	// Err is an [*RPCError], an [*HTTPError], or wraps one of the package's errors. Its text is for the log, and may
	// name addresses; Text is for the model and the client.
	Err error
	// Took is how long the call ran, with the wait for its turn.
	Took time.Duration
}

// Session lists the tools that are there now and that the request may use. It does not wait for servers that are not
// connected. The error is [ErrClosed] or, for a [Remote] that cannot be used, a [*RemoteError].
func (b *Bridge) Session(ctx context.Context, r Request) (*Session, error) {
	if !b.enter() {
		return nil, ErrClosed
	}
	s := &Session{bridge: b, allows: r.Allows, by: map[string]bound{}, turn: 1, leave: []func(){b.leave}}
	s.limits = Limits{Turns: orElse(r.Limits.Turns, 8), Calls: orElse(r.Limits.Calls, 32), Parallel: orElse(r.Limits.Parallel, 8),
		ResultBytes: r.Limits.ResultBytes, CallTimeout: r.Limits.CallTimeout}
	if s.allows == nil {
		s.allows = func(*Tool) bool { return true }
	}
	taken := make(map[string]bool, len(r.ClientTools))
	for _, name := range r.ClientTools {
		taken[name] = true
	}
	for _, run := range b.servers() {
		s.add(b.toolsOf(run), run.Server, run.cfg, taken)
	}
	if len(r.Remote) > maxRemotes {
		s.Close()
		return nil, &RemoteError{r.Remote[maxRemotes].Label, true, fmt.Errorf("a request may name at most %d servers", maxRemotes)}
	}
	for _, remote := range r.Remote {
		server, tools, release, err := b.remotes.use(ctx, r.Owner, remote)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.leave = append(s.leave, release)
		s.add(tools, server, &server.cfg, taken)
	}
	return s, nil
}

func (s *Session) add(tools []Tool, server *Server, cfg *ServerConfig, taken map[string]bool) {
	s.tools = slices.Grow(s.tools, len(tools))
	for i := range tools {
		t := &tools[i]
		_, twice := s.by[t.Name]
		if twice || taken[t.Name] || !s.allows(t) {
			continue
		}
		s.tools = append(s.tools, *t)
		s.by[t.Name] = bound{t, server, cfg}
	}
}

// Tools are the session's tools: by server in the order of the configuration, then by name. The same servers give the
// same list, byte for byte.
func (s *Session) Tools() []Tool { return slices.Clone(s.tools) }

// Owns reports whether name is one of the session's tools.
func (s *Session) Owns(name string) bool {
	_, ok := s.by[name]
	return ok
}

// Last reports whether this turn of the model is the last: tools should be forbidden in it, because their calls would
// not run.
func (s *Session) Last() bool { return s.turn >= s.limits.Turns || s.calls >= s.limits.Calls }

// Run runs the calls of one turn side by side and returns their outcomes in the order of the calls. on, if not nil, is
// called for each outcome as it comes, for one at a time. When ctx ends the calls are cancelled. Run never fails: a
// call that does has an outcome that says so.
func (s *Session) Run(ctx context.Context, calls []Call, on func(Outcome)) []Outcome {
	s.turn++
	out := make([]Outcome, len(calls))
	slots := make(chan struct{}, s.limits.Parallel)
	var one sync.Mutex
	var wg sync.WaitGroup
	for i, c := range calls {
		over := s.calls >= s.limits.Calls
		if !over {
			s.calls++
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			o := s.one(ctx, c, over)
			out[i] = o
			if on != nil {
				one.Lock()
				defer one.Unlock()
				on(o)
			}
		})
	}
	wg.Wait()
	return out
}

// one runs one call.
func (s *Session) one(ctx context.Context, c Call, over bool) (o Outcome) {
	began := time.Now()
	o.Call = c
	var names []string
	limit := DefaultMaxOutput
	defer func() {
		if p := recover(); p != nil {
			s.bridge.options.Log.Error("panic in an MCP tool call", zap.Any("panic", p), zap.Stack("stack"))
			o.Err = ErrPanic
		}
		o.Took = time.Since(began)
		if o.Err != nil {
			o.Failed, o.Content, o.Structured = true, nil, nil
			o.Text = "Error: " + shorten(forModel(o.Err), limit)
		}
		s.audit(&o, names)
	}()

	b, ok := s.by[c.Name]
	switch {
	case !ok:
		o.Err = fmt.Errorf("%w: %q", ErrUnknownTool, c.Name)
		return o
	case !s.allows(b.tool):
		o.Tool, o.Err = *b.tool, ErrForbidden
		return o
	}
	o.Tool = *b.tool
	limit = atMost(s.limits.ResultBytes, b.cfg.maxOutput())
	if over {
		o.Err = ErrBudget
		return o
	}
	arguments := jsontext.Value(orElse(c.Arguments, "{}"))
	var members map[string]jsontext.Value
	if arguments.Kind() != '{' || json.Unmarshal(arguments, &members) != nil {
		o.Err = ErrArguments
		return o
	}
	names = slices.Sorted(keys(members))
	names = names[:min(len(names), 32)]

	ctx, cancel := context.WithTimeout(ctx, atMost(s.limits.CallTimeout, b.cfg.callTimeout()))
	defer cancel()
	raw, err := b.server.call(ctx, b.tool.Original, arguments)
	if rpc, ok := errors.AsType[*RPCError](err); ok {
		err = &RPCError{rpc.Code, shorten(rpc.Message, limit)}
	}
	if err != nil {
		o.Err = err
		return o
	}
	r, err := readResult(raw)
	if err != nil {
		o.Err = err
		return o
	}
	o.Text, o.Failed = r.text(limit), r.failed
	if len(r.structured) <= limit {
		o.Structured = r.structured
	}
	r.fit(limit)
	o.Content = r.content
	return o
}

// atMost is limit if it is set and lower than most.
func atMost[T int | time.Duration](limit, most T) T {
	if limit > 0 && limit < most {
		return limit
	}
	return most
}

// audit logs a call: which, by what arguments' names, with what end. Never their values, nor the result.
func (s *Session) audit(o *Outcome, arguments []string) {
	outcome := "ok"
	fields := []zap.Field{zap.String("mcp_server", o.Tool.Server), zap.String("tool", o.Tool.Original), zap.Strings("arguments", arguments),
		zap.Int("result_bytes", len(o.Text)), zap.Duration("took", o.Took)}
	switch {
	case errors.Is(o.Err, context.Canceled):
		outcome = "cancelled"
	case o.Err != nil:
		outcome = "error"
		text := brief(o.Err.Error(), maxErrorText)
		if b, ok := s.by[o.Call.Name]; ok {
			text = b.server.redact(o.Err)
		}
		fields = append(fields, zap.String("error", text))
	case o.Failed:
		outcome = "failed"
	}
	s.bridge.options.Log.Info("MCP tool call", append(fields, zap.String("outcome", outcome))...)
}

// Close ends the session. It does not end calls: their context does. It may be called twice.
func (s *Session) Close() {
	leave := s.leave
	s.leave = nil
	for _, f := range leave {
		f()
	}
}
