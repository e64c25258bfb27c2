package convert

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/responses"
)

// echoed are the members of a response that repeat its request, with the values
// that OpenAI's servers put where the request says nothing. Clients that check
// an answer against the API's schema take neither a missing member nor, for most,
// null.
type echoed struct {
	Background        bool                    `json:"background"`
	Conversation      *responses.Conversation `json:"conversation,omitzero"`
	FrequencyPenalty  float64                 `json:"frequency_penalty"`
	Instructions      *string                 `json:"instructions"`
	MaxOutputTokens   *int64                  `json:"max_output_tokens"`
	MaxToolCalls      *int64                  `json:"max_tool_calls"`
	Metadata          jsontext.Value          `json:"metadata"`
	ParallelToolCalls bool                    `json:"parallel_tool_calls"`
	PresencePenalty   float64                 `json:"presence_penalty"`
	PreviousResponse  *string                 `json:"previous_response_id"`
	Prompt            jsontext.Value          `json:"prompt,omitzero"`
	PromptCacheKey    *string                 `json:"prompt_cache_key"`
	CacheOptions      jsontext.Value          `json:"prompt_cache_options,omitzero"`
	CacheRetention    string                  `json:"prompt_cache_retention,omitzero"`
	Reasoning         echoedReasoning         `json:"reasoning"`
	SafetyIdentifier  *string                 `json:"safety_identifier"`
	Store             bool                    `json:"store"`
	Temperature       float64                 `json:"temperature"`
	Text              responses.TextConfig    `json:"text"`
	ToolChoice        responses.ToolChoice    `json:"tool_choice"`
}

// echoedLast are those behind the tools, which are written apart.
type echoedLast struct {
	TopLogprobs int64   `json:"top_logprobs"`
	TopP        float64 `json:"top_p"`
	Truncation  string  `json:"truncation"`
	User        string  `json:"user,omitzero"`
}

type echoedReasoning struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

// echo makes the members of a response that repeat its request, as an upstream of
// dialect d was asked. stored tells whether the response can be asked for later.
func echo(req *responses.Request, d *Dialect, stored bool) jsontext.Value {
	e := echoed{
		Background:        stored && or(req.Background, false),
		Conversation:      req.Conversation,
		FrequencyPenalty:  or(req.FrequencyPenalty, 0),
		Instructions:      nullable(req.Instructions),
		MaxOutputTokens:   req.MaxOutputTokens,
		MaxToolCalls:      req.MaxToolCalls,
		Metadata:          optional(req.Metadata),
		ParallelToolCalls: or(req.ParallelToolCalls, true),
		PresencePenalty:   or(req.PresencePenalty, 0),
		PreviousResponse:  nullable(req.PreviousResponseID),
		Prompt:            optional(req.Prompt),
		PromptCacheKey:    nullable(req.PromptCacheKey),
		CacheOptions:      optional(req.PromptCacheOptions),
		CacheRetention:    req.CacheRetention,
		SafetyIdentifier:  nullable(req.SafetyIdentifier),
		Store:             stored,
		Temperature:       or(req.Temperature, 1),
		ToolChoice:        or(req.ToolChoice, responses.ToolChoice{Word: "auto"}),
	}
	last := echoedLast{TopLogprobs: or(req.TopLogprobs, 0), TopP: or(req.TopP, 1), Truncation: req.Truncation, User: req.User}
	if e.Metadata == nil {
		e.Metadata = jsontext.Value("{}")
	}
	if last.Truncation == "" {
		last.Truncation = "disabled"
	}
	if r := req.Reasoning; r != nil {
		e.Reasoning.Effort = nullable(r.Effort)
		if e.Reasoning.Summary = nullable(r.Summary); r.Summary == "" {
			e.Reasoning.Summary = nullable(r.GenerateSummary)
		}
	}
	if req.Text != nil {
		e.Text = *req.Text
	}
	if e.Text.Format == nil {
		e.Text.Format = &responses.TextFormat{Type: "text"}
	}
	head, err := json.Marshal(&e, writeOptions)
	if err != nil {
		return nil // not reached: all of it was read from valid JSON
	}
	tail, err := json.Marshal(&last, writeOptions)
	if err != nil {
		return nil
	}
	size := len(head) + len(tail) + len(`,"tools":[]`)
	for i := range req.Tools {
		size += 128 + len(req.Tools[i].Description) + len(req.Tools[i].Parameters)
	}
	w := plain.Writer{B: append(make([]byte, 0, size), head[:len(head)-1]...)}
	w.B = append(w.B, `,"tools":[`...)
	for i := range req.Tools {
		if i > 0 {
			w.B = append(w.B, ',')
		}
		echoTool(&w, &req.Tools[i], d)
	}
	w.B = append(w.B, "],"...)
	return append(w.B, tail[1:]...)
}

// SetStored makes a response say whether it can be asked for later.
func SetStored(resp *responses.Response, stored bool) {
	var object struct {
		Store bool           `json:"store"`
		Rest  jsontext.Value `json:",embed"`
	}
	if len(resp.Echo) > 0 && json.Unmarshal(resp.Echo, &object, lenient) != nil {
		return // not reached: it was read from valid JSON, or made here
	}
	object.Store = stored
	if b, err := json.Marshal(&object, lenient); err == nil {
		resp.Echo = b
	}
}

// echoTool repeats a tool; a function has all its members, null or not.
func echoTool(w *plain.Writer, t *responses.Tool, d *Dialect) {
	if t.Type != "function" {
		b, err := json.Marshal(t, writeOptions)
		if err != nil {
			b = []byte("null")
		}
		w.B = append(w.B, b...)
		return
	}
	w.Open()
	w.String("type", t.Type)
	w.String("name", t.Name)
	w.Name("description")
	w.B = appendNullable(w.B, t.Description)
	w.Name("parameters")
	w.B = plain.Compact(w.B, orNull(t.Parameters))
	w.Name("strict")
	w.B = strconv.AppendBool(w.B, or(t.Strict, d.StrictDefault && strictSchema(t.Parameters)))
	w.Members(t.Unknown)
	w.Close()
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// NewID makes a random id that begins with prefix, such as "msg_".
func NewID(prefix string) string { return new(Options).newID(prefix) }

func (o *Options) newID(prefix string) string {
	if o.NewID != nil {
		return o.NewID(prefix)
	}
	var b [24]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return prefix + hex.EncodeToString(b[:])
}

func (o *Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// wantsSeal tells whether the client carries the reasoning itself.
func wantsSeal(req *responses.Request, o *Options) bool {
	if o.Sealer == nil {
		return false
	}
	return req.Store != nil && !*req.Store || slices.Contains(req.Include, includeEncrypted)
}

func orNull(v jsontext.Value) jsontext.Value {
	if len(v) == 0 {
		return jsontext.Value("null")
	}
	return v
}
