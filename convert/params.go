package convert

import (
	"strconv"
	"strings"
)

// element is the path of an element of a list, such as messages[2].
func element(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// renamed are the members whose names differ, by the Responses API's name, for
// error messages of an upstream to name what the client sent.
var renamed = []struct{ responses, chat string }{
	{"text.format.schema", "response_format.json_schema.schema"},
	{"text.format", "response_format"},
	{"text.verbosity", "verbosity"},
	{"max_output_tokens", "max_completion_tokens"},
	{"max_output_tokens", "max_tokens"},
	{"reasoning.effort", "reasoning_effort"},
	{"input", "messages"},
}

// Param is the client's name for a member of the upstream's request that an
// error of the upstream names. Indices into the input are not the client's, and
// are left out.
func (r *Request) Param(param string, upstream API) string {
	if param == "" || upstream == r.In {
		return param
	}
	for _, n := range renamed {
		from, to := n.responses, n.chat
		if upstream == Chat {
			from, to = n.chat, n.responses
		}
		rest, ok := strings.CutPrefix(param, from)
		switch {
		case !ok:
		case rest == "":
			return to
		case rest[0] == '.' || rest[0] == '[':
			if to == "messages" || to == "input" {
				return to
			}
			return to + rest
		}
	}
	return param
}
