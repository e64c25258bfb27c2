package chat2response

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/history"
	"github.com/labiium/chat2response/sse"
)

// sealing binds the ids of a Responses upstream to the client that got them: the
// client sees sealed ones, in all that the upstream answers, and only they are
// opened, in all that it is asked. For one request.
type sealing struct {
	sealer  *history.Sealer
	tenant  history.Tenant
	expires time.Time         // of what is sealed in this answer
	opened  map[string]string // the upstream's ids in the request, and the client's for them
}

// seals tells whether the ids of an upstream are sealed.
func (s *State) seals(u *Upstream) bool {
	return s.on() && u.Mode == convert.Responses && (s.Responses == "upstream" || s.Responses == "" && u.managed)
}

// sealed begins the sealing of an exchange: its answer, if that is one of Responses,
// goes through a sealer from now on.
func (x *exchange) sealed(answer bool) error {
	if x.sealing != nil {
		return nil
	}
	a := x.h.State.archive
	if err := a.use(x.r.Context()); err != nil {
		return x.stateError(err, "")
	}
	x.leaves = append(x.leaves, a.leave)
	tenant, _, err := x.tenant(a.history)
	if err != nil {
		return x.stateError(err, "")
	}
	sealer, err := a.history.Sealer(x.r.Context())
	if err != nil {
		return x.stateError(err, "")
	}
	ttl := time.Duration(x.h.State.TTL)
	if ttl == 0 {
		ttl = sealedFor
	}
	x.sealing = &sealing{sealer: sealer, tenant: tenant, expires: time.Now().Add(ttl), opened: map[string]string{}}
	if !answer {
		return nil
	}
	w := &sealWriter{ResponseWriter: x.w, s: x.sealing, body: keptBody{hold: x.hold}}
	x.w = w
	x.leaves = append(x.leaves, w.finish)
	// What is compressed could not be read. reverse_proxy's transport asks for gzip
	// by itself, and unpacks it.
	x.r = x.r.Clone(x.r.Context())
	x.r.Header.Del("Accept-Encoding")
	return nil
}

// sealedFor is how long a sealed id is good where the configuration does not say:
// as long as OpenAI keeps a response.
const sealedFor = 30 * 24 * time.Hour

// open is the upstream's id for one of the client's.
func (s *sealing) open(id string) (string, bool) {
	upstream, _, err := s.sealer.Open(s.tenant, id)
	if err != nil {
		return "", false
	}
	s.opened[upstream] = id
	return upstream, true
}

// seal is the client's id for one of the upstream's.
func (s *sealing) seal(id string) string {
	if known, ok := s.opened[id]; ok {
		return known
	}
	return s.sealer.Seal(s.tenant, id, s.expires)
}

// about makes the ids of the answer those that were sealed with id: they are the
// same whenever a response is read.
func (s *sealing) about(id string) {
	if _, expires, err := s.sealer.Open(s.tenant, id); err == nil {
		s.expires = expires
	}
}

// sealedRequest is what of a body names something at the upstream.
type sealedRequest struct {
	Previous     string           `json:"previous_response_id,omitzero"`
	Conversation jsontext.Value   `json:"conversation,omitzero"`
	Input        jsontext.Value   `json:"input,omitzero"`
	Items        []jsontext.Value `json:"items,omitzero"`
	Rest         jsontext.Value   `json:",embed"`
}

type sealedItem struct {
	Type     string         `json:"type,omitzero"`
	ID       string         `json:"id,omitzero"`
	Approval string         `json:"approval_request_id,omitzero"`
	Rest     jsontext.Value `json:",embed"`
}

// unseal opens the ids in the body of a request. Those of others are answered as if
// they had never been.
func (x *exchange) unseal(body []byte) ([]byte, error) {
	if err := x.sealed(true); err != nil {
		return nil, err
	}
	var req sealedRequest
	if err := json.Unmarshal(body, &req); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) {
			param, _, _ := strings.Cut(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/")
			return nil, badRequest("invalid_type", param, "Invalid type for '"+param+"'.")
		}
		return nil, badRequest("invalid_json", "", "The request body is not valid JSON: "+err.Error()+".")
	}
	s := x.sealing
	if req.Previous != "" {
		id, ok := s.open(req.Previous)
		if !ok {
			return nil, badRequest("previous_response_not_found", "previous_response_id", "Previous response with id '"+req.Previous+"' not found.")
		}
		req.Previous = id
	}
	var err error
	if req.Conversation, err = s.conversation(req.Conversation); err != nil {
		return nil, err
	}
	if req.Items, err = s.items(req.Items, "items"); err != nil {
		return nil, err
	}
	if req.Input.Kind() == '[' {
		var items []jsontext.Value
		if err := json.Unmarshal(req.Input, &items); err != nil {
			return nil, badRequest("invalid_type", "input", "Invalid type for 'input'.")
		}
		if items, err = s.items(items, "input"); err != nil {
			return nil, err
		}
		if req.Input, err = json.Marshal(items, storedOptions); err != nil {
			return nil, err
		}
	}
	return json.Marshal(&req, storedOptions)
}

