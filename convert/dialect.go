package convert

import (
	"crypto/sha256"
	"math/big"
	"slices"
	"strings"
)

// Dialect is what is particular about one kind of upstream. The table
// [Dialects] names those that are known; all fields describe how a request is
// written, since the readers of answers take every dialect at once.
type Dialect struct {
	Name string

	// MaxTokens is the member that caps the answer: max_tokens, or max_completion_tokens.
	MaxTokens string
	// Developer: the role developer is understood; else it becomes system.
	Developer bool
	// ManySystem: several leading system messages are understood; else they are
	// merged into one.
	ManySystem bool
	// OneSystem: the chat template takes a system message only at the start; later
	// ones become user messages.
	OneSystem bool
	// Custom: custom tools are understood; else they become functions with one
	// string, "input".
	Custom bool
	// AllowedTools: tool_choice allowed_tools is understood; else the list of
	// tools is narrowed.
	AllowedTools bool
	// Required is the word for "call some tool", empty where there is none.
	Required string
	// AutoOnly: tool_choice can only be auto: for none no tools are sent, for a
	// certain tool only that one.
	AutoOnly bool
	// Strict: a function's strict is understood.
	Strict bool
	// StrictDefault: the upstream is OpenAI's, whose Responses API is strict with
	// functions that do not say otherwise, where their schema allows it.
	StrictDefault bool
	// JoinText: several text parts are joined to one string.
	JoinText bool
	// NullContent: an assistant message that only calls tools has content null;
	// NoContent: it has none; else it is "".
	NullContent, NoContent bool
	// ToolName: tool messages carry the function's name.
	ToolName bool
	// Refusals: the refusal of an earlier answer has its own member; else it is text.
	Refusals bool
	// Files: file parts with data are understood; FileIDs: those with an id too.
	Files, FileIDs bool
	// Original: the image detail "original" is understood; else it becomes high.
	Original bool
	// NoUsage: stream_options is refused; usage comes of itself.
	NoUsage bool
	// NoSampling: temperature, top_p and the penalties are refused.
	NoSampling bool
	// NoPenalties: the penalties are refused. NoLogprobs: logprobs are.
	NoPenalties, NoLogprobs bool
	// Signatures: a tool call carries a thought signature that must come back.
	Signatures bool
	// Params are the optional members of OpenAI's own that are understood.
	Params []string
	// Extensions are the members outside OpenAI's APIs that are understood, of
	// those that clients of open models send; nil: all.
	Extensions []string
	// Seed is the name of seed, where it is another.
	Seed string
	// CallID makes a tool call id of a form that is accepted; nil: any up to 64 characters.
	CallID func(string) string

	// Reasoning is the member of an assistant message in which earlier reasoning
	// goes back: reasoning_content, reasoning, or none.
	Reasoning string
	// ReasoningAlways: it must be there, if empty, in every assistant message, and
	// of all turns.
	ReasoningAlways bool
	// Efforts are the values of reasoning_effort, nil for all; others become the
	// nearest below.
	Efforts []string

	// As a Responses upstream:

	// FunctionsOnly: tools other than functions are skipped; custom tools become
	// functions with one string, "input".
	FunctionsOnly bool
	// ReasoningItem is the form of earlier reasoning: encrypted, content, summary, or none.
	ReasoningItem string
	// MinTokens is the smallest max_output_tokens that is accepted.
	MinTokens int64
	// Audio: input_audio parts are understood.
	Audio bool
	// Moderation: moderation is understood.
	Moderation bool
	// Extras are the members outside OpenAI's Responses API that are understood.
	Extras []string
}

// openAIParams are the optional members of a Chat request that OpenAI's own
// servers know and that mean nothing to others.
var openAIParams = []string{
	"metadata", "moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
	"safety_identifier", "service_tier", "user", "verbosity", "web_search_options",
}

// generic is an upstream of which nothing is known: everything that some server
// refuses is left out, if it can be.
var generic = Dialect{
	Name: "generic", MaxTokens: "max_tokens", Required: "required", NullContent: true, Strict: true, Files: true, JoinText: true,
	Params:        []string{"user"},
	ReasoningItem: "encrypted", MinTokens: 16, Moderation: true, // as a Responses upstream it is likely OpenAI's
}

// openModel is a server of open models, which renders the messages through the
// model's chat template.
var openModel = Dialect{
	MaxTokens: "max_tokens", OneSystem: true, Required: "required", Strict: true, JoinText: true,
	Reasoning: "reasoning_content", ReasoningItem: "content", FunctionsOnly: true,
}

// Dialects are the upstreams whose habits are known, by name.
var Dialects = dialects()

