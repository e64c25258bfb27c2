package fakeopenai

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// answer is what the model says, before any wire form.
type answer struct {
	items  []item
	finish finish
	broken breakage
	usage  usage
	every  bool // chat: running usage on every chunk
}

type item struct {
	kind            itemKind
	pieces          []string // the deltas
	parts           []int    // reasoning: where, in pieces, a further summary part begins
	name, namespace string
	callID          string
	notes           []note // annotations of a text
}

type itemKind string

const (
	reasoningItem itemKind = "reasoning"
	textItem      itemKind = "text"
	refusalItem   itemKind = "refusal"
	functionItem  itemKind = "function"
	customItem    itemKind = "custom"
)

func (i item) whole() string { return strings.Join(i.pieces, "") }
func (i item) isCall() bool  { return i.kind == functionItem || i.kind == customItem }

type note struct {
	start, end int
	url, title string
}

// breakage is how a stream ends when it does not end well.
type breakage string

const (
	intact    breakage = ""
	midstream breakage = "midstream" // an error event
	cut       breakage = "cut"       // the connection dies
	cutEarly  breakage = "cut_early" // it dies behind the header
	stall     breakage = "stall"     // silence until the client leaves
	nonJSON   breakage = "nonjson"   // a web page
)

type usage struct{ input, cached, reasoning, output int }

// scenario builds an answer. An error is sent in its place.
type scenario func(a *ask, m *mint) (answer, *apiError)

// scenarios are the things a model may do, by the name that the model's name or Options.Scenario gives.
var scenarios = map[string]scenario{
	"text":      say(greeting),
	"unicode":   say(unicodePieces),
	"filter":    ending(finishFilter, words("The first thing you would need is")),
	"abort":     ending(finishAbort, words("I was about to")),
	"length":    ending(finishLength, words("It was a bright cold day in April, and the clocks were")),
	"empty":     say(nil),
	"midstream": breaking(midstream),
	"cut":       breaking(cut),
	"cut_early": breaking(cutEarly),
	"stall":     breaking(stall),
	"nonjson":   breaking(nonJSON),

	"reasoning":         playReasoning,
	"refusal":           playRefusal,
	"long":              playLong,
	"echo":              playEcho,
	"json":              playJSON,
	"image":             playImage,
	"logprobs":          playLogprobs,
	"annotations":       playAnnotations,
	"usage_every_chunk": playUsageEveryChunk,

	"tool":  calling(func(a *ask) []item { return callFunctions(a, 1) }),
	"tools": calling(func(a *ask) []item { return callFunctions(a, 2) }),
	"tool_text": calling(func(a *ask) []item {
		return append([]item{{kind: textItem, pieces: words("Let me look that up.")}}, callFunctions(a, 1)...)
	}),
	"reasoning_tool": calling(func(a *ask) []item {
		return append([]item{thinking("The user wants a fact that a tool knows.", "I should call it.")}, callFunctions(a, 1)...)
	}),
	"custom":      calling(callCustom),
	"namespaced":  calling(callNamespaced),
	"length_tool": playLengthTool,

	"demo": playDemo,

	"error400": fails, "error401": fails, "error404": fails, "error429": fails, "error500": fails, "error503": fails, "errorfilter": fails,
}

// Scenarios are the names that a model "fake-<name>" or [Options.Scenario] may give, sorted.
func Scenarios() []string { return slices.Sorted(maps.Keys(scenarios)) }