func notFound(what, id, param string) *convert.Error {
	return &convert.Error{Status: http.StatusNotFound, Type: "invalid_request_error", Param: param, Message: what + " with id '" + id + "' not found."}
}

// conversation opens the id of one, which is text or in an object.
func (s *sealing) conversation(v jsontext.Value) (jsontext.Value, error) {
	var object struct {
		ID   string         `json:"id"`
		Rest jsontext.Value `json:",embed"`
	}
	switch v.Kind() {
	case '"':
		if err := json.Unmarshal(v, &object.ID); err != nil {
			return nil, badRequest("invalid_type", "conversation", "Invalid type for 'conversation'.")
		}
	case '{':
		if err := json.Unmarshal(v, &object); err != nil {
			return nil, badRequest("invalid_type", "conversation", "Invalid type for 'conversation'.")
		}
	default:
		return v, nil // none, or what the upstream refuses
	}
	id, ok := s.open(object.ID)
	if !ok {
		return nil, notFound("Conversation", object.ID, "conversation")
	}
	if object.ID = id; v.Kind() == '"' {
		return json.Marshal(id)
	}
	return json.Marshal(&object, storedOptions)
}

// items opens the ids of items. An item that is there itself needs none: one that
// does not open is left out.
func (s *sealing) items(items []jsontext.Value, param string) ([]jsontext.Value, error) {
	for i := range items {
		var it sealedItem
		if items[i].Kind() != '{' {
			continue
		}
		at := param + "[" + strconv.Itoa(i) + "]"
		if err := json.Unmarshal(items[i], &it); err != nil {
			return nil, badRequest("invalid_type", at, "Invalid type for a member of '"+at+"'.")
		}
		if it.Approval != "" {
			id, ok := s.open(it.Approval)
			if !ok {
				return nil, badRequest("invalid_value", at+".approval_request_id", "No approval request found with id '"+it.Approval+"'.")
			}
			it.Approval = id
		}
		if it.ID != "" {
			id, ok := s.open(it.ID)
			switch {
			case ok:
				it.ID = id
			case it.Type == "item_reference" || it.Type == "" && len(it.Rest) == 0:
				return nil, notFound("Item", it.ID, at)
			case it.Type == "local_shell_call_output": // its id is its call's
			default:
				it.ID = ""
			}
		}
		var err error
		if items[i], err = json.Marshal(&it, storedOptions); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// sealedNames are the members of answers that hold ids, and sealedNot those in
// which nothing is one: what a client has sent, and what tools have.
var (
	sealedNames = map[string]bool{
		"id": true, "item_id": true, "previous_response_id": true, "response_id": true, "first_id": true, "last_id": true,
		"approval_request_id": true,
	}
	sealedNot = map[string]bool{
		"metadata": true, "tools": true, "tool_choice": true, "text": true, "prompt": true, "pending_safety_checks": true,
		"acknowledged_safety_checks": true, "action": true, "operation": true, "results": true, "annotations": true, "logprobs": true,
		"error": true,
	}
)

// answer is a JSON value of the upstream's with sealed ids. conversation, as text,
// is one too.
func (s *sealing) answer(b []byte) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(b), storedOptions)
	out := bytes.NewBuffer(make([]byte, 0, len(b)+len(b)/4))
	enc := jsontext.NewEncoder(out, storedOptions)
	for {
		tok, err := dec.ReadToken()
		if err == io.EOF {
			return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
		}
		if err != nil {
			return nil, err
		}
		if err := enc.WriteToken(tok); err != nil {
			return nil, err
		}
		kind, length := dec.StackIndex(dec.StackDepth())
		if kind != '{' || length%2 == 0 || tok.Kind() != '"' {
			continue
		}
		// It was a name; its value is next.
		name := tok.String()
		switch next := dec.PeekKind(); {
		case sealedNot[name]:
			v, err := dec.ReadValue()
			if err != nil {
				return nil, err
			}
			if err := enc.WriteValue(v); err != nil {
				return nil, err
			}
		case next == '"' && (sealedNames[name] || name == "conversation"):
			v, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			id := v.String()
			if id != "" {
				id = s.seal(id)
			}
			if err := enc.WriteToken(jsontext.String(id)); err != nil {
				return nil, err
			}
		}
	}
}

// mask replaces the upstream's ids in a text that repeats the client's.
func (s *sealing) mask(text []byte) []byte {
	for upstream, client := range s.opened {
		text = bytes.ReplaceAll(text, []byte(upstream), []byte(client))
	}
	return text
}

// redact removes from a message what its client must not see: secrets, and ids of the
// upstream's that it has sealed.
func (x *exchange) redact(message string) string {
	if x.sealing != nil {
		message = string(x.sealing.mask([]byte(message)))
	}
	return redact(message)
}

// noSuchItem is the id of nothing.
const noSuchItem = "msg_000000000000000000000000000000000000000000000000"

// sealedPaths are the words below /responses and /conversations that are no ids.
var sealedPaths = []string{"input_tokens", "compact", "cancel", "input_items", "items"}

