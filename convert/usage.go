package convert

import (
	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// responsesUsage counts tokens as Responses does: the output includes the
// reasoning, and the total is the sum.
func responsesUsage(u *chat.Usage) *responses.Usage {
	if u == nil {
		return nil
	}
	out := &responses.Usage{InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens}
	// xAI and some Gemini proxies leave the reasoning out of completion_tokens,
	// but not out of the total.
	if u.TotalTokens > u.PromptTokens+u.CompletionTokens {
		out.OutputTokens = u.TotalTokens - u.PromptTokens
	}
	out.TotalTokens = out.InputTokens + out.OutputTokens
	if d := u.PromptTokensDetails; d != nil {
		out.InputTokensDetails.CachedTokens = d.CachedTokens
		out.InputTokensDetails.CacheWriteTokens = first(d.CacheWriteTokens, u.CacheCreationInputTokens)
	} else {
		out.InputTokensDetails.CachedTokens = first(u.PromptCacheHitTokens, u.CachedTokens)
		out.InputTokensDetails.CacheWriteTokens = first(u.CacheCreationInputTokens)
	}
	out.InputTokensDetails.CachedTokens = min(out.InputTokensDetails.CachedTokens, out.InputTokens)
	out.OutputTokensDetails.ReasoningTokens = first(u.ReasoningTokens)
	if d := u.CompletionTokensDetails; d != nil {
		out.OutputTokensDetails.ReasoningTokens = d.ReasoningTokens
	}
	return out
}

func first(counts ...*int64) int64 {
	for _, n := range counts {
		if n != nil {
			return *n
		}
	}
	return 0
}

// chatUsage is the reverse.
func chatUsage(u *responses.Usage) *chat.Usage {
	if u == nil {
		return nil
	}
	written := u.InputTokensDetails.CacheWriteTokens
	return &chat.Usage{
		PromptTokens:     u.InputTokens,
		CompletionTokens: u.OutputTokens,
		TotalTokens:      u.TotalTokens,
		PromptTokensDetails: &chat.PromptDetails{
			CachedTokens: u.InputTokensDetails.CachedTokens, CacheWriteTokens: &written,
		},
		CompletionTokensDetails: &chat.CompletionDetails{ReasoningTokens: u.OutputTokensDetails.ReasoningTokens},
	}
}
