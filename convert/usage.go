package convert

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// responsesUsage counts tokens as Responses does: the output includes the
// reasoning. Usage that cannot be read is none: half an object would be worse.
func responsesUsage(raw jsontext.Value) *responses.Usage {
	if raw.Kind() != '{' {
		return nil
	}
	var u chat.Usage
	if json.Unmarshal(raw, &u, lenient) != nil {
		return nil
	}
	prompt, completion := or(u.PromptTokensDetails, chat.PromptDetails{}), or(u.CompletionTokensDetails, chat.CompletionDetails{})
	return mendedUsage(&responses.Usage{
		InputTokens: int64(u.PromptTokens),
		InputTokensDetails: responses.InputDetails{
			CachedTokens:     first(prompt.CachedTokens, u.PromptCacheHitTokens, u.CachedTokens),
			CacheWriteTokens: first(prompt.CacheWriteTokens, u.CacheCreationInputTokens),
		},
		OutputTokens:        int64(u.CompletionTokens),
		OutputTokensDetails: responses.OutputDetails{ReasoningTokens: first(completion.ReasoningTokens, u.ReasoningTokens)},
		TotalTokens:         int64(u.TotalTokens),
	})
}

// mendedUsage makes the total the sum, and what was cached no more than there
// was. xAI and some Gemini proxies leave the reasoning out of the output, but not
// out of the total.
func mendedUsage(u *responses.Usage) *responses.Usage {
	if u == nil {
		return nil
	}
	u.InputTokens = max(0, u.InputTokens)
	u.OutputTokens = max(0, u.OutputTokens, u.TotalTokens-u.InputTokens)
	u.TotalTokens = u.InputTokens + u.OutputTokens
	u.InputTokensDetails.CachedTokens = max(0, min(u.InputTokens, u.InputTokensDetails.CachedTokens))
	return u
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
	return &chat.Usage{
		PromptTokens:            chat.Count(u.InputTokens),
		CompletionTokens:        chat.Count(u.OutputTokens),
		TotalTokens:             chat.Count(u.TotalTokens),
		PromptTokensDetails:     &chat.PromptDetails{CachedTokens: &cached, CacheWriteTokens: &written},
		CompletionTokensDetails: &chat.CompletionDetails{ReasoningTokens: &reasoning},
	}
}
