package chat2response

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// memory is what an exchange continues, and where its answer is kept.
type memory struct {
	archive *archive
	tenant  history.Tenant
	turn    history.Turn // without its response
	save    bool         // the answer is to be kept
	chat    bool         // as a chat completion
	done    bool         // it has been
	release func()       // of the conversation
}

// conversationParam is the query parameter of the original: a conversation of the
// client's own naming, of which it sends only what is new.
const conversationParam = "conversation_id"

// namesConversation tells whether the request names a conversation in its query.
func (x *exchange) namesConversation() bool {
	return x.r.URL.RawQuery != "" && x.r.URL.Query().Has(conversationParam)
}

// readsAlways tells whether requests of an API must be read here although the
// upstream speaks it too.
func (x *exchange) readsAlways(api convert.API) bool {
	s := x.h.State
	return s.on() && (api == convert.Responses && s.local(api) || api == convert.Chat && s.ChatCompletions) || x.namesConversation()
}

// stateful tells whether a request whose bytes could go on as they are must not.
func (x *exchange) stateful() bool {
	if !x.h.State.local(x.up.Mode) && !x.namesConversation() {
		return false
	}
	save, _ := x.keeps("")
	return save || x.namesConversation() || x.req.In == convert.Responses && needsState(x.req.Canonical)
}

// recall finds what the request continues and puts it before the request's own
// items. It decides whether the answer will be kept.
func (x *exchange) recall() error {
	name, err := x.conversationName()
	if err != nil {
		return err
	}
	c, s := x.req.Canonical, x.h.State
	asks := name != "" || x.req.In == convert.Responses && needsState(c)
	if !s.on() {
		return refuseState(c, name, x.up.Mode)
	}
	if name != "" && (c.PreviousResponseID != "" || c.Conversation != nil) {
		return badRequest("mutually_exclusive_parameters", conversationParam,
			"Mutually exclusive parameters: 'conversation_id' in the query, and 'previous_response_id' or 'conversation' in the body. Send only one of them.")
	}
	if strings.HasPrefix(name, "conv_") && !s.local(x.up.Mode) {
		c.Conversation = &responses.Conversation{ID: name} // the upstream's
		if x.sealing != nil {
			var ok bool
			if c.Conversation.ID, ok = x.sealing.open(name); !ok {
				return notFound("Conversation", name, "conversation") // as the upstream says of those that it has not
			}
		}
		return nil
	}
	if !s.local(x.up.Mode) && name == "" {
		return nil
	}
	m := &memory{archive: s.archive, release: func() {}}
	m.save, m.chat = x.keeps(name)
	if x.route.name == "convert" {
		m.save = false // there is no answer
	}
	if !asks && !m.save {
		return nil
	}
	if x.key == nil { // /convert asks for a key only here
		if err := x.admit(); err != nil {
			return err
		}
	}
	if x.isNobody() {
		if asks {
			x.outcome = "unauthorized"
			return errNobody
		}
		x.unkept = true
		return nil
	}
	if err := x.remember(m, name); err != nil {
		var refused *convert.Error
		if asks || errors.As(err, &refused) {
			return err
		}
		x.notKept(err)
		return nil
	}
	x.memory = m
	return nil
}

// remember finds the client's part of the history, and in it what the request
// continues.
func (x *exchange) remember(m *memory, name string) error {
	ctx, c := x.r.Context(), x.req.Canonical
	if err := m.archive.use(ctx); err != nil {
		return x.stateError(err, "")
	}
	x.leaves = append(x.leaves, m.archive.leave)
	var owner string
	var err error
	if m.tenant, owner, err = x.tenant(m.archive.history); err != nil {
		return x.stateError(err, "")
	}
	m.tenant = m.tenant.Within(x.hold)
	var past []responses.Item
	switch {
	case c.PreviousResponseID != "" && x.req.In == convert.Responses:
		if m.turn.Chain, err = m.tenant.Chain(ctx, c.PreviousResponseID); err != nil {
			return x.stateError(err, "previous_response_id")
		}
		past = m.turn.Chain.Items
	case name != "" || c.Conversation != nil && x.req.In == convert.Responses:
		param, find := conversationParam, m.tenant.NamedThread
		if name == "" {
			name, param, find = c.Conversation.ID, "conversation", m.tenant.Thread
		}
		if m.save {
			var ok bool
			if m.release, ok = m.archive.engage(owner, name); !ok {
				return locked(name)
			}
			x.leaves = append(x.leaves, m.release)
		}
		if m.turn.Thread, err = find(ctx, name); err != nil {
			return x.stateError(err, param)
		}
		past = m.turn.Thread.Items
		c.Conversation = &responses.Conversation{ID: name}
	}
	continues := m.turn.Chain != nil || m.turn.Thread != nil
	if continues {
		x.req.Past = history.Join(past, nil)
	}
	if m.turn.Input, err = x.req.Items(); err != nil {
		return err
	}
	if x.req.In == convert.Responses && (continues || hasReference(c.Input)) {
		whole, err := m.tenant.Resolve(ctx, x.req.Past, c.Input)
		if err != nil {
			return x.stateError(err, referenceParam(c.Input, err))
		}
		c.Input = whole[len(x.req.Past):]
		if x.req.Past == nil {
			x.req.Past = []responses.Item{}
		}
	}
	x.req.Past = convert.Uncompacted(x.req.Past) // after Resolve: references reach what was compacted too
	return nil
}

// keeps tells whether the answer is to be kept, and whether as a chat completion.
// What a request does not say is yes for Responses, as at OpenAI, and for a
// conversation that the client has named; for Chat it is no.
func (x *exchange) keeps(name string) (save, chat bool) {
	said := x.req.Stored()
	switch {
	case said != nil && !*said:
		return false, false
	case name != "" || x.req.In == convert.Responses:
		return true, false
	case said == nil:
		return false, false
	}
	chat = x.req.Out == convert.Chat
	return !chat || x.h.State.ChatCompletions, chat
}

