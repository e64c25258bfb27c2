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
	return x.route.name == "passthrough" && x.r.Method == http.MethodPost && "/"+strings.Trim(x.route.path, "/") == "/responses/input_tokens" && x.h.first(convert.Chat) != nil
}

// countTokens answers POST /responses/input_tokens for models of a Chat upstream: an
// estimate, as Chat Completions has no such request. Other models' upstreams count
// for themselves.
// https://platform.openai.com/docs/api-reference/responses/input-tokens
func (x *exchange) countTokens() error {
	body, err := x.readBody()
	if err != nil {
		return err
	}
	up, alias, err := x.upstreamOf(body)
	if err != nil {
		return err
	}
	if up.Mode == convert.Responses {
		x.outcome = "passthrough"
		if alias != "" {
			if body, err = convert.SetModel(body, alias); err != nil {
				return err
			}
		}
		return x.direct(up, x.route.path, body)
	}
	x.up, x.route.name = up, "convert" // it is read, and nothing is kept of it
	if x.req, err = convert.Read(convert.Responses, body); err != nil {
		return err
	}
	x.req.Out = convert.Responses
	if err := x.recall(); err != nil {
		return err
	}
	o, err := x.options(alias)
	if err != nil {
		return err
	}
	if x.turn, err = x.req.To(convert.Chat, o); err != nil {
		return err
	}
	x.outcome = "counted"
	x.turn.Report = append(x.turn.Report, convert.Loss{Param: "input", What: "tokens estimated"})
	x.warn()
	return x.reply(struct {
		Object      string `json:"object"`
		InputTokens int64  `json:"input_tokens"`
	}{"response.input_tokens", estimate(x.turn.Body)})
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
