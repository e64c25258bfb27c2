package convert

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// unwrapAll feeds the pieces and returns what came out.
func unwrapAll(t *testing.T, pieces ...string) string {
	t.Helper()
	var u unwrapper
	var out, kept strings.Builder
	for _, p := range pieces {
		piece, inside := u.feed(p)
		out.WriteString(piece)
		if !inside {
			kept.WriteString(p)
		}
		if !utf8.ValidString(piece) {
			t.Errorf("%q gives %q, half a character", pieces, piece)
		}
	}
	out.WriteString(u.rest(kept.String()))
	return out.String()
}

var unwrapCases = []struct{ name, in, want string }{
	{"plain", `{"input":"hello"}`, "hello"},
	{"empty", `{"input":""}`, ""},
	{"white space between the tokens", " {\n\t\"input\" \r: \"a b\" } ", "a b"},
	{"all simple escapes", `{"input":"\"\\\/\b\f\n\r\t"}`, "\"\\/\b\f\n\r\t"},
	{"unicode", `{"input":"é世界🚀"}`, "é世界🚀"},
	{"escaped unicode", `{"input":"\u00e9\u4E16\u0000\u2028"}`, "é世\x00\u2028"},
	{"surrogate pairs", `{"input":"\ud83d\ude80x\uD83D\uDE80"}`, "🚀x🚀"},
	{"a lone high surrogate", `{"input":"a\ud83db"}`, "a\ufffdb"},
	{"a lone high surrogate at the end", `{"input":"a\ud83d"}`, "a\ufffd"},
	{"a lone high surrogate before an escape", `{"input":"a\ud83d\nb"}`, "a\ufffd\nb"},
	{"a lone low surrogate", `{"input":"a\ude80b"}`, "a\ufffdb"},
	{"two high surrogates", `{"input":"\ud83d\ud83d\ude80"}`, "\ufffd🚀"},
	{"JSON inside", `{"input":"{\"input\":\"x\"}"}`, `{"input":"x"}`},
	{"another member behind", `{"input":"a","x":"b"}`, "a"},
	{"another member before", `{"x":"b","input":"a"}`, "a"},
	{"an escaped name", `{"\u0069nput":"a"}`, "a"},
	{"not a string", `{"input":7}`, `{"input":7}`},
	{"null", `{"input":null}`, `{"input":null}`},
	{"another object", `{"inputs":"a"}`, `{"inputs":"a"}`},
	{"a list", `["a"]`, `["a"]`},
	{"the bare text", "*** Begin Patch\n", "*** Begin Patch\n"},
	{"text that begins alike", `{"in`, `{"in`},
	{"white space in the name", `{"in put":"a"}`, `{"in put":"a"}`},
	{"nothing", "", ""},
	{"cut in the text", `{"input":"abc`, "abc"},
	{"cut in an escape", `{"input":"abc\`, "abc"},
	{"cut in a long escape", `{"input":"abc\u00e`, "abc"},
	{"cut in a pair", `{"input":"abc\ud83d\u`, "abc"},
	{"an escape that is none", `{"input":"a\qb"}`, "aqb"},
	{"a long escape that is none", `{"input":"a\u12g4b"}`, `a\u12g4b`},
	{"much white space", "{" + strings.Repeat(" ", 300) + `"input":"a"}`, "a"},
}

func TestUnwrap(t *testing.T) {
	for _, c := range unwrapCases {
		t.Run(c.name, func(t *testing.T) {
			everySplit(t, c.in, c.want)
		})
	}
}

// everySplit feeds a text whole, byte by byte, and divided at every point and
// every two.
func everySplit(t *testing.T, in, want string) {
	t.Helper()
	check := func(pieces ...string) {
		t.Helper()
		if got := unwrapAll(t, pieces...); got != want {
			t.Fatalf("%q gives %q, want %q", pieces, got, want)
		}
	}
	check(in)
	check(strings.Split(in, "")...)
	var bytewise []string
	for i := range len(in) {
		bytewise = append(bytewise, in[i:i+1])
	}
	check(bytewise...)
	for i := 0; i <= len(in); i++ {
		check(in[:i], in[i:])
		if len(in) > 100 {
			continue
		}
		for j := i; j <= len(in); j++ {
			check(in[:i], in[i:j], in[j:])
		}
	}
}

// TestUnwrapRandom: what was wrapped, by any encoder, is unwrapped.
func TestUnwrapRandom(t *testing.T) {
	alphabet := []rune("ab\"\\/\n\t{}: éÿ世🚀\u0000\u001f\u2028\ufffd")
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		text := make([]rune, r.IntN(12))
		for i := range text {
			text[i] = alphabet[r.IntN(len(alphabet))]
		}
		want := string(text)
		everySplit(t, wrapInput(want), want)
		other, err := json.Marshal(map[string]string{"input": want}) // escapes more
		if err != nil {
			t.Fatal(err)
		}
		everySplit(t, string(other), want)
		var ascii strings.Builder
		for _, u := range text {
			if u > 0xffff {
				ascii.WriteString(`\ud83d\ude80`)
			} else {
				ascii.WriteString(`\u` + hex4Of(u))
			}
		}
		everySplit(t, `{"input":"`+ascii.String()+`"}`, want)
	}
}

func hex4Of(r rune) string {
	const digits = "0123456789aBcDeF"
	return string([]byte{digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}
