package keystore_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/labiium/chat2response/keystore"
)

// A5: a typing error in a scope is refused, with the scopes that there are; it does not make a key with every right.
func TestA5UnknownScopesAreRefused(t *testing.T) {
	k, _ := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy()})
	for scope, says := range map[string]string{
		"endpoint:response":      "did you mean endpoint:responses?",
		"endpoint:embedding":     "did you mean endpoint:embeddings?",
		"endpoint:finetuning":    "did you mean endpoint:fine_tuning?",
		"Endpoint:chat":          "did you mean endpoint:chat?",
		" endpoint:chat":         "did you mean endpoint:chat?",
		"endpoints:chat":         "did you mean endpoint:chat?",
		"endpiont:chat":          "did you mean endpoint:chat?",
		"end_point:chat":         "did you mean endpoint:chat?",
		"endpoint:":              "endpoint:vector_stores",
		"endpoint":               "endpoint:organization",
		"endpoint:nothing_of_it": "endpoint:chat, endpoint:responses, endpoint:convert",
		"admin:key":              "did you mean admin:keys?",
		"admin:*":                "admin:keys",
		"ADMIN:keys":             "did you mean admin:keys?",
		"mcp:":                   "mcp:read",
		"mcp:*":                  "mcp:<server>/<tool>",
		"mcp:kit/":               "mcp:<server>/<tool>",
		"mcp:/echo":              "mcp:<server>/<tool>",
		"mcp:two words":          "mcp:<server>/<tool>",
		"MCP:read":               "did you mean mcp:read?",
	} {
		_, err := k.Generate(ctx, keystore.GenerateRequest{Scopes: []string{"label", scope}}, me)
		if !errors.Is(err, keystore.ErrInvalidValue) {
			t.Errorf("%q: %v", scope, err)
			continue
		}
		e := err.(*keystore.Error)
		if e.Param != "scopes" || !strings.Contains(e.Message, says) || !strings.Contains(e.Message, `"`+scope+`"`) {
			t.Errorf("%q: param %q, %s", scope, e.Param, e.Message)
		}
	}
	good := []string{
		"team-a", "a:b", "midpoint:x", "admin", "administrators", "mcp", "mcp:read", "mcp:kit", "mcp:kit/w*", keystore.ScopeAdmin,
	}
	for _, e := range keystore.Endpoints() {
		good = append(good, e.Scope)
	}
	mint(t, k, keystore.GenerateRequest{Scopes: good})
}

// A5, H11: which endpoints a key opens.
func TestA5H11Endpoints(t *testing.T) {
	closed := []string{
		"endpoint:files", "endpoint:uploads", "endpoint:batches", "endpoint:fine_tuning", "endpoint:vector_stores", "endpoint:containers",
		"endpoint:evals", "endpoint:videos", "endpoint:assistants", "endpoint:threads", "endpoint:realtime", "endpoint:skills",
		"endpoint:organization", keystore.ScopeEveryEndpoint,
	}
	open := []string{
		keystore.ScopeChat, keystore.ScopeResponses, keystore.ScopeConvert, "endpoint:models", "endpoint:embeddings", "endpoint:completions",
		"endpoint:moderations", "endpoint:images", "endpoint:audio", "endpoint:rerank", "endpoint:tokenize",
	}
	all := slices.Concat(open, closed)
	var table []string
	for _, e := range keystore.Endpoints() {
		table = append(table, e.Scope)
		if e.Opens == "" || e.ByDefault != slices.Contains(open, e.Scope) {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(table, all) {
		t.Fatalf("the table has %v", table)
	}
	for _, test := range []struct{ scopes, opens []string }{
		{nil, open},
		{[]string{"team-a", "mcp:read", keystore.ScopeAdmin}, open},
		{[]string{keystore.ScopeChat}, []string{keystore.ScopeChat}},
		{[]string{"x", "endpoint:files", keystore.ScopeResponses}, []string{"endpoint:files", keystore.ScopeResponses}},
		{[]string{keystore.ScopeEveryEndpoint}, all},
		// Records from before: a label that looks like a scope opens nothing.
		{[]string{"endpoint:response"}, nil},
		{[]string{"Endpoint:files"}, nil},
		{[]string{" endpoint:chat"}, nil},
		{[]string{"endpoint:other", keystore.ScopeChat}, []string{keystore.ScopeChat}},
	} {
		r := &keystore.Record{Scopes: test.scopes}
		for _, scope := range all {
			err := r.CheckEndpoint(scope)
			if slices.Contains(test.opens, scope) {
				want(t, err, nil)
				continue
			}
			want(t, err, keystore.ErrScopeMissing)
			if !strings.Contains(err.Error(), `"`+scope+`"`) {
				t.Errorf("scopes %q: %v does not name %s", test.scopes, err, scope)
			}
		}
		// Never without a scope, nor by a label.
		for _, scope := range []string{"", "team-a", "x", "mcp:read"} {
			want(t, r.CheckEndpoint(scope), keystore.ErrScopeMissing)
		}
	}
}

func TestH11EndpointScope(t *testing.T) {
	for first, scope := range map[string]string{
		"chat": keystore.ScopeChat, "responses": keystore.ScopeResponses, "convert": keystore.ScopeConvert,
		"conversations": keystore.ScopeResponses, "proxy": keystore.ScopeResponses,
		"files": "endpoint:files", "fine_tuning": "endpoint:fine_tuning", "detokenize": "endpoint:tokenize",
		"models": "endpoint:models", "organization": "endpoint:organization",
		"": "endpoint:*", "*": "endpoint:*", "Files": "endpoint:*", "Chat": "endpoint:*", "chatkit": "endpoint:*",
		"files ": "endpoint:*", "chat/completions": "endpoint:*",
	} {
		if got := keystore.EndpointScope(first); got != scope {
			t.Errorf("%q: %s; want %s", first, got, scope)
		}
	}
}

// A key from before with a scope that is refused now can be rotated: its successor is bound as it is.
func TestA5RotationKeepsScopes(t *testing.T) {
	k, s := inMemory(t, keystore.Config{Policy: keystore.DefaultPolicy()})
	put(t, s, vectorID, strings.Replace(vectorRecord, `"scopes":["a","b"]`, `"scopes":["endpoint:response"]`, 1))
	next, err := k.Rotate(ctx, keystore.RotateRequest{ID: vectorID}, me)
	want(t, err, nil)
	key, err := k.Verify(ctx, *next.Token)
	want(t, err, nil)
	want(t, key.CheckEndpoint(keystore.ScopeChat), keystore.ErrScopeMissing)
}
