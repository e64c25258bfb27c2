package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// signs are what speaks for each dialect.
type signs map[string]map[string]int // dialect, reason, weight

func (s signs) add(dialect string, weight int, format string, args ...any) {
	if s[dialect] == nil {
		s[dialect] = map[string]int{}
	}
	s[dialect][fmt.Sprintf(format, args...)] = weight
}

// verdict is the dialect for which most speaks, and what does. Without any sign it
// is generic.
func (s signs) verdict() (dialect string, why []string) {
	best := 0
	for _, name := range slices.Sorted(maps.Keys(s)) {
		sum := 0
		for _, weight := range s[name] {
			sum += weight
		}
		if sum > best {
			dialect, best = name, sum
		}
	}
	if dialect == "" {
		return "generic", []string{"nothing that only one kind of server does was seen"}
	}
	why = slices.SortedFunc(maps.Keys(s[dialect]), func(a, b string) int {
		return cmp.Or(cmp.Compare(s[dialect][b], s[dialect][a]), cmp.Compare(a, b))
	})
	return dialect, why
}

// hosts are the ends of services' host names.
var hosts = map[string]string{
	"api.openai.com": "openai", ".openai.azure.com": "azure", ".services.ai.azure.com": "azure", ".cognitiveservices.azure.com": "azure",
	"api.mistral.ai": "mistral", "api.deepseek.com": "deepseek", "api.groq.com": "groq", "generativelanguage.googleapis.com": "gemini",
	"openrouter.ai": "openrouter", "api.x.ai": "xai", "api.moonshot.ai": "kimi", "api.moonshot.cn": "kimi", "api.z.ai": "glm", "open.bigmodel.cn": "glm",
}

func (s signs) host(name string) {
	for end, dialect := range hosts {
		if name == end || strings.HasSuffix(name, "."+strings.TrimPrefix(end, ".")) {
			s.add(dialect, 20, "its name is %s", name)
		}
	}
}

// owners are values of owned_by in lists of models.
var owners = map[string]string{
	"vllm": "vllm", "library": "ollama", "llamacpp": "llama.cpp", "sglang": "sglang", "organization_owner": "lmstudio",
	"openai": "openai", "openai-internal": "openai", "system": "openai", "mistralai": "mistral", "deepseek": "deepseek",
	"xai": "xai", "moonshot": "kimi", "google": "gemini", "z-ai": "glm",
}

func (s signs) owner(name string) {
	if dialect := owners[strings.ToLower(name)]; dialect != "" {
		s.add(dialect, 2, "its models are owned by %q", name)
	}
}

// native is a path that only one kind of server has, and a member of its answer.
type native struct{ path, member, dialect string }

var natives = []native{
	{"/api/version", "version", "ollama"},
	{"/props", "default_generation_settings", "llama.cpp"},
	{"/version", "version", "vllm"},
	{"/get_model_info", "model_path", "sglang"},
	{"/api/v0/models", "data", "lmstudio"},
}

func (s signs) native(n native, body []byte) {
	if members(body)[n.member] != nil {
		s.add(n.dialect, 4, "it answers GET %s", n.path)
	}
}

func (s signs) header(h http.Header) {
	for name, dialect := range map[string]string{"Openai-Processing-Ms": "openai", "X-Groq-Region": "groq", "X-Ms-Region": "azure", "Apim-Request-Id": "azure"} {
		if h.Get(name) != "" {
			s.add(dialect, 4, "it sends the header %s", name)
		}
	}
	if strings.HasPrefix(h.Get("Server"), "llama.cpp") {
		s.add("llama.cpp", 4, "it sends the header Server: llama.cpp")
	}
}

// unusual are members of a Chat answer that only some servers send.
var unusual = map[string]map[string]string{
	"": {
		"kv_transfer_params": "vllm", "prompt_logprobs": "vllm", "timings": "llama.cpp", "stats": "lmstudio", "x_groq": "groq",
		"provider": "openrouter", "prompt_filter_results": "azure",
	},
	"choices":       {"matched_stop": "sglang", "stop_reason": "vllm", "content_filter_results": "azure", "native_finish_reason": "openrouter"},
	"usage":         {"prompt_cache_hit_tokens": "deepseek", "num_sources_used": "xai"},
	"message":       {"reasoning_details": "openrouter"},
	"extra_content": {"google": "gemini"},
}

var (
	llamaBuild = regexp.MustCompile(`^b[0-9]+-`)
	openAIFP   = regexp.MustCompile(`^fp_`)
	callIDs    = map[string]*regexp.Regexp{
		"vllm": regexp.MustCompile(`^chatcmpl-tool-`), "kimi": regexp.MustCompile(`^functions\.`),
		"gemini": regexp.MustCompile(`^function-call-`), "mistral": regexp.MustCompile(`^[0-9A-Za-z]{9}$`),
	}
)

// answer looks at a Chat answer.
func (s signs) answer(body []byte, model string) {
	top := members(body)
	if top == nil {
		return
	}
	s.members("", top)
	var a struct {
		Fingerprint string         `json:"system_fingerprint"`
		Tier        jsontext.Value `json:"service_tier"`
		Usage       jsontext.Value `json:"usage"`
		Choices     []struct {
			Message struct {
				ToolCalls []struct {
					ID    string         `json:"id"`
					Extra jsontext.Value `json:"extra_content"`
				} `json:"tool_calls"`
			} `json:"message"`
		} `json:"choices"`
	}
	if json.Unmarshal(body, &a) != nil {
		return
	}
	switch fp := a.Fingerprint; {
	case fp == "fp_ollama":
		s.add("ollama", 4, "its fingerprint is fp_ollama")
	case llamaBuild.MatchString(fp):
		s.add("llama.cpp", 4, "its fingerprint is a build of llama.cpp, %s", fp)
	case fp != "" && fp == model:
		s.add("lmstudio", 2, "its fingerprint is the model's name")
	case openAIFP.MatchString(fp) && len(a.Tier) > 0:
		s.add("openai", 1, "its answers have a fingerprint and a service tier")
	}
	s.members("usage", members(a.Usage))
	var raw struct {
		Choices []jsontext.Value `json:"choices"`
	}
	if json.Unmarshal(body, &raw) == nil && len(raw.Choices) > 0 {
		choice := members(raw.Choices[0])
		s.members("choices", choice)
		s.members("message", members(choice["message"]))
	}
	for _, c := range a.Choices {
		for _, call := range c.Message.ToolCalls {
			s.members("extra_content", members(call.Extra))
			for dialect, form := range callIDs {
				if form.MatchString(call.ID) {
					s.add(dialect, 2, "its ids of tool calls look so: %s", call.ID[:min(len(call.ID), 20)])
				}
			}
		}
	}
}

func (s signs) members(of string, has map[string]jsontext.Value) {
	for name, dialect := range unusual[of] {
		if _, ok := has[name]; ok {
			s.add(dialect, 3, "its answers have %s", name)
		}
	}
}

// members are those of a JSON object; nil if it is none.
func members(body []byte) map[string]jsontext.Value {
	var m map[string]jsontext.Value
	if json.Unmarshal(body, &m, jsontext.AllowDuplicateNames(true)) != nil {
		return nil
	}
	return m
}
