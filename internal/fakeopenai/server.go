package fakeopenai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// API is one of the two protocols.
type API string

const (
	Chat      API = "chat"      // POST /chat/completions
	Responses API = "responses" // POST /responses
)

// Options configure a Server. The zero value is OpenAI with both APIs and the scenario "text".
type Options struct {
	Dialect  string        // one of Dialects; default "openai", and "generic" for the demo
	APIs     []API         // what it serves; default both. The other path answers 404
	Scenario string        // for models whose name gives none; default "text". "demo" makes every model the demo
	Delay    time.Duration // between the events of a stream
	Models   []string      // listed by GET /models; default one "fake-<scenario>" each, or the demo's
	APIKey   string        // when set, Authorization must be "Bearer <APIKey>"
}

// Request is what arrived.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
}

// maxRequests is how many requests a Server remembers.
const maxRequests = 1000

// Server is a fake upstream. Its methods may be called from many goroutines at once.
type Server struct {
	o      Options
	d      *dialect
	now    func() time.Time
	memory *memory

	mu       sync.Mutex
	mint     mint
	requests []Request
}

var servers atomic.Int64

// New makes a server. It panics if the options name a dialect, scenario or API that does not exist: they are written by
// programmers, not by users.
func New(o Options) *Server {
	if o.Scenario == "" {
		o.Scenario = "text"
	}
	if o.Dialect == "" {
		o.Dialect = "openai"
		if o.Scenario == "demo" { // which is to forgive, and to show its thoughts
			o.Dialect = "generic"
		}
	}
	if len(o.APIs) == 0 {
		o.APIs = []API{Chat, Responses}
	}
	d := dialects[o.Dialect]
	if d == nil {
		panic(fmt.Sprintf("fakeopenai: no dialect %q; there are %v", o.Dialect, Dialects()))
	}
	if scenarios[o.Scenario] == nil {
		panic(fmt.Sprintf("fakeopenai: no scenario %q; there are %v", o.Scenario, Scenarios()))
	}
	for _, api := range o.APIs {
		if api != Chat && api != Responses {
			panic(fmt.Sprintf("fakeopenai: no API %q; there are %q and %q", api, Chat, Responses))
		}
	}
	return &Server{o: o, d: d, now: time.Now, memory: newMemory(), mint: mint{space: fmt.Sprint(servers.Add(1))}}
}

// Requests are the requests that arrived since the last Reset, oldest first, the newest 1000 of them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Reset forgets the requests and the stored responses.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
	s.memory = newMemory()
}

func (s *Server) record(r *http.Request, body []byte) *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body})
	if len(s.requests) > maxRequests {
		s.requests = slices.Clone(s.requests[len(s.requests)-maxRequests:])
	}
	return s.memory
}

// newMint gives one request its own mint, so that ids do not depend on what other requests do meanwhile.
func (s *Server) newMint() *mint {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mint.count++
	return &mint{space: fmt.Sprintf("%s.%d", s.mint.space, s.mint.count)}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mem := s.record(r, body)
	if err != nil {
		s.fail(w, refuse(nil, nil, "We could not read the body of your request."))
		return
	}
	w.Header().Set("X-Request-Id", s.newMint().id("req_", 32))
	if err := s.authorize(r); err != nil {
		s.fail(w, err)
		return
	}
	where := s.d.route(r.URL.Path)
	switch {
	case where == "/chat/completions" && slices.Contains(s.o.APIs, Chat):
		s.post(w, r, body, mem, s.chat)
	case where == "/responses" && slices.Contains(s.o.APIs, Responses):
		s.post(w, r, body, mem, s.responses)
	case strings.HasPrefix(where, "/responses/") && slices.Contains(s.o.APIs, Responses):
		s.stored(w, r, mem, strings.TrimPrefix(where, "/responses/"))
	case where == "/embeddings":
		s.post(w, r, body, mem, s.embeddings)
	case where == "/models":
		s.get(w, r, s.listModels)
	case strings.HasPrefix(where, "/models/"):
		s.get(w, r, func(w http.ResponseWriter) { s.oneModel(w, strings.TrimPrefix(where, "/models/")) })
	default:
		s.fail(w, &apiError{status: 404, kind: "invalid_request_error", message: fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path)})
	}
}