func dialects() map[string]*Dialect {
	variant := func(name string, base Dialect, change func(*Dialect)) *Dialect {
		base.Name = name
		base.Moderation = name == "generic" || name == "openai"
		if change != nil {
			change(&base)
		}
		return &base
	}
	openai := Dialect{
		MaxTokens: "max_completion_tokens", Developer: true, ManySystem: true, Custom: true, AllowedTools: true, Required: "required",
		Strict: true, StrictDefault: true, NullContent: true, Refusals: true, Files: true, FileIDs: true, Original: true, Params: openAIParams,
		ReasoningItem: "encrypted", MinTokens: 16,
	}
	list := []*Dialect{
		variant("generic", generic, nil),
		variant("openai", openai, nil),
		variant("azure", openai, func(d *Dialect) {
			d.Params = slices.DeleteFunc(slices.Clone(openAIParams), func(p string) bool {
				return p == "moderation" || p == "service_tier" || p == "web_search_options"
			})
		}),
		// vLLM renamed reasoning_content to reasoning; it reads both.
		variant("vllm", openModel, func(d *Dialect) {
			d.Reasoning, d.JoinText = "reasoning", false
			d.Efforts = []string{"none", "low", "medium", "high"}
			// https://docs.vllm.ai/en/latest/api/vllm/entrypoints/openai/responses/protocol/
			d.Extras = []string{
				"seed", "logit_bias", "top_k", "repetition_penalty", "ignore_eos", "skip_special_tokens", "include_stop_str_in_output",
				"chat_template_kwargs", "structured_outputs", "include_reasoning", "mm_processor_kwargs", "media_io_kwargs",
				"priority", "cache_salt", "vllm_xargs",
			}
		}),
		variant("sglang", openModel, nil),
		variant("llama.cpp", openModel, nil),
		variant("ollama", openModel, func(d *Dialect) {
			d.Reasoning, d.JoinText = "reasoning", false
			d.ReasoningItem = "summary"
			d.Efforts = []string{"none", "low", "medium", "high"}
		}),
		variant("lmstudio", openModel, nil),
		variant("deepseek", openModel, func(d *Dialect) {
			d.OneSystem, d.ReasoningAlways = false, true
		}),
		variant("groq", generic, func(d *Dialect) {
			d.MaxTokens = "max_completion_tokens"
			d.Efforts = []string{"none", "low", "medium", "high"}
			d.Params = []string{"user", "service_tier"}
		}),
		variant("xai", generic, func(d *Dialect) {
			d.Efforts = []string{"low", "high"}
		}),
		variant("gemini", generic, func(d *Dialect) {
			d.Signatures, d.JoinText = true, false
			d.Params = nil
			d.Efforts = []string{"none", "minimal", "low", "medium", "high"}
		}),
		variant("openrouter", generic, func(d *Dialect) {
			d.Reasoning, d.JoinText = "reasoning", false
			d.Params = []string{"user", "metadata", "verbosity", "prompt_cache_key"}
		}),
		// Mistral answers 422 to members it does not know.
		variant("mistral", generic, func(d *Dialect) {
			d.Required, d.NullContent, d.NoContent, d.ToolName = "any", false, true, true
			d.Params = []string{"metadata", "prompt_cache_key"}
			d.Extensions = []string{"random_seed", "safe_prompt", "prompt_mode", "guardrails", "prediction"}
			d.Seed, d.NoLogprobs = "random_seed", true
			d.CallID = nineAlphanumeric
			d.Efforts = []string{"none", "high"}
			d.NoUsage = true
		}),
		variant("kimi", openModel, func(d *Dialect) {
			d.OneSystem, d.NoSampling = false, true
		}),
		variant("glm", openModel, func(d *Dialect) {
			d.OneSystem, d.Strict, d.NoUsage, d.NoPenalties, d.AutoOnly, d.Required = false, false, true, true, true, ""
		}),
	}
	byName := map[string]*Dialect{}
	for _, d := range list {
		byName[d.Name] = d
	}
	return byName
}

// DialectNames are the names in [Dialects], sorted.
func DialectNames() []string {
	names := make([]string, 0, len(Dialects))
	for name := range Dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// knows tells whether an optional member is understood.
func (d *Dialect) knows(param string) bool { return slices.Contains(d.Params, param) }

// extends tells whether a member that the Responses API does not have is passed
// on. Of these OpenAI's Chat knows only its own.
func (d *Dialect) extends(param string) bool {
	switch {
	case d.StrictDefault:
		return param == "seed" || param == "logit_bias" || param == "logprobs"
	case d.Extensions != nil:
		return slices.Contains(d.Extensions, param)
	}
	return chatExtensions[param]
}

// understands tells whether a member outside the Responses API is passed on to
// this upstream of it.
func (d *Dialect) understands(param string) bool { return slices.Contains(d.Extras, param) }

// callID is the id of a tool call as this upstream takes it.
func (d *Dialect) callID(id string) string {
	if d.CallID == nil {
		return id
	}
	return d.CallID(id)
}

// effortOrder are all values of reasoning_effort, from least to most.
var effortOrder = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}

// effort is the value of reasoning_effort that this upstream knows and that is
// nearest to e: the highest not above it, else the lowest.
func (d *Dialect) effort(e string) string {
	if d.Efforts == nil || slices.Contains(d.Efforts, e) {
		return e
	}
	at := slices.Index(effortOrder, e)
	if at < 0 {
		return "" // a word of no known server
	}
	best := ""
	for _, known := range d.Efforts {
		if known != "none" && (best == "" || slices.Index(effortOrder, known) <= at) {
			best = known
		}
	}
	return best
}

// nineAlphanumeric makes the only form of call id that Mistral takes: ids of
// that form stay, others are replaced by a hash, the same each time.
func nineAlphanumeric(id string) string {
	if len(id) == 9 && strings.IndexFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	text := new(big.Int).SetBytes(sum[:]).Text(62)
	return text[len(text)-9:]
}
