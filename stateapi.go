package chat2response

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
	"github.com/labiium/chat2response/history"
)

// storedPath is an endpoint for what is stored. In its pattern {} is an id.
type storedPath struct {
	method, pattern string
	// serve answers, or returns a history error: that of an id that is not there
	// sends the request to an upstream that may know it.
	serve func(x *exchange, t history.Tenant, ids []string) error
}

// storedPaths are those below /v1. https://platform.openai.com/docs/api-reference
var storedPaths = []storedPath{
	{"GET", "/responses/{}", getResponse},
	{"DELETE", "/responses/{}", deleteResponse},
	{"POST", "/responses/{}/cancel", cancelResponse},
	{"GET", "/responses/{}/input_items", listInputItems},

	{"POST", "/conversations", createConversation},
	{"GET", "/conversations/{}", getConversation},
	{"POST", "/conversations/{}", updateConversation},
	{"DELETE", "/conversations/{}", deleteConversation},
	{"GET", "/conversations/{}/items", listConversationItems},
	{"POST", "/conversations/{}/items", addConversationItems},
	{"GET", "/conversations/{}/items/{}", getConversationItem},
	{"DELETE", "/conversations/{}/items/{}", deleteConversationItem},

	{"GET", "/chat/completions", listCompletions},
	{"GET", "/chat/completions/{}", getCompletion},
	{"POST", "/chat/completions/{}", updateCompletion},
	{"DELETE", "/chat/completions/{}", deleteCompletion},
	{"GET", "/chat/completions/{}/messages", listCompletionMessages},
}

// matchIDs tells whether a path has a pattern's form, and its ids.
func matchIDs(pattern, path string) (ids []string, ok bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	for i := range want {
		switch {
		case want[i] == "{}" && got[i] != "":
			ids = append(ids, got[i])
		case want[i] != got[i]:
			return nil, false
		}
	}
	return ids, true
}

// storedRoute is the endpoint for what is stored here that the request is for, nil
// if none. Its methods are those that its path has.
func (x *exchange) storedRoute() (found *storedPath, ids []string, methods []string) {
	if x.route.name != "passthrough" && (x.route.name != "chat" || x.r.Method == http.MethodPost) || !x.h.State.on() {
		return nil, nil, nil
	}
	path := "/" + strings.Trim(x.route.path, "/")
	chats := strings.HasPrefix(path, "/chat/")
	if chats && !x.h.State.ChatCompletions || !chats && !x.h.keepsResponses() || path == "/responses/input_tokens" || path == "/responses/compact" {
		return nil, nil, nil
	}
	for i := range storedPaths {
		p := &storedPaths[i]
		if got, ok := matchIDs(p.pattern, path); ok {
			methods = append(methods, p.method)
			if p.method == x.r.Method {
				found, ids = p, got
			}
		}
	}
	return found, ids, methods
}

// keepsResponses tells whether the answers of any upstream are kept here.
func (h *Handler) keepsResponses() bool {
	return slices.ContainsFunc(h.Upstreams, func(u *Upstream) bool { return h.State.local(u.Mode) })
}

// elsewhere is the upstream that keeps what is not kept here, or nil.
func (h *Handler) elsewhere() *Upstream {
	for _, u := range h.Upstreams {
		if u.Mode == convert.Responses && !h.State.local(u.Mode) {
			return u
		}
	}
	return nil
}

// stored answers a request for what is stored here.
func (x *exchange) stored(p *storedPath, ids []string) error {
	pass := x.route
	x.route.name = "stored"
	if strings.HasPrefix(p.pattern, "/chat/") {
		x.route.name = "chats"
	}
	x.set("route", x.route.name)
	if err := x.admit(); err != nil {
		return err
	}
	if x.isNobody() {
		x.outcome = "unauthorized"
		return errNobody
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
	if p.method == http.MethodPost && len(ids) == 0 { // it makes something, and asks nobody else
		if err := x.mayKeep(tenant); err != nil {
			return err
		}
	}
	x.w.Header().Set("Cache-Control", "no-store")
	x.outcome = "stored"
	err = p.serve(x, tenant.Within(x.hold), ids)
	if errors.Is(err, history.ErrNotFound) {
		x.outcome = "not_found"
		if pass.name == "passthrough" && x.h.elsewhere() != nil {
			x.route = pass
			return x.passThrough()
		}
	}
	if err != nil {
		return x.stateError(err, "")
	}
	return nil
}

// reply sends a JSON value.
func (x *exchange) reply(v any) error {
	body, err := json.Marshal(v, storedOptions)
	if err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(http.StatusOK)
	x.w.Write(body)
	return nil
}

// storedOptions write what was found well-formed when it was read.
var storedOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// decode reads the request's JSON into v; unknown members are errors.
func (x *exchange) decode(v any) error {
	body, err := x.readBody()
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) && semantic.JSONPointer != "" {
			name := strings.TrimPrefix(string(semantic.JSONPointer), "/")
			return badRequest("invalid_value", name, "Invalid or unknown parameter: '"+name+"'.")
		}
		return badRequest("invalid_json", "", "The request body is not valid JSON: "+err.Error()+".")
	}
	return nil
}