func (s *Server) authorize(r *http.Request) *apiError {
	if s.o.APIKey == "" {
		return nil
	}
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok && s.d.family == "azure" {
		key, ok = r.Header.Get("Api-Key"), true
	}
	switch {
	case key == s.o.APIKey:
		return nil
	case !ok || key == "":
		return &apiError{status: 401, kind: "invalid_request_error", message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), " +
			"or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys."}
	}
	return badKey(key[:min(len(key), 3)] + "****")
}

func (s *Server) fail(w http.ResponseWriter, e *apiError) {
	for _, h := range e.header {
		w.Header().Set(h[0], h[1])
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_, _ = w.Write(s.d.errorJSON(e))
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.fail(w, wrongMethod(r, "GET"))
		return
	}
	serve(w)
}

func wrongMethod(r *http.Request, allow string) *apiError {
	return &apiError{status: 405, kind: "invalid_request_error", code: "method_not_supported", header: [][2]string{{"Allow", allow}},
		message: fmt.Sprintf("Not allowed to %s on %s. (HINT: Perhaps you meant to use a different HTTP method?)", r.Method, r.URL.Path)}
}

// handler answers a request whose body is a JSON object.
type handler func(w http.ResponseWriter, r *http.Request, body map[string]any, mem *memory)

func (s *Server) post(w http.ResponseWriter, r *http.Request, raw []byte, mem *memory, serve handler) {
	if r.Method != http.MethodPost {
		s.fail(w, wrongMethod(r, "POST"))
		return
	}
	sent := r.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(sent); err != nil || kind != "application/json" {
		s.fail(w, refuse(nil, "unsupported_content_type", "Unsupported content type: '%s'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: %s'. Please try again with a supported content type.", sent, sent))
		return
	}
	body, err := decode(raw)
	if err != nil {
		s.fail(w, err)
		return
	}
	serve(w, r, body, mem)
}

