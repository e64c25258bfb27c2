package fakeopenai

import (
	"maps"
	"slices"
	"strings"
)

// dialect is one upstream's departures from OpenAI's wire. Each member is a switch; the zero value is the plain
// compatible server, which is lenient and does nothing odd. What is told apart by family has no switch: the
// error body (errorStyles), the usage object and the members that a server adds to choices and bodies.
type dialect struct {
	name   string
	family string // the server of which this is a version; its name, if it stands alone
	base   string // where its API is, beside /v1 and /

	// What it refuses.
	strict       bool       // all that OpenAI refuses: check_chat.go, check_responses.go
	refusals     []refusal  // of a chat request
	itemRefusals []refusal  // of a Responses request
	forgets      forgetting // what becomes of previous_response_id

	// How its chat answers look.
	fingerprint    string        // system_fingerprint; "model" repeats the model's name
	reasoning      reasoningForm // where reasoning stands
	reasonCount    bool          // usage tells reasoning tokens
	usage          usageForm     // where a stream has its usage
	finishes       map[finish]string
	prelude        preludeForm // what comes before the first chunk
	roleEverywhere bool        // each chunk has the role
	wholeCalls     bool        // a call comes in one chunk
	noIndex        bool        // tool calls of a stream have no index,
	noCallID       bool        // or no id,
	zeroIndex      bool        // or all the index 0
	callID         callIDForm
	signature      bool // calls carry a thought signature
	finishInLast   bool // the last piece of content and the finish share a chunk
	twiceFinished  bool // the finishing chunk comes twice
	escapes        bool // markup is escaped in JSON, as Go does

	// How its Responses answers look.
	rawReasoning      bool // reasoning_text events in place of a summary
	noSummaryPart     bool // summary deltas without reasoning_summary_part events
	plainSeal         bool // encrypted_content is the reasoning itself
	sameOutputIndex   bool // parallel calls share an output_index
	neverIncomplete   bool // a response that ran out of tokens is completed
	hostedSpoilsNames bool // with other than function tools in the request, a call's name is ""
	ignoresSchema     bool // text.format is not followed
	nestedErrors      bool // the error event has its members inside `error`
	sendsDone         bool // [DONE] ends the stream
}

type finish string

const (
	finishStop   finish = "stop"
	finishCalls  finish = "tool_calls"
	finishLength finish = "length"
	finishFilter finish = "content_filter"
	finishAbort  finish = "abort" // the server gave up; OpenAI has no such reason
)

type reasoningForm string

const (
	reasoningHidden   reasoningForm = ""                  // counted, not shown
	reasoningContent  reasoningForm = "reasoning_content" // DeepSeek's name
	reasoningBare     reasoningForm = "reasoning"         // gpt-oss's and Ollama's
	reasoningBoth     reasoningForm = "both"              // vLLM while it renames one to the other
	reasoningDetails  reasoningForm = "reasoning_details" // OpenRouter: `reasoning` and the details, twice the same text
	reasoningThinking reasoningForm = "thinking"          // Mistral: parts of content
)

type usageForm string

const (
	usageAsked    usageForm = ""         // a chunk of its own, if include_usage asks for it
	usageFinish   usageForm = "finish"   // on the finishing chunk, always
	usageChoice   usageForm = "choice"   // Kimi: in choices[0] of the finishing chunk
	usageGroq     usageForm = "x_groq"   // Groq: in x_groq of the finishing chunk
	usageRepeated usageForm = "repeated" // OpenRouter: a chunk of its own that has a choice, always
)

type callIDForm string

const (
	callIDOpenAI  callIDForm = ""
	callIDMistral callIDForm = "mistral" // nine letters and digits
	callIDKimi    callIDForm = "kimi"    // functions.name:0
	callIDVLLM    callIDForm = "vllm"    // chatcmpl-tool-…
	callIDGemini  callIDForm = "gemini"  // function-call-…
)

type preludeForm string

const (
	preludeNone     preludeForm = ""
	preludeAzure    preludeForm = "azure"    // a chunk without choices: the filter's verdict on the prompt
	preludeComments preludeForm = "comments" // keep-alive comments
	preludeBlank    preludeForm = "blank"    // keep-alive comments and blank lines
)

type forgetting string

const (
	remembers forgetting = ""
	ignores   forgetting = "ignores" // answers as if previous_response_id were not there
	refuses   forgetting = "refuses"
)