// passSealed hands a request for what an upstream keeps to that upstream, with the
// ids opened.
func (x *exchange) passSealed(u *Upstream) error {
	if err := x.sealed(true); err != nil {
		return err
	}
	parts := strings.Split(strings.Trim(x.route.path, "/"), "/")
	if parts[0] == "conversations" {
		x.sealing.expires = time.Unix(1<<32-1, 0) // as far as a sealed id reaches
		if ttl := time.Duration(x.h.State.ConversationTTL); ttl > 0 {
			x.sealing.expires = time.Now().Add(ttl)
		}
	}
	what := map[string]string{"responses": "Response", "conversations": "Conversation"}[parts[0]]
	for i, part := range parts[1:] {
		if slices.Contains(sealedPaths, part) {
			continue
		}
		id, ok := x.sealing.open(part)
		if !ok && i > 0 {
			// Whether what it is asked of is still there, the upstream knows.
			id, ok = noSuchItem, true
			x.sealing.opened[id] = part
		}
		if !ok {
			x.outcome = "not_found"
			return notFound(what, part, "")
		}
		if i == 0 {
			x.sealing.about(part)
		}
		parts[i+1], what = url.PathEscape(id), "Item"
	}
	query := x.r.URL.Query()
	if after := query.Get("after"); after != "" {
		id, ok := x.sealing.open(after)
		if !ok {
			return notFound("Item", after, "after")
		}
		query.Set("after", id)
		x.r.URL.RawQuery = query.Encode()
	}
	var body []byte
	if x.r.Method == http.MethodPost && x.r.ContentLength != 0 {
		var err error
		if body, err = x.readBody(); err != nil {
			return err
		}
		if len(body) > 0 {
			var alias string
			if parts[0] == "responses" && len(parts) == 2 { // compact or input_tokens; what is asked of a response names none
				if u, alias, err = x.upstreamOf(body); err != nil {
					return err
				}
				if u.Mode == convert.Chat {
					return x.noSuchPath()
				}
			}
			if body, err = x.unseal(body); err == nil && alias != "" {
				body, err = convert.SetModel(body, alias)
			}
			if err != nil {
				return err
			}
		}
	}
	x.r.URL.RawPath = ""
	return x.direct(u, "/"+strings.Join(parts, "/"), body)
}

// sealWriter is a client's ResponseWriter whose JSON gets sealed ids.
type sealWriter struct {
	http.ResponseWriter
	s *sealing

	status int
	stream bool
	keep   bool // the body is kept to be sealed whole
	body   keptBody
	parser sse.Parser
	out    *sse.Writer
	failed error
	some   bool // something was received since the last event
}

// Unwrap is for http.ResponseController.
func (w *sealWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *sealWriter) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		if w.status == 0 {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	w.status = status
	header := w.Header()
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	w.stream = media == "text/event-stream"
	w.keep = !w.stream
	header.Del("Content-Length")
	if w.stream {
		w.out = sse.NewWriter(w.ResponseWriter, http.NewResponseController(w.ResponseWriter).Flush)
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *sealWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.failed != nil {
		return 0, w.failed
	}
	if w.keep {
		if w.failed = w.body.add(b, maxAnswer); w.failed != nil {
			return 0, w.failed
		}
		return len(b), nil
	}
	w.some = true
	if w.failed = w.parser.Feed(b, w.event); w.failed == nil {
		w.failed = w.out.Send()
	}
	if w.failed != nil {
		return 0, w.failed
	}
	return len(b), nil
}

func (w *sealWriter) event(e sse.Event) error {
	w.some = false
	if string(e.Data) == "[DONE]" {
		return w.out.Event(string(e.Type), e.Data)
	}
	data, err := w.s.answer(e.Data)
	if err != nil {
		return nil // no JSON: a remark, and no place for ids
	}
	if bytes.Contains(data, []byte(`"error":{`)) || bytes.Contains(data, []byte(`"type":"error"`)) {
		data = w.s.mask(data)
	}
	return w.out.Event(string(e.Type), data)
}

// FlushError sends a comment where the upstream has sent one; events have been
// flushed.
func (w *sealWriter) FlushError() error {
	if !w.stream || !w.some {
		return nil
	}
	w.some = false
	w.out.Comment("keepalive")
	return w.out.Send()
}

// finish sends what was kept, when the upstream's handler has returned.
func (w *sealWriter) finish() {
	switch {
	case w.stream:
		if w.failed == nil && w.parser.Close(w.event) == nil {
			w.out.Send()
		}
		return
	case w.status == 0:
		return
	}
	body, err := w.body.bytes, w.failed
	switch {
	case err != nil:
	case w.status >= 400:
		body = w.s.mask(body)
	case len(body) > 0:
		body, err = w.s.answer(body)
	}
	if err != nil {
		e := &convert.Error{
			Status: http.StatusBadGateway, Type: "server_error", Code: "bad_upstream_answer",
			Message: "The upstream's answer could not be read: it is not the JSON of its API.",
		}
		errors.As(err, &e)
		writeError(w.ResponseWriter, e)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.ResponseWriter.WriteHeader(w.status)
	w.ResponseWriter.Write(body)
}