// play lets the scenario of a speak and counts its tokens.
func play(a *ask, m *mint) (answer, *apiError) {
	ans, err := scenarios[a.scenario](a, m)
	if err != nil {
		return answer{}, err
	}
	if ans.finish == "" {
		ans.finish = finishStop
	}
	if ans.finish == finishStop && slices.ContainsFunc(ans.items, item.isCall) {
		ans.finish = finishCalls
	}
	if ans.finish == finishAbort && (a.api == Responses || a.d.word(finishAbort) == "") {
		ans.finish, ans.broken = finishStop, midstream
	}
	ans.obeyStop(a.stop)
	ans.obeyLimit(a.limit)
	for i := range ans.items {
		if it := &ans.items[i]; it.isCall() {
			it.callID = a.d.mintCall(m, it.name, a.countCalls()+ans.callsBefore(i))
		}
	}
	ans.usage.input = a.words()
	ans.usage.cached = ans.usage.input / 2
	for _, it := range ans.items {
		n := max(1, len(it.pieces))
		if it.kind == reasoningItem {
			ans.usage.reasoning += n
		}
		ans.usage.output += n
	}
	return ans, nil
}

func (ans *answer) callsBefore(i int) (n int) {
	for _, it := range ans.items[:i] {
		if it.isCall() {
			n++
		}
	}
	return n
}

// obeyStop ends the text before the first stop sequence in it.
func (ans *answer) obeyStop(stops []string) {
	for i := range ans.items {
		it := &ans.items[i]
		if it.kind != textItem {
			continue
		}
		whole, at := it.whole(), -1
		for _, s := range stops {
			if p := strings.Index(whole, s); s != "" && p >= 0 && (at < 0 || p < at) {
				at = p
			}
		}
		if at < 0 {
			continue
		}
		it.pieces = takeBytes(it.pieces, at)
		ans.items, ans.finish = ans.items[:i+1], finishStop
		return
	}
}

func takeBytes(pieces []string, n int) (taken []string) {
	for _, p := range pieces {
		if n <= 0 {
			break
		}
		taken = append(taken, p[:min(n, len(p))])
		n -= len(p)
	}
	return taken
}

// obeyLimit ends the answer after limit pieces of reasoning or text. Calls are not cut: length_tool is for that.
func (ans *answer) obeyLimit(limit int) {
	if limit <= 0 {
		return
	}
	for i := range ans.items {
		it := &ans.items[i]
		if it.isCall() {
			continue
		}
		if len(it.pieces) <= limit {
			limit -= len(it.pieces)
			continue
		}
		it.pieces = it.pieces[:limit]
		ans.items, ans.finish = ans.items[:i+1], finishLength
		return
	}
}

// words divides a text into the deltas a tokenizer would make of it: words with the space before them.
func words(s string) (pieces []string) {
	start := 0
	for i := 1; i < len(s); i++ {
		if (s[i] == ' ' || s[i] == '\n') && s[i-1] != ' ' && s[i-1] != '\n' {
			pieces = append(pieces, s[start:i])
			start = i
		}
	}
	if start < len(s) {
		pieces = append(pieces, s[start:])
	}
	return pieces
}

// chop divides a text into deltas of n runes, as arguments of calls come.
func chop(s string, n int) (pieces []string) {
	for r := []rune(s); len(r) > 0; {
		k := min(n, len(r))
		pieces = append(pieces, string(r[:k]))
		r = r[k:]
	}
	return pieces
}

var greeting = words("Hello! I am a fake model. How can I help you today?")

// unicodePieces are divided where a careless reader breaks: between a letter and its combining mark, inside an
// emoji sequence, around line separators, backslashes and what looks like SSE or like markup of another layer.
var unicodePieces = []string{"Grüße ", "👩", "\u200d", "🚀", " 你好，", "世界", " e", "\u0301", " \u2028", "\u2029 ", `\`, `n \u00e9 \ud83d "`, "q\" ",
	"\r\ndata: x", "\r\n\r\n", "event: error\n\n", "<think>", "</think>", " <b>&amp;</b> ", "\t\u0000\u007f\u0085", "\ufeff", "مرحبا", " 🇫🇷", "…"}

func say(pieces []string) scenario {
	return func(*ask, *mint) (answer, *apiError) {
		if pieces == nil {
			return answer{}, nil
		}
		return answer{items: []item{{kind: textItem, pieces: pieces}}}, nil
	}
}

