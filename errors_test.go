package chat2response

import "testing"

// TestRedact: keys go from a message, and ids stay whole.
func TestRedact(t *testing.T) {
	for message, want := range map[string]string{
		"Incorrect API key provided: sk-proj-ab****cdef. You can": "Incorrect API key provided: [redacted] You can",
		`"sk-0123456789"`:                               `"[redacted]"`,
		"sk_0123456789abcdef.0123456789abcdef":          "[redacted]",
		"got Authorization: Bearer abcdefgh1234":        "got Authorization: [redacted]",
		"dial http://user:word@host:80/v1":              "dial http:[redacted]host:80/v1",
		"key=xai-0123456789, key-0123456789":            "key=[redacted], [redacted]",
		"'resp_GnUgSvl-SK-Q2KHlXxBqtnocyQ' not found.":  "'resp_GnUgSvl-SK-Q2KHlXxBqtnocyQ' not found.",
		"'resp_sk-Q2KHlXxBqtnocyQ' or prompt_cache_key": "'resp_sk-Q2KHlXxBqtnocyQ' or prompt_cache_key",
	} {
		if got := redact(message); got != want {
			t.Errorf("%q became %q, want %q", message, got, want)
		}
	}
}