// page reads the query's part of a list.
func (x *exchange) page() (history.Page, error) {
	query := x.r.URL.Query()
	p := history.Page{After: query.Get("after"), Order: query.Get("order")}
	if p.Order != "" && p.Order != "asc" && p.Order != "desc" {
		return p, badRequest("invalid_value", "order", "Invalid 'order': expected 'asc' or 'desc'.")
	}
	if v := query.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 100 {
			return p, badRequest("invalid_value", "limit", "Invalid 'limit': expected a number from 1 to 100.")
		}
		p.Limit = n
	}
	return p, nil
}

// deleted is the answer to a deletion.
type deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

func getResponse(x *exchange, t history.Tenant, ids []string) error {
	if query := x.r.URL.Query(); query.Get("stream") == "true" {
		after := int64(-1)
		if v := query.Get("starting_after"); v != "" {
			var err error
			if after, err = strconv.ParseInt(v, 10, 64); err != nil {
				return badRequest("invalid_value", "starting_after", "Invalid 'starting_after': expected the sequence_number of an event.")
			}
		}
		return x.replay(t, ids[0], after)
	}
	resp, err := t.Response(x.r.Context(), ids[0])
	if err != nil {
		return err
	}
	return x.reply(resp)
}

func deleteResponse(x *exchange, t history.Tenant, ids []string) error {
	if err := t.DeleteResponse(x.r.Context(), ids[0]); err != nil {
		return err
	}
	return x.reply(deleted{ids[0], "response", true})
}

func cancelResponse(x *exchange, t history.Tenant, ids []string) error {
	resp, err := t.CancelResponse(x.r.Context(), ids[0])
	if err != nil {
		return err
	}
	return x.reply(resp)
}

func listInputItems(x *exchange, t history.Tenant, ids []string) error {
	p, err := x.page()
	if err != nil {
		return err
	}
	list, err := t.InputItems(x.r.Context(), ids[0], p)
	if err != nil {
		return err
	}
	return x.reply(list)
}

func createConversation(x *exchange, t history.Tenant, _ []string) error {
	if x.h.elsewhere() == x.h.choose("") { // the upstream of models that nobody names keeps its own
		return history.ErrNotFound
	}
	var req struct {
		Items    responses.Input `json:"items"`
		Metadata jsontext.Value  `json:"metadata"`
	}
	if err := x.decode(&req); err != nil {
		return err
	}
	items, err := x.items(t, req.Items)
	if err != nil {
		return err
	}
	c, err := t.CreateConversation(x.r.Context(), items, req.Metadata)
	if err != nil {
		return err
	}
	return x.reply(c)
}

// items are a client's, checked.
func (x *exchange) items(t history.Tenant, items responses.Input) ([]responses.Item, error) {
	if len(items) > history.MaxItemsPerCall {
		return nil, badRequest("array_above_max_length", "items", "Invalid 'items': array too long. Expected an array with maximum length "+
			strconv.Itoa(history.MaxItemsPerCall)+", but got an array with length "+strconv.Itoa(len(items))+" instead.")
	}
	for i := range items {
		if items[i].Kind() == "" {
			param := "items[" + strconv.Itoa(i) + "].type"
			return nil, badRequest("missing_required_parameter", param, "Missing required parameter: '"+param+"'.")
		}
	}
	resolved, err := t.Resolve(x.r.Context(), nil, items)
	if errors.Is(err, history.ErrNotFound) {
		return nil, x.stateError(err, "items")
	}
	return resolved, err
}

func getConversation(x *exchange, t history.Tenant, ids []string) error {
	c, err := t.Conversation(x.r.Context(), ids[0])
	if err != nil {
		return err
	}
	return x.reply(c)
}

