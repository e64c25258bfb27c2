package fakeopenai

import (
	"maps"
	"slices"
	"strings"
)

// responsesWriter writes one answer as the Responses API has it.
type responsesWriter struct {
	a       *ask
	ans     answer
	d       *dialect
	id      string
	created int64
	prev    string // previous_response_id, if it was honoured
	store   bool
	ids     []string // one for each item of the answer
	frames  [][]byte
	seq     int
	padding padding
}

var itemPrefixes = map[itemKind]string{reasoningItem: "rs_", textItem: "msg_", refusalItem: "msg_", functionItem: "fc_", customItem: "ctc_"}

func newResponsesWriter(a *ask, ans answer, m *mint, now int64) *responsesWriter {
	w := &responsesWriter{a: a, ans: ans, d: a.d, id: m.id("resp_", 48), created: now}
	w.store = a.body["store"] != false
	if a.d.forgets != ignores {
		w.prev = stringOf(a.body["previous_response_id"])
	}
	for _, it := range ans.items {
		w.ids = append(w.ids, m.id(itemPrefixes[it.kind], 48))
	}
	if w.d.neverIncomplete && (ans.finish == finishLength || ans.finish == finishFilter) {
		w.ans.finish = finishStop
	}
	return w
}

// status is that of the whole response, once it has ended.
func (w *responsesWriter) status() string {
	switch {
	case w.ans.broken == midstream:
		return "failed"
	case w.ans.finish == finishLength, w.ans.finish == finishFilter:
		return "incomplete"
	}
	return "completed"
}

// response is the object in one of its states. Every member that OpenAI sends is there, null or not.
func (w *responsesWriter) response(status string, output []any) obj {
	b := w.a.body
	var completedAt, incomplete, failed, usage any
	switch status {
	case "completed":
		completedAt = w.created + 1
	case "incomplete":
		incomplete = obj{{"reason", map[finish]string{finishLength: "max_output_tokens", finishFilter: "content_filter"}[w.ans.finish]}}
	case "failed":
		failed = obj{{"code", "server_error"}, {"message", serverError(500).message}}
	}
	if status == "completed" || status == "incomplete" {
		usage = w.usage()
	}
	return obj{
		{"id", w.id}, {"object", "response"}, {"created_at", w.created}, {"status", status}, {"background", false},
		{"completed_at", completedAt}, {"error", failed}, {"frequency_penalty", orElse(b["frequency_penalty"], 0)},
		{"incomplete_details", incomplete}, {"instructions", b["instructions"]},
		{"max_output_tokens", b["max_output_tokens"]}, {"max_tool_calls", b["max_tool_calls"]}, {"model", w.a.model},
		{"output", output}, {"parallel_tool_calls", orElse(b["parallel_tool_calls"], true)},
		{"presence_penalty", orElse(b["presence_penalty"], 0)}, {"previous_response_id", nullable(w.prev)},
		{"prompt_cache_key", b["prompt_cache_key"]}, {"prompt_cache_retention", b["prompt_cache_retention"]},
		{"reasoning", w.reasoningEcho()}, {"safety_identifier", b["safety_identifier"]}, {"service_tier", w.tier()},
		{"store", w.store}, {"temperature", orElse(b["temperature"], 1)}, {"text", w.textEcho()},
		{"tool_choice", orElse(b["tool_choice"], "auto")}, {"tools", w.toolsEcho()},
		{"top_logprobs", orElse(b["top_logprobs"], 0)}, {"top_p", orElse(b["top_p"], 1)},
		{"truncation", orElse(b["truncation"], "disabled")}, {"usage", usage}, {"user", b["user"]},
		{"metadata", orElse(b["metadata"], obj{})},
	}
}

func orElse(v, otherwise any) any {
	if v == nil {
		return otherwise
	}
	return v
}

func (w *responsesWriter) tier() string {
	switch asked := stringOf(w.a.body["service_tier"]); asked {
	case "", "auto":
		return "default"
	case "fast":
		return "priority"
	default:
		return asked
	}
}

func (w *responsesWriter) reasoningEcho() obj {
	r := objectAt(w.a.body, "reasoning")
	return obj{{"effort", r["effort"]}, {"summary", r["summary"]}}
}

