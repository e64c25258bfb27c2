package chat2response

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert"
)

// isCount tells a request to count the tokens of a Responses request.
func (x *exchange) isCount() bool {
	return x.asksAside("/responses/input_tokens")
}

// asksAside tells a request to a path that Responses has beside its own, and that is
// answered here for Chat upstreams.
func (x *exchange) asksAside(path string) bool {
	return x.route.name == "passthrough" && x.r.Method == http.MethodPost && "/"+strings.Trim(x.route.path, "/") == path && x.h.first(convert.Chat) != nil
}

// readAside reads such a request, with what it continues. One for an upstream that
// speaks Responses has been passed on to it.
func (x *exchange) readAside() (alias string, passed bool, err error) {
	body, err := x.readBody()
	if err != nil {
		return "", false, err
	}
	up, alias, err := x.upstreamOf(body)
	if err != nil {
		return "", false, err
	}
	if up.Mode == convert.Responses {
		setBody(x.r, body)
		x.r.Header.Del("Content-Encoding")
		return "", true, x.passThrough()
	}
	x.up, x.route.name = up, "convert" // it is read, and nothing is kept of it
	if x.req, err = convert.Read(convert.Responses, body); err != nil {
		return "", false, err
	}
	x.req.Out = convert.Responses
	return alias, false, x.recall()
}

// countTokens answers POST /responses/input_tokens for models of a Chat upstream: by
// the upstream's tokenizer, where its dialect has one and it answers; else it is an
// estimate and says so. Upstreams that speak Responses count for themselves.
// https://platform.openai.com/docs/api-reference/responses/input-tokens
func (x *exchange) countTokens() error {
	alias, passed, err := x.readAside()
	if passed || err != nil {
		return err
	}
	o, err := x.options(alias)
	if err != nil {
		return err
	}
	if x.turn, err = x.to(convert.Chat, o); err != nil {
		return err
	}
	x.outcome = "counted"
	var tokens int64
	counted := false
	if count := tokenizers[x.up.Dialect]; count != nil {
		tokens, counted = count(x)
	}
	if !counted {
		tokens = estimate(x.turn.Body)
		x.turn.Report = append(x.turn.Report, convert.Loss{Param: "input", What: "tokens estimated"})
	}
	x.warn()
	return x.reply(struct {
		Object      string `json:"object"`
		InputTokens int64  `json:"input_tokens"`
	}{"response.input_tokens", tokens})
}

// tokenizers count the tokens of x.turn as servers of a dialect do. They tell
// whether the server has.
var tokenizers = map[string]func(x *exchange) (int64, bool){
	// https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
	"vllm": func(x *exchange) (int64, bool) {
		var answer struct {
			Count int64 `json:"count"`
		}
		ok := x.askRoot("/tokenize", promptOf(x.turn.Body), &answer)
		return answer.Count, ok && answer.Count > 0
	},
	// https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
	"llama.cpp": func(x *exchange) (int64, bool) {
		var rendered struct {
			Prompt string `json:"prompt"`
		}
		var answer struct {
			Tokens []jsontext.Value `json:"tokens"`
		}
		if !x.askRoot("/apply-template", promptOf(x.turn.Body), &rendered) {
			return 0, false
		}
		ok := x.askRoot("/tokenize", map[string]any{"content": rendered.Prompt, "add_special": true, "parse_special": true}, &answer)
		return int64(len(answer.Tokens)), ok && len(answer.Tokens) > 0
	},
}

// prompt is what of a Chat request the model reads.
type prompt struct {
	Model    string         `json:"model,omitzero"`
	Messages jsontext.Value `json:"messages"`
	Tools    jsontext.Value `json:"tools,omitzero"`
	Kwargs   jsontext.Value `json:"chat_template_kwargs,omitzero"`
}

func promptOf(body []byte) any {
	var p prompt
	if json.Unmarshal(body, &p, storedOptions) != nil {
		return nil // not reached: it was written here
	}
	return &p
}

// askRoot posts JSON to a path of the upstream's that is not below its API's /v1, and
// tells whether it was answered.
func (x *exchange) askRoot(path string, body, answer any) (ok bool) {
	b, err := json.Marshal(body, storedOptions)
	if err != nil {
		return false
	}
	r := x.up.translated(x.r.Context(), x.r, path, b, false, x.owner)
	r.URL.Path = strings.TrimSuffix(x.up.base, "/v1") + path
	defer func() {
		if e := recover(); e != nil {
			if e != http.ErrAbortHandler {
				panic(e)
			}
			ok = false // reverse_proxy's way to say that the answer broke off
		}
	}()
	w := &recorder{header: http.Header{}, body: keptBody{hold: x.hold}}
	if err := x.up.serve(w, r, x.next); err != nil || w.status != http.StatusOK {
		return false
	}
	return json.Unmarshal(w.body.bytes, answer, storedOptions) == nil
}

// recorder keeps an answer of the upstream's that the client does not get.
type recorder struct {
	header http.Header
	status int
	body   keptBody
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if err := w.body.add(b, maxAnswer); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Of an estimate: what a message costs beside its text, and a picture of middling
// size (https://platform.openai.com/docs/guides/images-vision#calculating-costs).
const (
	messageTokens = 4
	imageTokens   = 765
	bytesPerToken = 4
)

// estimate is about how many tokens a Chat request's messages and tools are: one for
// four bytes of ASCII and one for each other character.
func estimate(body []byte) int64 {
	var req struct {
		Messages []struct {
			Content   jsontext.Value `json:"content"`
			ToolCalls jsontext.Value `json:"tool_calls"`
		} `json:"messages"`
		Tools          jsontext.Value `json:"tools"`
		ResponseFormat jsontext.Value `json:"response_format"`
	}
	if json.Unmarshal(body, &req, storedOptions) != nil {
		return 0 // not reached: it was written here
	}
	total := textTokens(string(req.Tools)) + textTokens(string(req.ResponseFormat))
	for _, m := range req.Messages {
		total += messageTokens + textTokens(string(m.ToolCalls))
		var text string
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		switch {
		case m.Content.Kind() == '"' && json.Unmarshal(m.Content, &text, storedOptions) == nil:
			total += textTokens(text)
		case m.Content.Kind() == '[' && json.Unmarshal(m.Content, &parts, storedOptions) == nil:
			for _, p := range parts {
				if total += textTokens(p.Text); p.Type != "text" {
					total += imageTokens
				}
			}
		}
	}
	return total
}

func textTokens(s string) int64 {
	ascii, others := 0, 0
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		if size == 1 {
			ascii++
		} else {
			others++
		}
		i += size
	}
	return int64((ascii+bytesPerToken-1)/bytesPerToken + others)
}