// dialects are the upstreams by name. Sources: the vendors' documentation and issue trackers, and a run of
// Ollama 0.17.4; where these are silent a server is as lenient as "generic".
var dialects = map[string]*dialect{
	"openai": {strict: true, fingerprint: "fp_fake000000", reasonCount: true},
	"azure":  {strict: true, base: "/openai/v1", fingerprint: "fp_fake000000", reasonCount: true, prelude: preludeAzure},
	"generic": {reasoning: reasoningContent, reasonCount: true, sendsDone: true,
		refusals: []refusal{refuseCustomTools}},

	// Servers for one's own machine.
	"vllm": {reasoning: reasoningBoth, callID: callIDVLLM, finishes: map[finish]string{finishAbort: "abort"},
		refusals:     []refusal{refuseCustomTools, refuseDeveloper},
		rawReasoning: true, forgets: refuses},
	"llama.cpp": {fingerprint: "b9190-fake", reasoning: reasoningContent,
		refusals:     []refusal{refuseCustomTools, refuseMiddleSystem, refuseTwoAssistants},
		itemRefusals: []refusal{refuseReasoningWithoutContent},
		rawReasoning: true, forgets: refuses},
	"ollama": {fingerprint: "fp_ollama", reasoning: reasoningBare, roleEverywhere: true, wholeCalls: true, escapes: true,
		refusals:      []refusal{refuseCustomTools, refuseThinkLevel},
		itemRefusals:  []refusal{refuseThinkLevel},
		noSummaryPart: true, plainSeal: true, sameOutputIndex: true, neverIncomplete: true, hostedSpoilsNames: true, forgets: ignores},
	"lmstudio": {fingerprint: "model", reasoning: reasoningContent, reasonCount: true,
		refusals:     []refusal{refuseCustomTools, refuseDeveloper},
		rawReasoning: true, ignoresSchema: true},

	// Services.
	"mistral": {reasoning: reasoningThinking, usage: usageFinish, wholeCalls: true, callID: callIDMistral,
		finishes: map[finish]string{finishLength: "model_length"},
		refusals: []refusal{refuseExtraFields, refuseRequired, refuseLongCallIDs, refuseTwoAssistants, refuseUnevenOutputs}},
	"deepseek": {fingerprint: "fp_fake000000_prod", reasoning: reasoningContent, reasonCount: true, usage: usageFinish, prelude: preludeBlank,
		finishes: map[finish]string{finishAbort: "insufficient_system_resource"},
		refusals: []refusal{refuseCustomTools, refuseDeveloper, refuseForgottenReasoning, refuseUnevenOutputs}},
	"groq": {base: "/openai/v1", fingerprint: "fp_fake000000", reasoning: reasoningBare, usage: usageGroq, wholeCalls: true,
		refusals: []refusal{refuseCustomTools, refuseReasoningContent}},
	"xai": {fingerprint: "fp_fake000000", reasoning: reasoningContent, reasonCount: true, wholeCalls: true, nestedErrors: true,
		refusals: []refusal{refuseCustomTools}},
	"gemini": {base: "/v1beta/openai", wholeCalls: true, noIndex: true, callID: callIDGemini, signature: true, finishInLast: true,
		roleEverywhere: true, finishes: map[finish]string{finishCalls: "stop"}, escapes: true,
		refusals: []refusal{refuseCustomTools, refuseUnsigned}},
	"openrouter": {base: "/api/v1", reasoning: reasoningDetails, reasonCount: true, usage: usageRepeated, prelude: preludeComments,
		roleEverywhere: true, twiceFinished: true, finishes: map[finish]string{finishAbort: "error"},
		refusals:     []refusal{refuseCustomTools},
		nestedErrors: true, sendsDone: true},
	"kimi": {reasoning: reasoningContent, usage: usageChoice, callID: callIDKimi,
		refusals: []refusal{refuseCustomTools, refuseTemperature, refuseTwoAssistants, refuseUnevenOutputs}},
	"glm": {base: "/api/paas/v4", reasoning: reasoningContent, reasonCount: true, usage: usageFinish, wholeCalls: true,
		finishes: map[finish]string{finishLength: "model_context_window_exceeded", finishFilter: "sensitive", finishAbort: "network_error"},
		refusals: []refusal{refuseCustomTools, refuseForGLM}},

	// Old versions that are still met.
	"ollama-old": {family: "ollama", fingerprint: "fp_ollama", reasoning: reasoningBare, roleEverywhere: true, wholeCalls: true, zeroIndex: true,
		finishes: map[finish]string{finishCalls: "stop"}, escapes: true, refusals: []refusal{refuseCustomTools}},
	"gemini-old": {family: "gemini", base: "/v1beta/openai", wholeCalls: true, noIndex: true, noCallID: true, finishInLast: true,
		roleEverywhere: true, finishes: map[finish]string{finishCalls: "stop"}, escapes: true, refusals: []refusal{refuseCustomTools}},
}

func init() {
	for name, d := range dialects {
		d.name = name
		if d.family == "" {
			d.family = name
		}
	}
}

// Dialects are the names that [Options.Dialect] knows, sorted.
func Dialects() []string { return slices.Sorted(maps.Keys(dialects)) }

// route is the path behind the API's base.
func (d *dialect) route(path string) string {
	if d.base != "" {
		if rest, ok := strings.CutPrefix(path, d.base+"/"); ok {
			return "/" + rest
		}
	}
	if rest, ok := strings.CutPrefix(path, "/v1/"); ok {
		return "/" + rest
	}
	return path
}

// word is this upstream's finish_reason for f, or "" if it has none.
func (d *dialect) word(f finish) string {
	if own, ok := d.finishes[f]; ok {
		return own
	}
	if f == finishAbort {
		return ""
	}
	return string(f)
}

// mintCall makes the id of a call to name, the count-th of the conversation.
func (d *dialect) mintCall(m *mint, name string, count int) string {
	switch d.callID {
	case callIDMistral:
		return m.id("", 9)
	case callIDKimi:
		return "functions." + name + ":" + itoa(count)
	case callIDVLLM:
		return m.id("chatcmpl-tool-", 32)
	case callIDGemini:
		return m.id("function-call-", 19)
	}
	return m.id("call_", 24)
}