func (w *responsesWriter) textEcho() obj {
	t := objectAt(w.a.body, "text")
	return obj{{"format", orElse(t["format"], obj{{"type", "text"}})}, {"verbosity", orElse(t["verbosity"], "medium")}}
}

// toolsEcho repeats the tools with their defaults written out, `strict` as the server has decided it.
func (w *responsesWriter) toolsEcho() []any {
	list := []any{}
	for _, t := range objectsOf(w.a.body["tools"]) {
		if t["type"] != "function" {
			list = append(list, t)
			continue
		}
		t = maps.Clone(t)
		for _, name := range []string{"description", "parameters"} {
			if _, ok := t[name]; !ok {
				t[name] = nil
			}
		}
		if t["strict"] == nil {
			t["strict"] = strictSchema("", t["parameters"], "", nil) == nil
		}
		list = append(list, t)
	}
	return list
}

func (w *responsesWriter) usage() obj {
	u := w.ans.usage
	return obj{{"input_tokens", u.input}, {"input_tokens_details", obj{{"cached_tokens", u.cached}, {"cache_write_tokens", 0}}},
		{"output_tokens", u.output}, {"output_tokens_details", obj{{"reasoning_tokens", u.reasoning}}}, {"total_tokens", u.input + u.output}}
}

// whole is the body of an answer that is not streamed.
func (w *responsesWriter) whole() []byte {
	return w.bytes(toJSON(w.response(w.status(), w.output())))
}

// output are the items as they stand at the end.
func (w *responsesWriter) output() []any {
	output := []any{}
	for i := range w.ans.items {
		output = append(output, w.item(i, w.itemStatus(i)))
	}
	return output
}

// itemStatus of the last item says that it is unfinished, if the response is.
func (w *responsesWriter) itemStatus(i int) string {
	if i == len(w.ans.items)-1 && w.status() != "completed" {
		return "incomplete"
	}
	return "completed"
}

// item is one output item; with status in_progress it is still empty.
func (w *responsesWriter) item(i int, status string) obj {
	it := w.ans.items[i]
	begun := status == "in_progress"
	whole := it.whole()
	if begun {
		whole = ""
	}
	switch it.kind {
	case reasoningItem:
		return w.reasoning(i, begun)
	case functionItem, customItem:
		name := it.name
		if w.d.hostedSpoilsNames && w.hasHostedTools() {
			name = ""
		}
		o := obj{{"id", w.ids[i]}, {"type", "function_call"}, {"status", status}, {"arguments", whole}, {"call_id", it.callID}, {"name", name}}
		if it.kind == customItem {
			o = obj{{"id", w.ids[i]}, {"type", "custom_tool_call"}, {"status", status}, {"call_id", it.callID}, {"input", whole}, {"name", name}}
		}
		if it.namespace != "" {
			o = append(o, member{"namespace", it.namespace})
		}
		return o
	}
	parts := []any{}
	if !begun {
		parts = append(parts, w.part(it, true))
	}
	o := obj{{"id", w.ids[i]}, {"type", "message"}, {"status", status}, {"content", parts}}
	if w.d.strict {
		o = append(o, member{"phase", w.phase(i)})
	}
	return append(o, member{"role", "assistant"})
}

// phase tells a remark before a call from the answer proper.
func (w *responsesWriter) phase(i int) string {
	if slices.ContainsFunc(w.ans.items[i:], item.isCall) {
		return "commentary"
	}
	return "final_answer"
}

func (w *responsesWriter) hasHostedTools() bool {
	for _, t := range objectsOf(w.a.body["tools"]) {
		if t["type"] != "function" {
			return true
		}
	}
	return false
}

// shown tells whether this server lets the client see its reasoning. OpenAI does on demand, and as a summary.
func (w *responsesWriter) shown() bool { return !w.d.strict || w.a.summary }

func (w *responsesWriter) reasoning(i int, begun bool) obj {
	it := w.ans.items[i]
	o := obj{{"id", w.ids[i]}, {"type", "reasoning"}}
	summary, raw := []any{}, []any{}
	if !begun && w.shown() {
		if w.d.rawReasoning {
			raw = append(raw, obj{{"type", "reasoning_text"}, {"text", it.whole()}})
		} else {
			for _, p := range summaryParts(it) {
				summary = append(summary, summaryText(strings.Join(p, "")))
			}
		}
	}
	o = append(o, member{"summary", summary})
	if w.d.rawReasoning {
		o = append(o, member{"content", raw})
	}
	switch {
	case begun:
	case w.d.plainSeal:
		o = append(o, member{"encrypted_content", it.whole()})
	case w.a.sealed:
		o = append(o, member{"encrypted_content", seal(it.whole())})
	}
	return o
}