func updateConversation(x *exchange, t history.Tenant, ids []string) error {
	if _, err := t.Conversation(x.r.Context(), ids[0]); err != nil {
		return err // before the body is read, which may be an upstream's to read
	}
	metadata, err := x.metadata()
	if err != nil {
		return err
	}
	c, err := t.UpdateConversation(x.r.Context(), ids[0], metadata)
	if err != nil {
		return err
	}
	return x.reply(c)
}

// metadata is what an update asks for.
func (x *exchange) metadata() (jsontext.Value, error) {
	var req struct {
		Metadata jsontext.Value `json:"metadata"`
	}
	if err := x.decode(&req); err != nil {
		return nil, err
	}
	if req.Metadata == nil {
		return nil, badRequest("missing_required_parameter", "metadata", "Missing required parameter: 'metadata'.")
	}
	return req.Metadata, nil
}

func deleteConversation(x *exchange, t history.Tenant, ids []string) error {
	if err := t.DeleteConversation(x.r.Context(), ids[0]); err != nil {
		return err
	}
	return x.reply(deleted{ids[0], "conversation.deleted", true})
}

func listConversationItems(x *exchange, t history.Tenant, ids []string) error {
	p, err := x.page()
	if err != nil {
		return err
	}
	list, err := t.ConversationItems(x.r.Context(), ids[0], p)
	if err != nil {
		return err
	}
	return x.reply(list)
}

func addConversationItems(x *exchange, t history.Tenant, ids []string) error {
	if _, err := t.Conversation(x.r.Context(), ids[0]); err != nil {
		return err
	}
	var req struct {
		Items responses.Input `json:"items"`
	}
	if err := x.decode(&req); err != nil {
		return err
	}
	if len(req.Items) == 0 {
		return badRequest("missing_required_parameter", "items", "Missing required parameter: 'items'.")
	}
	items, err := x.items(t, req.Items)
	if err != nil {
		return err
	}
	list, err := t.AppendItems(x.r.Context(), ids[0], items)
	if err != nil {
		return err
	}
	return x.reply(list)
}

func getConversationItem(x *exchange, t history.Tenant, ids []string) error {
	item, err := t.ConversationItem(x.r.Context(), ids[0], ids[1])
	if err != nil {
		return err
	}
	return x.reply(&item)
}

func deleteConversationItem(x *exchange, t history.Tenant, ids []string) error {
	c, err := t.DeleteConversationItem(x.r.Context(), ids[0], ids[1])
	if err != nil {
		return err
	}
	return x.reply(c)
}

func listCompletions(x *exchange, t history.Tenant, _ []string) error {
	p, err := x.page()
	if err != nil {
		return err
	}
	query := x.r.URL.Query()
	f := history.CompletionFilter{Model: query.Get("model"), Metadata: metadataQuery(query)}
	list, err := t.Completions(x.r.Context(), f, p)
	if err != nil {
		return err
	}
	return x.reply(list)
}

// metadataQuery reads metadata[name]=value.
func metadataQuery(query url.Values) map[string]string {
	var pairs map[string]string
	for name, values := range query {
		if inner, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(inner, "]") {
			if pairs == nil {
				pairs = map[string]string{}
			}
			pairs[strings.TrimSuffix(inner, "]")] = values[0]
		}
	}
	return pairs
}

func getCompletion(x *exchange, t history.Tenant, ids []string) error {
	object, err := t.Completion(x.r.Context(), ids[0])
	if err != nil {
		return err
	}
	return x.reply(object)
}

func updateCompletion(x *exchange, t history.Tenant, ids []string) error {
	if _, err := t.Completion(x.r.Context(), ids[0]); err != nil {
		return err
	}
	metadata, err := x.metadata()
	if err != nil {
		return err
	}
	object, err := t.UpdateCompletion(x.r.Context(), ids[0], metadata)
	if err != nil {
		return err
	}
	return x.reply(object)
}

func deleteCompletion(x *exchange, t history.Tenant, ids []string) error {
	if err := t.DeleteCompletion(x.r.Context(), ids[0]); err != nil {
		return err
	}
	return x.reply(deleted{ids[0], "chat.completion.deleted", true})
}

func listCompletionMessages(x *exchange, t history.Tenant, ids []string) error {
	p, err := x.page()
	if err != nil {
		return err
	}
	list, err := t.CompletionMessages(x.r.Context(), ids[0], p)
	if err != nil {
		return err
	}
	return x.reply(list)
}