// decode reads a body as one JSON object. Duplicate names, bad UTF-8 and bytes behind the object are errors.
func decode(raw []byte) (map[string]any, *apiError) {
	notJSON := refuse(nil, nil, "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "+
		"The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)")
	if !jsontext.Value(raw).IsValid() {
		return nil, notJSON
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil || body == nil {
		return nil, notJSON
	}
	return body, nil
}

// scenarioOf finds the scenario that the model's name gives: its last path element, behind "fake-".
func (s *Server) scenarioOf(model string) (string, *apiError) {
	name, ok := strings.CutPrefix(model[strings.LastIndexByte(model, '/')+1:], "fake-")
	if !ok || s.o.Scenario == "demo" {
		return s.o.Scenario, nil
	}
	if scenarios[name] == nil {
		return "", noModel(model)
	}
	return name, nil
}

// prepare fills in what both APIs' readers leave open, and lets the dialect refuse.
func (s *Server) prepare(a *ask) *apiError {
	a.d, a.model = s.d, stringOf(a.body["model"])
	var err *apiError
	if a.scenario, err = s.scenarioOf(a.model); err != nil {
		return err
	}
	for _, r := range pick(a.api, s.d.refusals, s.d.itemRefusals) {
		if err := r(a); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, body map[string]any, _ *memory) {
	check := looseChat
	if s.d.strict {
		check = checkChat
	}
	if err := check(body); err != nil {
		s.fail(w, err)
		return
	}
	a := readChat(body)
	if err := s.prepare(&a); err != nil {
		s.fail(w, err)
		return
	}
	m := s.newMint()
	ans, err := play(&a, m)
	if err != nil {
		s.fail(w, err)
		return
	}
	out := newChatWriter(&a, ans, m, s.now().Unix())
	if a.stream {
		s.stream(w, r, ans.broken, out.stream)
		return
	}
	if ans.broken == midstream {
		s.fail(w, serverError(500))
		return
	}
	s.whole(w, r, ans.broken, out.whole)
}

// looseChat is the check of the lenient dialects.
func looseChat(body map[string]any) *apiError {
	if stringOf(body["model"]) == "" {
		return missingParameter("model")
	}
	if len(objectsOf(body["messages"])) == 0 {
		return refuse("messages", nil, "messages must be a list that is not empty")
	}
	return nil
}

func (s *Server) responses(w http.ResponseWriter, r *http.Request, body map[string]any, mem *memory) {
	check := looseResponses
	if s.d.strict {
		check = checkResponses
	}
	if err := check(body, mem, s.d); err != nil {
		s.fail(w, err)
		return
	}
	history := mem.history(body, s.d)
	a := readResponses(body, history)
	if err := s.prepare(&a); err != nil {
		s.fail(w, err)
		return
	}
	m := s.newMint()
	ans, err := play(&a, m)
	if err != nil {
		s.fail(w, err)
		return
	}
	out := newResponsesWriter(&a, ans, m, s.now().Unix())
	if out.store && s.d.forgets == remembers && ans.broken == intact {
		mem.keep(out.id, history, out.output(), out.whole())
	}
	if a.stream {
		s.stream(w, r, ans.broken, out.stream)
		return
	}
	s.whole(w, r, ans.broken, out.whole)
}

// looseResponses is the check of the lenient dialects.
func looseResponses(body map[string]any, mem *memory, d *dialect) *apiError {
	if body["input"] == nil {
		return missingParameter("input")
	}
	id := stringOf(body["previous_response_id"])
	if id == "" || d.forgets == ignores {
		return nil
	}
	if _, ok := mem.conversation(id); !ok || d.forgets == refuses {
		return noPreviousResponse(id)
	}
	return nil
}

// stored serves GET and DELETE /responses/{id}.
func (s *Server) stored(w http.ResponseWriter, r *http.Request, mem *memory, id string) {
	body, ok := mem.answer(id)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodDelete:
		s.fail(w, wrongMethod(r, "GET, DELETE"))
	case !ok:
		s.fail(w, &apiError{status: 404, kind: "invalid_request_error", message: "Response with id '" + id + "' not found."})
	case r.Method == http.MethodDelete:
		mem.forget(id)
		s.json(w, toJSON(obj{{"id", id}, {"object", "response"}, {"deleted", true}}))
	default:
		s.json(w, body)
	}
}

func (s *Server) json(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// page is what a proxy in between may answer with status 200.
const page = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>\n"

// whole sends an answer in one piece, or breaks as the scenario says.
func (s *Server) whole(w http.ResponseWriter, r *http.Request, b breakage, body func() []byte) {
	switch b {
	case nonJSON:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	case stall:
		<-r.Context().Done()
	case cut, cutEarly:
		full := body()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(full)))
		if b == cut {
			_, _ = w.Write(full[:len(full)/2])
		}
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // net/http then closes the connection without a word
	default:
		s.json(w, body())
	}
}

// stream sends an answer event by event, each in one Write and one Flush.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, b breakage, frames func() [][]byte) {
	if b == nonJSON {
		s.whole(w, r, b, nil)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	flusher := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	_ = flusher.Flush()
	if b == cutEarly {
		panic(http.ErrAbortHandler)
	}
	for i, frame := range frames() {
		if i > 0 && !pause(r, s.o.Delay) {
			return
		}
		if _, err := w.Write(frame); err != nil {
			return
		}
		_ = flusher.Flush()
	}
	switch b {
	case cut:
		panic(http.ErrAbortHandler)
	case stall:
		<-r.Context().Done()
	}
}

// pause waits, and reports whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return r.Context().Err() == nil
	}
	select {
	case <-r.Context().Done():
		return false
	case <-time.After(d):
		return true
	}
}
