package convert

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// responsesUsage counts tokens as Responses does: the output includes the
// reasoning, and the total is the sum. Usage that cannot be read is none: half
// an object would be worse.
func responsesUsage(raw jsontext.Value) *responses.Usage {
	if raw.Kind() != '{' {
		return nil
	}
	var u chat.Usage
	if json.Unmarshal(raw, &u, lenient) != nil {
		return nil
	}
	in, out := int64(u.PromptTokens), int64(u.CompletionTokens)
	// xAI and some Gemini proxies leave the reasoning out of completion_tokens,
	// but not out of the total.
	if total := int64(u.TotalTokens); total > in+out {
		out = total - in
	}
	prompt, completion := or(u.PromptTokensDetails, chat.PromptDetails{}), or(u.CompletionTokensDetails, chat.CompletionDetails{})
	return &responses.Usage{
		InputTokens: in,
		InputTokensDetails: responses.InputDetails{
			CachedTokens:     min(in, first(prompt.CachedTokens, u.PromptCacheHitTokens, u.CachedTokens)),
			CacheWriteTokens: first(prompt.CacheWriteTokens, u.CacheCreationInputTokens),
		},
		OutputTokens:        out,
		OutputTokensDetails: responses.OutputDetails{ReasoningTokens: first(completion.ReasoningTokens, u.ReasoningTokens)},
		TotalTokens:         in + out,
	}
}

func first(counts ...*chat.Count) int64 {
	for _, n := range counts {
		if n != nil {
			return int64(*n)
		}
	}
	return 0
}

// chatUsage is the reverse.
func chatUsage(u *responses.Usage) *chat.Usage {
	if u == nil {
		return nil
	}
	cached, written := chat.Count(u.InputTokensDetails.CachedTokens), chat.Count(u.InputTokensDetails.CacheWriteTokens)
	reasoning := chat.Count(u.OutputTokensDetails.ReasoningTokens)
	total := u.TotalTokens
	if total == 0 {
		total = u.InputTokens + u.OutputTokens
	}
	return &chat.Usage{
		PromptTokens:            chat.Count(u.InputTokens),
		CompletionTokens:        chat.Count(u.OutputTokens),
		TotalTokens:             chat.Count(total),
		PromptTokensDetails:     &chat.PromptDetails{CachedTokens: &cached, CacheWriteTokens: &written},
		CompletionTokensDetails: &chat.CompletionDetails{ReasoningTokens: &reasoning},
	}
}
