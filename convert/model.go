package convert

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ModelOf reads only the model of a request body, of any API that has one. The
// body must be valid JSON with unique names, and none that a server which
// ignores case would take for model: what is decided here by the model must hold
// at the upstream. A body without a model gives "".
func ModelOf(body []byte) (string, error) {
	_, _, model, err := findModel(body)
	return model, err
}

// SetModel replaces the model in a request body and leaves every other byte as
// it is. A body without a model stays as it is.
func SetModel(body []byte, model string) ([]byte, error) {
	from, to, _, err := findModel(body)
	if err != nil || to == 0 {
		return body, err
	}
	out := make([]byte, 0, len(body)+len(model))
	out = appendQuoted(append(out, body[:from]...), model)
	return append(out, body[to:]...), nil
}

func findModel(body []byte) (from, to int64, model string, err error) {
	if err := checkSize(body); err != nil {
		return 0, 0, "", err
	}
	fail := func(err error) (int64, int64, string, error) {
		var syntax *jsontext.SyntacticError
		if errors.As(err, &syntax) {
			return 0, 0, "", syntaxError(syntax)
		}
		return 0, 0, "", invalid("invalid_json", "", "The body is empty or ends too early; it must be a JSON object.")
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	tok, err := dec.ReadToken()
	if err != nil {
		return fail(err)
	}
	if tok.Kind() != '{' {
		return 0, 0, "", invalid("invalid_type", "", "The body must be a JSON object.")
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return fail(err)
		}
		name := tok.String()
		value, err := dec.ReadValue()
		if err != nil {
			return fail(err)
		}
		switch {
		case name == "model":
			if value.Kind() != '"' {
				return 0, 0, "", invalid("invalid_type", "model", "Invalid type for 'model': expected a string.")
			}
			to = dec.InputOffset()
			from = to - int64(len(value))
			text, err := jsontext.AppendUnquote(nil, value)
			if err != nil {
				return fail(err)
			}
			model = string(text)
		case len(name) == 5 && strings.EqualFold(name, "model"):
			return 0, 0, "", invalid("unknown_parameter", name, "Unknown parameter: '%s'. Names are case-sensitive: did you mean 'model'?", name)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return fail(err)
	}
	end := dec.InputOffset()
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return 0, 0, "", invalid("invalid_json", "", "There is something behind the JSON body, at byte %d. Send one JSON object and nothing behind it.", end)
	}
	return from, to, model, nil
}