func ending(f finish, pieces []string) scenario {
	return func(*ask, *mint) (answer, *apiError) {
		return answer{items: []item{{kind: textItem, pieces: pieces}}, finish: f}, nil
	}
}

func breaking(b breakage) scenario {
	return func(*ask, *mint) (answer, *apiError) {
		return answer{items: []item{{kind: textItem, pieces: words("This sentence will not be")}}, broken: b}, nil
	}
}

func fails(a *ask, _ *mint) (answer, *apiError) {
	return answer{}, failure(a.scenario, a.api, a.model)
}

// thinking is a reasoning item of paragraphs, each a part of its summary.
func thinking(texts ...string) item {
	it := item{kind: reasoningItem}
	for i, t := range texts {
		if i > 0 {
			it.parts = append(it.parts, len(it.pieces))
			t = "\n\n" + t
		}
		it.pieces = append(it.pieces, words(t)...)
	}
	return it
}

func playReasoning(*ask, *mint) (answer, *apiError) {
	return answer{items: []item{
		thinking("**Reading the question**\n\nThe user greets me.", "**Answering**\n\nI greet back."),
		{kind: textItem, pieces: words("Hello, after some thought.")},
	}}, nil
}

func playRefusal(*ask, *mint) (answer, *apiError) {
	return answer{items: []item{{kind: refusalItem, pieces: words("I'm sorry, but I can't help with that.")}}}, nil
}

func playLong(*ask, *mint) (answer, *apiError) {
	pieces := make([]string, 2000)
	for i := range pieces {
		pieces[i] = fmt.Sprintf(" word%d", i)
	}
	return answer{items: []item{{kind: textItem, pieces: pieces}}}, nil
}

func playEcho(a *ask, _ *mint) (answer, *apiError) {
	return answer{items: []item{{kind: textItem, pieces: words(a.lastUser())}}}, nil
}

func playImage(a *ask, _ *mint) (answer, *apiError) {
	types := a.images()
	if len(types) == 0 {
		return answer{}, refuse(pick(a.api, "messages", "input"), "invalid_value", "This scenario needs an image, and the request has none.")
	}
	return answer{items: []item{{kind: textItem, pieces: words(fmt.Sprintf("I see %d image(s): %s.", len(types), strings.Join(types, ", ")))}}}, nil
}

// playLogprobs has a token whose bytes are null in Chat Completions.
func playLogprobs(*ask, *mint) (answer, *apiError) {
	return answer{items: []item{{kind: textItem, pieces: []string{"Hi", "!", " é", "<|x|>"}}}}, nil
}

func playAnnotations(*ask, *mint) (answer, *apiError) {
	return answer{items: []item{{kind: textItem, pieces: words("Go is a language (go.dev) by Google (example.com)."),
		notes: []note{{17, 25, "https://go.dev/", "The Go Programming Language"}, {36, 49, "https://example.com/", "Example Domain"}}}}}, nil
}

func playUsageEveryChunk(*ask, *mint) (answer, *apiError) {
	return answer{items: []item{{kind: textItem, pieces: greeting}}, every: true}, nil
}

func playJSON(a *ask, _ *mint) (answer, *apiError) {
	if a.d.ignoresSchema && a.api == Responses {
		return answer{items: []item{{kind: textItem, pieces: words("Sure! The city is Paris.")}}}, nil
	}
	value := any(obj{{"answer", "forty-two"}})
	if a.format.schema != nil {
		value = build(a.format.schema, a.format.schema, 0)
	}
	return answer{items: []item{{kind: textItem, pieces: chop(string(toJSON(value)), 5)}}}, nil
}

func playLengthTool(a *ask, _ *mint) (answer, *apiError) {
	calls := callFunctions(a, 1)
	if calls == nil {
		return noTools(a), nil
	}
	whole := calls[0].whole()
	calls[0].pieces = chop(whole[:min(len(whole), 4)], 2)
	return answer{items: calls, finish: finishLength}, nil
}
