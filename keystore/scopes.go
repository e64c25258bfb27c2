package keystore

import (
	"slices"
	"strings"
	"unicode"
)

// A scope says what a key may do. What begins with "endpoint:", "admin:" or "mcp:" is the gateway's and must be one
// that it knows, or a typing error would give away rights: [Keys.Generate] refuses it. "mcp" is the gateway's too. Any
// other scope is a label that is carried and not interpreted, as in the original.
const (
	ScopeAdmin     = "admin:keys"
	ScopeChat      = "endpoint:chat"
	ScopeResponses = "endpoint:responses"
	ScopeConvert   = "endpoint:convert"
	// ScopeEveryEndpoint opens every path of the upstream, also those that the gateway does not know.
	ScopeEveryEndpoint = endpointPrefix + "*"

	endpointPrefix = "endpoint:"
	adminPrefix    = "admin:"
	mcpPrefix      = "mcp:"
)

// Endpoint is a part of the API and the scope that opens it.
type Endpoint struct {
	// Scope is "endpoint:" and a name: in general the first element of the paths below /v1.
	Scope string
	// Opens says what can be reached with it, for users.
	Opens string
	// ByDefault: a key without any endpoint scope may use it. The others are reached by keys that name them: they show
	// or change what belongs to the operator's account and not to the key.
	ByDefault bool
}

// endpoints are in the order in which they are shown.
var endpoints = []Endpoint{
	{ScopeChat, "/chat/completions, and stored chat completions", true},
	{ScopeResponses, "/responses and what is below it, /conversations, /proxy", true},
	{ScopeConvert, "/convert", true},
	{"endpoint:models", "/models: the list of models", true},
	{"endpoint:embeddings", "/embeddings", true},
	{"endpoint:completions", "/completions, the legacy API", true},
	{"endpoint:moderations", "/moderations", true},
	{"endpoint:images", "/images: generations, edits, variations", true},
	{"endpoint:audio", "/audio: speech, transcriptions, translations", true},
	{"endpoint:rerank", "/rerank and /score of local servers", true},
	{"endpoint:tokenize", "/tokenize and /detokenize of local servers", true},

	{"endpoint:files", "/files: all files of the account, and their content", false},
	{"endpoint:uploads", "/uploads: files in parts", false},
	{"endpoint:batches", "/batches: requests for any model, read from files", false},
	{"endpoint:fine_tuning", "/fine_tuning: the account's jobs and their models", false},
	{"endpoint:vector_stores", "/vector_stores: the account's search indexes", false},
	{"endpoint:containers", "/containers: where the code interpreter runs, and its files", false},
	{"endpoint:evals", "/evals: evaluations and their runs", false},
	{"endpoint:videos", "/videos: generation, and the account's videos", false},
	{"endpoint:assistants", "/assistants", false},
	{"endpoint:threads", "/threads: threads, their messages and runs", false},
	{"endpoint:realtime", "/realtime: sessions, calls and client secrets", false},
	{"endpoint:skills", "/skills", false},
	{"endpoint:organization", "/organization: users, projects, keys and costs of the account", false},
	{ScopeEveryEndpoint, "every path of the upstream, also those that the gateway does not know", false},
}

// pathNames are first elements of paths whose scope has another name.
var pathNames = map[string]string{
	"conversations": ScopeResponses, "proxy": ScopeResponses,
	"score": "endpoint:rerank", "detokenize": "endpoint:tokenize",
}

// Endpoints returns the endpoint scopes and what each opens; the caller may change the list.
func Endpoints() []Endpoint { return slices.Clone(endpoints) }

// EndpointScope returns the scope that opens the paths whose first element below the API's base (/v1) is first:
// "endpoint:chat" for "chat", as in /v1/chat/completions, "endpoint:responses" for "conversations". A name that the
// gateway does not know, the empty one and one in other case included, is open to [ScopeEveryEndpoint] only.
func EndpointScope(first string) string {
	if scope, ok := pathNames[first]; ok {
		return scope
	}
	if scope := endpointPrefix + first; endpointOf(scope) != nil {
		return scope
	}
	return ScopeEveryEndpoint
}

func endpointOf(scope string) *Endpoint {
	if i := slices.IndexFunc(endpoints, func(e Endpoint) bool { return e.Scope == scope }); i >= 0 {
		return &endpoints[i]
	}
	return nil
}