func summaryText(s string) obj { return obj{{"type", "summary_text"}, {"text", s}} }

// summaryParts divides the pieces of a reasoning item as its summary is divided. What separates two paragraphs
// belongs to neither part.
func summaryParts(it item) (parts [][]string) {
	from := 0
	for _, to := range append(slices.Clone(it.parts), len(it.pieces)) {
		if to > from && to <= len(it.pieces) {
			part := slices.Clone(it.pieces[from:to])
			part[0] = strings.TrimLeft(part[0], "\n")
			parts = append(parts, part)
			from = to
		}
	}
	return parts
}

// part is the content part of a message, full or still empty.
func (w *responsesWriter) part(it item, full bool) obj {
	whole := it.whole()
	if !full {
		whole = ""
	}
	if it.kind == refusalItem {
		return obj{{"type", "refusal"}, {"refusal", whole}}
	}
	notes, probs := []any{}, []any{}
	if full {
		for _, n := range it.notes {
			notes = append(notes, flatNote(n))
		}
		if w.a.logprobs {
			for _, p := range it.pieces {
				probs = append(probs, logprobOf(p, w.a.topLogprobs, false))
			}
		}
	}
	return obj{{"type", "output_text"}, {"annotations", notes}, {"logprobs", probs}, {"text", whole}}
}

func flatNote(n note) obj {
	return obj{{"type", "url_citation"}, {"end_index", n.end}, {"start_index", n.start}, {"title", n.title}, {"url", n.url}}
}

// stream makes the frames of a streamed answer, as far as its breakage lets it come.
func (w *responsesWriter) stream() [][]byte {
	w.event("response.created", member{"response", w.response("in_progress", []any{})})
	w.event("response.in_progress", member{"response", w.response("in_progress", []any{})})
	for i, it := range w.ans.items {
		at := member{"output_index", w.outputIndex(i)}
		w.event("response.output_item.added", at, member{"item", w.item(i, "in_progress")})
		open := w.ans.broken != intact && i == len(w.ans.items)-1
		switch it.kind {
		case reasoningItem:
			w.streamReasoning(i)
		case functionItem:
			w.streamCall(i, "response.function_call_arguments", "arguments")
		case customItem:
			w.streamCall(i, "response.custom_tool_call_input", "input")
		default:
			w.streamMessage(i, open)
		}
		if !open {
			w.event("response.output_item.done", at, member{"item", w.item(i, w.itemStatus(i))})
		}
	}
	switch w.ans.broken {
	case cut, stall:
		return w.frames
	case midstream:
		w.fail()
	default:
		w.event("response."+w.status(), member{"response", w.response(w.status(), w.output())})
	}
	if w.d.sendsDone {
		w.frames = append(w.frames, doneFrame)
	}
	return w.frames
}

// outputIndex is an item's place, which Ollama gives to all parallel calls alike.
func (w *responsesWriter) outputIndex(i int) int {
	if !w.d.sameOutputIndex || !w.ans.items[i].isCall() {
		return i
	}
	return slices.IndexFunc(w.ans.items, item.isCall)
}

func (w *responsesWriter) streamMessage(i int, open bool) {
	it := w.ans.items[i]
	at := []member{{"item_id", w.ids[i]}, {"output_index", i}, {"content_index", 0}}
	kind, key := "response.output_text", "text"
	if it.kind == refusalItem {
		kind, key = "response.refusal", "refusal"
	}
	w.event("response.content_part.added", append(at, member{"part", w.part(it, false)})...)
	runes := 0
	for _, p := range it.pieces {
		delta := append(slices.Clone(at), member{"delta", p})
		if it.kind == textItem {
			delta = append(delta, member{"logprobs", w.deltaLogprobs(p)})
		}
		w.delta(kind+".delta", delta)
		runes += len([]rune(p))
		for n, note := range it.notes {
			if note.end > runes-len([]rune(p)) && note.end <= runes {
				w.event("response.output_text.annotation.added", append(slices.Clone(at), member{"annotation_index", n}, member{"annotation", flatNote(note)})...)
			}
		}
	}
	if open {
		return
	}
	done := append(slices.Clone(at), member{key, it.whole()})
	if it.kind == textItem {
		done = append(done, member{"logprobs", w.part(it, true).get("logprobs")})
	}
	w.event(kind+".done", done...)
	w.event("response.content_part.done", append(slices.Clone(at), member{"part", w.part(it, true)})...)
}