// conversationName is the conversation that the query names, or "".
func (x *exchange) conversationName() (string, error) {
	if !x.namesConversation() {
		return "", nil
	}
	names := x.r.URL.Query()[conversationParam]
	if len(names) > 1 || names[0] == "" || len(names[0]) > 512 {
		return "", badRequest("invalid_value", conversationParam, "Invalid 'conversation_id' in the query: give one, of 1 to 512 bytes.")
	}
	return names[0], nil
}

func badRequest(code, param, message string) *convert.Error {
	return &convert.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Code: code, Param: param, Message: message}
}

// needsState tells whether a Responses request refers to what it does not hold.
func needsState(c *responses.Request) bool {
	return c.PreviousResponseID != "" || c.Conversation != nil || c.Background != nil && *c.Background || hasReference(c.Input)
}

func hasReference(items []responses.Item) bool {
	for i := range items {
		if items[i].Kind() == "item_reference" {
			return true
		}
	}
	return false
}

// referenceParam is the place of the reference that an error is about.
func referenceParam(items []responses.Item, err error) string {
	for i := range items {
		if items[i].Kind() == "item_reference" && strings.Contains(err.Error(), "'"+items[i].ID+"'") {
			return "input[" + itoa(i) + "]"
		}
	}
	return "input"
}

// refuseState refuses what needs state where there is none. An upstream that
// speaks Responses may have it.
func refuseState(c *responses.Request, name string, api convert.API) error {
	const off = " This gateway keeps nothing (state off). Send the whole conversation in the request."
	switch {
	case strings.HasPrefix(name, "conv_") && api == convert.Responses:
		c.Conversation = &responses.Conversation{ID: name}
		return nil
	case name != "":
		return badRequest("unsupported_parameter", conversationParam, "Unsupported parameter: 'conversation_id'."+off)
	case api == convert.Responses:
		return nil
	case c.PreviousResponseID != "":
		return badRequest("previous_response_not_found", "previous_response_id", "Previous response with id '"+c.PreviousResponseID+"' not found."+off)
	case c.Conversation != nil:
		return badRequest("unsupported_parameter", "conversation", "Unsupported parameter: 'conversation'."+off)
	case c.Background != nil && *c.Background:
		return badRequest("unsupported_parameter", "background", "Unsupported parameter: 'background'. This gateway keeps nothing (state off). Use 'stream'.")
	}
	for i := range c.Input {
		if c.Input[i].Kind() == "item_reference" {
			return badRequest("unsupported_value", "input["+itoa(i)+"]", "Item with id '"+c.Input[i].ID+"' not found."+off)
		}
	}
	return nil
}

// locked is OpenAI's answer to the second of two who continue one conversation at
// once. SDKs try again.
func locked(name string) *convert.Error {
	return &convert.Error{
		Status: http.StatusConflict, Type: "invalid_request_error", Code: conversationLocked, Param: "conversation",
		Message: "Another process is currently operating on conversation '" + name + "'. Please retry in a few seconds.",
	}
}

const conversationLocked = "conversation_locked"

// stateError makes an error of the history one for the client. param is the member
// of the request that asked, "" where the path did.
func (x *exchange) stateError(err error, param string) error {
	var refused *convert.Error
	if errors.As(err, &refused) {
		x.busy(err)
		return err
	}
	e := &convert.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: sentence(err)}
	switch {
	case errors.Is(err, history.ErrNotFound):
		e.Message = err.Error() // OpenAI's own words
		switch param {
		case "previous_response_id":
			e.Code = "previous_response_not_found"
		default:
			e.Status = http.StatusNotFound
		}
	case errors.Is(err, history.ErrUnfinished):
		e.Code, e.Message = "invalid_value", err.Error()
	case errors.Is(err, history.ErrTooLarge):
		if e.Code = "context_length_exceeded"; param == "" || param == "items" {
			e.Status, e.Code = http.StatusRequestEntityTooLarge, "request_too_large"
		}
	case errors.Is(err, history.ErrConflict):
		e.Status, e.Code = http.StatusConflict, conversationLocked
	case errors.Is(err, history.ErrSynchronous), errors.Is(err, history.ErrNoEvents):
		e.Message = err.Error()
	case errors.Is(err, history.ErrInvalid):
		e.Code = "invalid_value"
	case x.r.Context().Err() != nil:
		return upstreamError(context.Canceled)
	case errors.Is(err, history.ErrFull):
		notKeptLog.Do(func() { x.h.logger.Warn("the store of the state is full", zap.Error(err)) })
		x.outcome = "state_unavailable"
		e.Status, e.Type, e.Code, e.Param = http.StatusServiceUnavailable, "server_error", "state_full", ""
		e.Message = "This gateway has no more room for what its clients keep. Delete what you do not need any more, or try again later."
	case errors.Is(err, history.ErrUnreadable):
		x.h.logger.Error("what is stored cannot be read", zap.Error(err))
		e.Status, e.Type, e.Code, e.Param = http.StatusInternalServerError, "server_error", "state_unreadable", ""
		e.Message = "What this gateway has stored could not be read. Its operator's log says more."
	default:
		x.h.logger.Warn("the store of the state", zap.Error(err))
		x.w.Header().Set("Retry-After", "1")
		x.outcome = "state_unavailable"
		e.Status, e.Type, e.Code, e.Param = http.StatusServiceUnavailable, "server_error", "state_unavailable", ""
		e.Message = "The gateway's store of conversations does not answer. Try again."
	}
	return e
}

// sentence is an error's text as a message for a client.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