// CheckEndpoint returns ErrScopeMissing if the key may not use the endpoint whose scope that is; see [EndpointScope].
//
// A key without any endpoint scope may use those that are open by default. A key with some may use just these. One that
// we do not know counts as well: its record was made by another version, or before such scopes were refused, and
// whoever wrote it wanted to bind the key.
func (r *Record) CheckEndpoint(scope string) error {
	if !strings.HasPrefix(scope, endpointPrefix) {
		return ErrScopeMissing.about("This API key may not use this path, for which there is no scope")
	}
	bound := endpointsOf(r.Scopes)
	e := endpointOf(scope)
	switch {
	case slices.Contains(bound, ScopeEveryEndpoint), slices.Contains(bound, scope):
		return nil
	case bound == nil && e != nil && e.ByDefault:
		return nil
	}
	why := "only keys that were made with it reach this path"
	switch {
	case scope == ScopeEveryEndpoint:
		why = "this path is not one that the gateway knows"
	case bound != nil:
		why = "it was made for " + listed(bound, 8) + " only"
	}
	return ErrScopeMissing.about("This API key lacks the scope %q: %s", scope, why)
}

// endpointsOf are the scopes that bind a key to endpoints.
func endpointsOf(scopes []string) []string {
	var bound []string
	for _, s := range scopes {
		if strings.HasPrefix(plain(s), endpointPrefix) {
			bound = append(bound, s)
		}
	}
	return bound
}

// CheckAdmin returns ErrScopeMissing unless the key may administer keys.
func (r *Record) CheckAdmin() error {
	if slices.Contains(r.Scopes, ScopeAdmin) {
		return nil
	}
	return ErrScopeMissing.about("This API key lacks the scope %q", ScopeAdmin)
}

// checkScope refuses a scope that looks like one of the gateway's and is none. Whether there is a server of an mcp:
// scope is not asked: servers come and go, and a key with a scope for one that is not there gets no tool.
func checkScope(scope string) error {
	word, _, _ := strings.Cut(plain(scope), ":")
	switch {
	case scope == ScopeAdmin, endpointOf(scope) != nil, isToolScope(scope):
		return nil
	case word == "endpoint" || isAlmost(word, "endpoint"):
		return unknownScope(scope, endpointPrefix, endpointScopes())
	case strings.HasPrefix(plain(scope), adminPrefix):
		return unknownScope(scope, adminPrefix, []string{ScopeAdmin})
	case strings.HasPrefix(plain(scope), mcpPrefix):
		return unknownScope(scope, mcpPrefix, []string{"mcp", "mcp:read", "mcp:<server>", "mcp:<server>/<tool>"})
	}
	return nil
}

// isAlmost reports whether a word was meant to be another: "endpoints", "enpoint", "end_point". Only the one word whose
// scopes take rights away is looked at in this manner: a label instead of admin: or mcp: opens nothing.
func isAlmost(word, meant string) bool {
	return word != "" && word[0] == meant[0] && distance(word, meant) <= 2
}

// isToolScope reports whether scope is mcp:read, mcp:<server> or mcp:<server>/<pattern>, of printable characters.
func isToolScope(scope string) bool {
	rest, ok := strings.CutPrefix(scope, mcpPrefix)
	if !ok || strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return false
	}
	server, pattern, some := strings.Cut(rest, "/")
	return server != "" && !strings.Contains(server, "*") && (!some || pattern != "")
}

func endpointScopes() []string {
	scopes := make([]string, len(endpoints))
	for i, e := range endpoints {
		scopes[i] = e.Scope
	}
	return scopes
}

// unknownScope is a refusal that lists the valid scopes and, where one is near, names it.
func unknownScope(scope, prefix string, valid []string) error {
	nearest, least := "", 4
	for _, v := range valid {
		if d := distance(plain(scope), v); d < least {
			nearest, least = v, d
		}
	}
	hint := "."
	if nearest != "" {
		hint = "; did you mean " + nearest + "?"
	}
	return invalid("scopes", "%q is not a scope%s Those that begin with %s are the gateway's: %s",
		scope, hint, prefix, strings.Join(valid, ", "))
}

// plain is how scopes are compared when it is asked what was meant.
func plain(scope string) string { return strings.ToLower(strings.TrimSpace(scope)) }

// listed joins at most that many scopes.
func listed(scopes []string, most int) string {
	if len(scopes) > most {
		return strings.Join(scopes[:most], ", ") + ", …"
	}
	return strings.Join(scopes, ", ")
}

// distance counts the characters to insert, remove or replace between two words (Levenshtein, 1965), both of at most
// maxText bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
