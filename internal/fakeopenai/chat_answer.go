package fakeopenai

import (
	"fmt"
	"strings"
)

// chatWriter writes one answer as Chat Completions has it.
type chatWriter struct {
	a       *ask
	ans     answer
	d       *dialect
	id      string
	created int64
	frames  [][]byte
	sent    usage // what the chunks so far amount to, for running usage
	ended   bool  // a chunk with a finish_reason has been sent
	padding padding
}

func newChatWriter(a *ask, ans answer, m *mint, now int64) *chatWriter {
	return &chatWriter{a: a, ans: ans, d: a.d, id: chatID(a.d, m), created: now}
}

func chatID(d *dialect, m *mint) string {
	switch d.family {
	case "openrouter":
		return m.id("gen-1700000000-", 20)
	case "mistral", "glm":
		return strings.ToLower(m.id("", 32))
	case "ollama": // a number below 1000, which recurs
		return "chatcmpl-417"
	}
	return m.id("chatcmpl-", 29)
}

// head are the members that begin a completion and each chunk of a stream.
func (w *chatWriter) head(object string) obj {
	head := obj{{"id", w.id}, {"object", object}, {"created", w.created}, {"model", w.a.model}}
	if w.d.family == "openrouter" {
		head = append(obj{{"id", w.id}, {"provider", "Fake"}}, head[1:]...)
	}
	if w.d.strict {
		head = append(head, member{"service_tier", "default"})
	}
	switch w.d.fingerprint {
	case "":
		return head
	case "model":
		return append(head, member{"system_fingerprint", w.a.model})
	}
	return append(head, member{"system_fingerprint", w.d.fingerprint})
}

// whole is the body of an answer that is not streamed.
func (w *chatWriter) whole() []byte {
	var choices []any
	for i := range w.a.copies {
		choices = append(choices, w.choice(i))
	}
	body := append(w.head("chat.completion"), member{"choices", choices}, member{"usage", w.usage(w.ans.usage)})
	switch w.d.family {
	case "azure":
		body = append(body, member{"prompt_filter_results", promptFilter})
	case "groq":
		body = append(body, member{"x_groq", obj{{"id", "req_fake"}}})
	case "llama.cpp":
		body = append(body, member{"timings", timings})
	case "lmstudio":
		body = append(body, member{"stats", obj{}})
	case "vllm":
		body = append(body, member{"prompt_logprobs", nil}, member{"kv_transfer_params", nil})
	}
	return w.bytes(toJSON(body))
}

func (w *chatWriter) choice(index int) obj {
	choice := obj{{"index", index}, {"message", w.message()}}
	if w.a.logprobs {
		choice = append(choice, member{"logprobs", obj{{"content", w.allLogprobs()}, {"refusal", nil}}})
	} else if w.d.family != "mistral" {
		choice = append(choice, member{"logprobs", nil})
	}
	choice = append(choice, member{"finish_reason", w.finishWord()})
	return append(choice, w.finishExtras()...)
}

func (w *chatWriter) message() obj {
	message := obj{{"role", "assistant"}}
	var text, refusal, reasoning string
	var calls []any
	var notes []any
	for _, it := range w.ans.items {
		switch it.kind {
		case textItem:
			text += it.whole()
			notes = append(notes, nestedNotes(it.notes)...)
		case refusalItem:
			refusal += it.whole()
		case reasoningItem:
			reasoning += it.whole()
		default:
			calls = append(calls, w.call(it, -1, it.whole()))
		}
	}
	message = append(message, member{"content", w.content(text, reasoning, len(calls) > 0 || refusal != "")})
	if w.d.family == "deepseek" && reasoning == "" {
		message = append(message, member{"reasoning_content", ""})
	}
	message = append(message, w.reasoningMembers(reasoning)...)
	if w.d.strict || refusal != "" {
		message = append(message, member{"refusal", nullable(refusal)})
	}
	if w.d.strict || notes != nil {
		message = append(message, member{"annotations", append([]any{}, notes...)})
	}
	if calls == nil {
		return message
	}
	if w.a.body["functions"] != nil {
		return append(message, member{"function_call", calls[0].(obj).get("function")})
	}
	return append(message, member{"tool_calls", calls})
}