// deltaLogprobs have no bytes, unlike those of the finished part.
func (w *responsesWriter) deltaLogprobs(token string) []any {
	if !w.a.logprobs {
		return []any{}
	}
	full := logprobOf(token, w.a.topLogprobs, false)
	alternatives := []any{}
	for _, alt := range full.get("top_logprobs").([]any) {
		alternatives = append(alternatives, alt.(obj)[:2])
	}
	return []any{append(slices.Clone(full[:2]), member{"top_logprobs", alternatives})}
}

func (w *responsesWriter) streamReasoning(i int) {
	it := w.ans.items[i]
	if !w.shown() {
		return
	}
	if w.d.rawReasoning {
		at := []member{{"item_id", w.ids[i]}, {"output_index", i}, {"content_index", 0}}
		part := func(s string) member { return member{"part", obj{{"type", "reasoning_text"}, {"text", s}}} }
		w.event("response.content_part.added", append(slices.Clone(at), part(""))...)
		for _, p := range it.pieces {
			w.delta("response.reasoning_text.delta", append(slices.Clone(at), member{"delta", p}))
		}
		w.event("response.reasoning_text.done", append(slices.Clone(at), member{"text", it.whole()})...)
		w.event("response.content_part.done", append(slices.Clone(at), part(it.whole()))...)
		return
	}
	for n, pieces := range summaryParts(it) {
		at := []member{{"item_id", w.ids[i]}, {"output_index", i}, {"summary_index", n}}
		whole := strings.Join(pieces, "")
		if !w.d.noSummaryPart {
			w.event("response.reasoning_summary_part.added", append(slices.Clone(at), member{"part", summaryText("")})...)
		}
		for _, p := range pieces {
			w.delta("response.reasoning_summary_text.delta", append(slices.Clone(at), member{"delta", p}))
		}
		w.event("response.reasoning_summary_text.done", append(slices.Clone(at), member{"text", whole})...)
		if !w.d.noSummaryPart {
			w.event("response.reasoning_summary_part.done", append(slices.Clone(at), member{"part", summaryText(whole)})...)
		}
	}
}

func (w *responsesWriter) streamCall(i int, kind, key string) {
	it := w.ans.items[i]
	at := []member{{"item_id", w.ids[i]}, {"output_index", w.outputIndex(i)}}
	for _, p := range it.pieces {
		w.delta(kind+".delta", append(slices.Clone(at), member{"delta", p}))
	}
	w.event(kind+".done", append(slices.Clone(at), member{key, it.whole()})...)
}

// fail ends the stream: an error event, flat as OpenAI's types have it or nested, then response.failed.
func (w *responsesWriter) fail() {
	e := serverError(500)
	flat := []member{{"code", "server_error"}, {"message", e.message}, {"param", nil}}
	if w.d.nestedErrors {
		flat = []member{{"error", append(obj{{"type", "server_error"}}, flat...)}}
	}
	w.event("error", flat...)
	output := w.output()
	w.event("response.failed", member{"response", w.response("failed", output)})
}

func (w *responsesWriter) delta(kind string, members []member) {
	if w.d.strict && w.a.obfuscate {
		members = append(members, member{"obfuscation", w.padding.next()})
	}
	w.event(kind, members...)
}

func (w *responsesWriter) event(kind string, members ...member) {
	body := append(obj{{"type", kind}, {"sequence_number", w.seq}}, members...)
	w.seq++
	w.frames = append(w.frames, w.bytes(namedFrame(kind, body)))
}

func (w *responsesWriter) bytes(b []byte) []byte {
	if w.d.escapes {
		return escapeMarkup(b)
	}
	return b
}