// content is the content of a whole message: null beside calls, or an array with the thoughts in it.
func (w *chatWriter) content(text, reasoning string, empty bool) any {
	if w.d.reasoning == reasoningThinking && reasoning != "" {
		parts := []any{thinkingPart(reasoning)}
		if text != "" {
			parts = append(parts, obj{{"type", "text"}, {"text", text}})
		}
		return parts
	}
	if text == "" && empty && w.d.strict {
		return nil
	}
	return text
}

func thinkingPart(s string) obj {
	return obj{{"type", "thinking"}, {"thinking", []any{obj{{"type", "text"}, {"text", s}}}}}
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// reasoningMembers are the members of a message or a delta in which this upstream shows its reasoning.
func (w *chatWriter) reasoningMembers(s string) obj {
	if s == "" {
		return nil
	}
	switch w.d.reasoning {
	case reasoningContent, reasoningBare:
		return obj{{string(w.d.reasoning), s}}
	case reasoningBoth:
		return obj{{"reasoning", s}, {"reasoning_content", s}}
	case reasoningDetails:
		return obj{{"reasoning", s}, {"reasoning_details", []any{obj{{"type", "reasoning.text"}, {"text", s}, {"format", "unknown"}, {"index", 0}}}}}
	}
	return nil
}

// call is one tool call: whole, or the first chunk of one, with the arguments given. Index -1 leaves it out.
func (w *chatWriter) call(it item, index int, args string) obj {
	c := obj{}
	if index >= 0 && !w.d.noIndex {
		if w.d.zeroIndex {
			index = 0
		}
		c = append(c, member{"index", index})
	}
	if !w.d.noCallID {
		c = append(c, member{"id", it.callID})
	}
	if it.kind == customItem {
		return append(c, member{"type", "custom"}, member{"custom", obj{{"name", it.name}, {"input", args}}})
	}
	c = append(c, member{"type", "function"}, member{"function", obj{{"name", it.name}, {"arguments", args}}})
	if w.d.signature && it.callID == w.firstCall() {
		c = append(c, member{"extra_content", obj{{"google", obj{{"thought_signature", thoughtSignature(it.name)}}}}})
	}
	return c
}

func (w *chatWriter) firstCall() string {
	for _, it := range w.ans.items {
		if it.isCall() {
			return it.callID
		}
	}
	return ""
}

func nestedNotes(notes []note) (out []any) {
	for _, n := range notes {
		out = append(out, obj{{"type", "url_citation"}, {"url_citation", obj{{"start_index", n.start}, {"end_index", n.end}, {"url", n.url}, {"title", n.title}}}})
	}
	return out
}

// stream makes the frames of a streamed answer. What a breakage cuts off is left out; the server then breaks.
func (w *chatWriter) stream() [][]byte {
	w.prelude()
	if !w.d.roleEverywhere {
		w.chunk(w.opening(), "")
	}
	calls := 0
	for i, it := range w.ans.items {
		last := i == len(w.ans.items)-1
		switch it.kind {
		case reasoningItem:
			w.streamReasoning(it)
		case textItem:
			w.streamText(it, last)
		case refusalItem:
			for _, p := range it.pieces {
				w.piece(obj{{"refusal", p}}, p, "")
			}
		default:
			w.streamCall(it, calls, last)
			calls++
		}
	}
	switch w.ans.broken {
	case midstream:
		w.fail()
		return w.frames
	case cut, stall:
		return w.frames
	}
	if !w.ended {
		w.finish()
	}
	w.usageChunk()
	w.frames = append(w.frames, doneFrame)
	return w.frames
}

func (w *chatWriter) prelude() {
	switch w.d.prelude {
	case preludeAzure:
		w.frame(obj{{"choices", []any{}}, {"created", 0}, {"id", ""}, {"model", ""}, {"object", ""}, {"prompt_filter_results", promptFilter}})
	case preludeComments:
		w.frames = append(w.frames, comment("OPENROUTER PROCESSING"), comment("OPENROUTER PROCESSING"))
	case preludeBlank:
		w.frames = append(w.frames, comment("keep-alive"), []byte("\n"), comment("keep-alive"))
	}
}

// opening is the delta that tells the role.
func (w *chatWriter) opening() obj {
	delta := obj{{"role", "assistant"}, {"content", ""}}
	if w.d.strict {
		if len(w.ans.items) > 0 && w.ans.items[0].isCall() {
			delta = delta.set("content", nil)
		}
		return append(delta, member{"refusal", nil})
	}
	if w.d.family == "deepseek" { // it is thinking, and wants this back even if empty
		return append(delta.set("content", nil), member{"reasoning_content", ""})
	}
	return delta
}

func (w *chatWriter) streamReasoning(it item) {
	for _, p := range it.pieces {
		w.sent.reasoning++
		switch w.d.reasoning {
		case reasoningHidden:
			w.sent.output++
		case reasoningThinking:
			w.piece(obj{{"content", []any{thinkingPart(p)}}}, "", "")
		default:
			delta := w.reasoningMembers(p)
			if w.d.family == "deepseek" {
				delta = append(obj{{"content", nil}}, delta...)
			}
			if w.d.roleEverywhere {
				delta = append(obj{{"content", ""}}, delta...)
			}
			w.piece(delta, "", "")
		}
	}
}

func (w *chatWriter) streamText(it item, last bool) {
	at := 0
	for i, p := range it.pieces {
		delta := obj{{"content", p}}
		if w.d.reasoning == reasoningThinking && i == 0 {
			delta = obj{{"content", []any{obj{{"type", "text"}, {"text", p}}}}}
		}
		if w.d.family == "deepseek" {
			delta = append(delta, member{"reasoning_content", nil})
		}
		finish := ""
		if last && w.d.finishInLast && i == len(it.pieces)-1 && w.ans.broken == intact {
			finish = w.finishWord()
		}
		w.piece(delta, p, finish)
		at += len([]rune(p))
		for _, n := range it.notes {
			if n.end > at-len([]rune(p)) && n.end <= at {
				w.chunk(obj{{"annotations", nestedNotes([]note{n})}}, "")
			}
		}
	}
}

func (w *chatWriter) streamCall(it item, index int, last bool) {
	if w.a.body["functions"] != nil {
		w.chunk(obj{{"function_call", obj{{"name", it.name}, {"arguments", ""}}}}, "")
		for _, p := range it.pieces {
			w.piece(obj{{"function_call", obj{{"arguments", p}}}}, "", "")
		}
		return
	}
	if w.d.wholeCalls && !(w.d.family == "glm" && w.a.body["tool_stream"] == true) {
		delta := obj{{"tool_calls", []any{w.call(it, index, it.whole())}}}
		if w.d.roleEverywhere {
			delta = append(obj{{"content", ""}}, delta...)
		}
		finish := ""
		if last && w.d.finishInLast && w.ans.broken == intact {
			finish = w.finishWord()
		}
		w.sent.output += len(it.pieces) - 1
		w.piece(delta, "", finish)
		return
	}
	w.chunk(obj{{"tool_calls", []any{w.call(it, index, "")}}}, "")
	for _, p := range it.pieces {
		body := obj{{"function", obj{{"arguments", p}}}}
		if it.kind == customItem {
			body = obj{{"custom", obj{{"input", p}}}}
		}
		w.piece(obj{{"tool_calls", []any{append(obj{{"index", index}}, body...)}}}, "", "")
	}
}

// piece sends a delta that is worth a token. Text is what log probabilities are about.
func (w *chatWriter) piece(delta obj, text, finish string) {
	w.sent.output++
	var probs any
	if text != "" && w.a.logprobs {
		probs = obj{{"content", []any{w.logprob(text, true)}}, {"refusal", nil}}
	}
	w.send(delta, probs, finish, nil)
}

func (w *chatWriter) chunk(delta obj, finish string) { w.send(delta, nil, finish, nil) }

// send writes one chunk for each copy of the answer.
func (w *chatWriter) send(delta obj, probs any, finish string, extra obj) {
	w.ended = w.ended || finish != ""
	if w.d.roleEverywhere && delta.get("role") == nil {
		delta = append(obj{{"role", "assistant"}}, delta...)
	}
	for index := range w.a.copies {
		choice := obj{{"index", index}, {"delta", delta}}
		if w.d.family != "mistral" && w.d.family != "ollama" && w.d.family != "kimi" {
			choice = append(choice, member{"logprobs", probs})
		}
		choice = append(choice, member{"finish_reason", nullable(finish)})
		if finish != "" {
			choice = append(choice, w.finishExtras()...)
		} else if w.d.family == "azure" {
			choice = append(choice, member{"content_filter_results", obj{}})
		}
		chunk := w.withUsage(append(w.head("chat.completion.chunk"), member{"choices", []any{choice}}))
		for _, m := range extra {
			chunk = chunk.set(m.name, m.value)
		}
		w.frame(chunk)
	}
}

// withUsage adds what a chunk says of usage: null where a later chunk will tell it, or the running sum.
func (w *chatWriter) withUsage(chunk obj) obj {
	continuous := w.d.family == "vllm" && objectAt(w.a.body, "stream_options")["continuous_usage_stats"] == true
	switch {
	case w.ans.every || continuous:
		w.sent.input, w.sent.cached = w.ans.usage.input, w.ans.usage.cached
		chunk = append(chunk, member{"usage", w.usage(w.sent)})
	case w.d.strict && w.a.includeUsage:
		chunk = append(chunk, member{"usage", nil})
	}
	if w.d.strict && w.a.obfuscate {
		chunk = append(chunk, member{"obfuscation", w.padding.next()})
	}
	return chunk
}

func (w *chatWriter) finish() {
	var extra obj
	usage := w.usage(w.ans.usage)
	switch w.d.usage {
	case usageFinish:
		extra = obj{{"usage", usage}}
	case usageGroq:
		extra = obj{{"x_groq", obj{{"id", "req_fake"}, {"usage", usage}}}}
	}
	if w.d.family == "llama.cpp" {
		extra = append(extra, member{"timings", timings})
	}
	w.send(obj{}, nil, w.finishWord(), extra)
	if w.d.twiceFinished {
		w.send(obj{{"content", ""}}, nil, w.finishWord(), nil)
	}
}

// finishWord is the finish_reason, in the legacy form for a request with functions in place of tools.
func (w *chatWriter) finishWord() string {
	if w.ans.finish == finishCalls && w.a.body["functions"] != nil {
		return "function_call"
	}
	return w.d.word(w.ans.finish)
}

// finishExtras are the members that stand beside a finish_reason.
func (w *chatWriter) finishExtras() obj {
	switch w.d.family {
	case "azure":
		return obj{{"content_filter_results", contentFilter(w.ans.finish == finishFilter)}}
	case "vllm":
		return obj{{"stop_reason", nil}}
	case "openrouter":
		return obj{{"native_finish_reason", "STOP"}}
	case "kimi":
		if w.a.stream {
			return obj{{"usage", w.usage(w.ans.usage)}}
		}
	}
	return nil
}

func (w *chatWriter) usageChunk() {
	asked := w.a.includeUsage
	switch w.d.usage {
	case usageFinish:
		return
	case usageRepeated:
		choice := obj{{"index", 0}, {"delta", obj{{"role", "assistant"}, {"content", ""}}}, {"finish_reason", nil}, {"native_finish_reason", nil}, {"logprobs", nil}}
		w.frame(append(w.head("chat.completion.chunk"), member{"choices", []any{choice}}, member{"usage", w.usage(w.ans.usage)}))
		return
	}
	if !asked {
		return
	}
	chunk := append(w.head("chat.completion.chunk"), member{"choices", []any{}}, member{"usage", w.usage(w.ans.usage)})
	if w.d.strict && w.a.obfuscate {
		chunk = append(chunk, member{"obfuscation", w.padding.next()})
	}
	w.frame(chunk)
}

func (w *chatWriter) usage(u usage) obj {
	prompt, completion, total := u.input, u.output, u.input+u.output
	base := func() obj {
		return obj{{"prompt_tokens", prompt}, {"completion_tokens", completion}, {"total_tokens", total}}
	}
	switch w.d.family {
	case "ollama", "mistral":
		return base()
	case "kimi":
		return append(base(), member{"cached_tokens", u.cached})
	case "gemini": // thoughts are in the total only
		completion -= u.reasoning
		return base()
	case "xai": // likewise, and the cache may hold more than the prompt
		completion -= u.reasoning
		return append(base(), member{"prompt_tokens_details", obj{{"text_tokens", prompt}, {"audio_tokens", 0}, {"image_tokens", 0}, {"cached_tokens", prompt + 8}}},
			member{"completion_tokens_details", obj{{"reasoning_tokens", u.reasoning}, {"audio_tokens", 0}, {"accepted_prediction_tokens", 0}, {"rejected_prediction_tokens", 0}}})
	case "deepseek":
		return append(base(), member{"prompt_tokens_details", obj{{"cached_tokens", u.cached}}},
			member{"completion_tokens_details", obj{{"reasoning_tokens", u.reasoning}}},
			member{"prompt_cache_hit_tokens", u.cached}, member{"prompt_cache_miss_tokens", prompt - u.cached})
	}
	all := append(base(), member{"prompt_tokens_details", obj{{"cached_tokens", u.cached}, {"audio_tokens", 0}}})
	if w.d.reasonCount {
		all = append(all, member{"completion_tokens_details", obj{{"reasoning_tokens", u.reasoning}, {"audio_tokens", 0},
			{"accepted_prediction_tokens", 0}, {"rejected_prediction_tokens", 0}}})
	}
	return all
}

// fail ends a stream with an error, in this upstream's way. OpenAI sends no [DONE] behind it, vLLM does.
func (w *chatWriter) fail() {
	e := serverError(500)
	if w.d.family == "openrouter" {
		w.frame(append(w.head("chat.completion.chunk"), member{"error", obj{{"code", 502}, {"message", "Provider disconnected unexpectedly"}}},
			member{"choices", []any{obj{{"index", 0}, {"delta", obj{{"role", "assistant"}, {"content", ""}}}, {"finish_reason", "error"}, {"native_finish_reason", "error"}}}}))
		return
	}
	w.frames = append(w.frames, append(append([]byte("data: "), w.d.errorJSON(e)...), "\n\n"...))
	if w.d.family == "vllm" {
		w.frames = append(w.frames, doneFrame)
	}
}

func (w *chatWriter) frame(v any) { w.frames = append(w.frames, w.bytes(dataFrame(v))) }

func (w *chatWriter) bytes(b []byte) []byte {
	if w.d.escapes {
		return escapeMarkup(b)
	}
	return b
}

// logprob is one token's log probability. OpenAI gives no bytes for special tokens in Chat Completions, and gives
// the bytes of all tokens in Responses.
func (w *chatWriter) logprob(token string, nullBytes bool) obj {
	return logprobOf(token, w.a.topLogprobs, nullBytes)
}

func (w *chatWriter) allLogprobs() (list []any) {
	for _, it := range w.ans.items {
		if it.kind == textItem || it.kind == refusalItem {
			for _, p := range it.pieces {
				list = append(list, w.logprob(p, true))
			}
		}
	}
	return append([]any{}, list...)
}

func logprobOf(token string, top int, nullBytes bool) obj {
	entry := func(token string, p float64) obj {
		var raw any
		if !nullBytes || !strings.HasPrefix(token, "<|") {
			ints := make([]int, len(token))
			for i := range len(token) {
				ints[i] = int(token[i])
			}
			raw = ints
		}
		return obj{{"token", token}, {"logprob", p}, {"bytes", raw}}
	}
	alternatives := []any{}
	for i := range top {
		if i == 0 {
			alternatives = append(alternatives, entry(token, -0.25))
			continue
		}
		alternatives = append(alternatives, entry(fmt.Sprintf("alt%d", i), -float64(i)-1))
	}
	return append(entry(token, -0.25), member{"top_logprobs", alternatives})
}

// Noise of single upstreams.

var promptFilter = []any{obj{{"prompt_index", 0}, {"content_filter_results", contentFilter(false)}}}

var timings = obj{{"prompt_n", 12}, {"prompt_ms", 30.5}, {"predicted_n", 8}, {"predicted_ms", 81.25}}

func contentFilter(filtered bool) obj {
	severity := "safe"
	if filtered {
		severity = "high"
	}
	verdict := obj{{"filtered", filtered}, {"severity", severity}}
	safe := obj{{"filtered", false}, {"severity", "safe"}}
	return obj{{"hate", safe}, {"self_harm", safe}, {"sexual", safe}, {"violence", verdict}}
}
