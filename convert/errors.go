package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/labiium/chat2response/convert/internal/plain"
	"github.com/labiium/chat2response/convert/internal/union"
)

// Error is an error of either API: what OpenAI's servers answer with, and what
// this package returns for a request that cannot be translated.
// https://platform.openai.com/docs/guides/error-codes
type Error struct {
	// Status is the HTTP status, 400 to 599.
	Status int
	// Type is the class, such as invalid_request_error.
	Type string
	// Code and Param are null on the wire where they are empty here. Param is the
	// path of the member at fault, such as input[2].content.
	Code    string
	Param   string
	Message string
}

func (e *Error) Error() string { return e.Message }

// Append appends the error object, the value of the member "error".
func (e *Error) Append(b []byte) []byte {
	b = appendQuoted(append(b, `{"message":`...), e.Message)
	b = appendQuoted(append(b, `,"type":`...), e.Type)
	b = appendNullable(append(b, `,"param":`...), e.Param)
	b = appendNullable(append(b, `,"code":`...), e.Code)
	return append(b, '}')
}

// Body is the body of an HTTP answer.
func (e *Error) Body() []byte {
	return append(e.Append([]byte(`{"error":`)), '}')
}

func appendQuoted(b []byte, s string) []byte { return plain.Quote(b, s) }

func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendQuoted(b, s)
}

func invalid(code, param, format string, args ...any) *Error {
	return &Error{Status: 400, Type: "invalid_request_error", Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

func missing(param string) *Error {
	return invalid("missing_required_parameter", param, "Missing required parameter: '%s'.", param)
}

func unsupported(param, format string, args ...any) *Error {
	return invalid("unsupported_parameter", param, format, args...)
}

// unmarshal decodes a request body, strictly: unique, exactly cased names, valid
// UTF-8, nothing behind the value.
func unmarshal(body []byte, v any) error {
	if err := checkSize(body); err != nil {
		return err
	}
	err := json.Unmarshal(body, v)
	if err == nil {
		return nil
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return syntaxError(syntax)
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return typeError(semantic)
	}
	return invalid("invalid_json", "", "The body could not be read as JSON: %v.", err)
}

// unmarshalMember decodes a member that was kept as it came.
func unmarshalMember(param string, value jsontext.Value, v any) error {
	if value.Kind() != '{' {
		return invalid("invalid_type", param, "Invalid type for '%s': expected an object, but got %s instead.", param, union.Kind(value.Kind()))
	}
	if err := json.Unmarshal(value, v); err != nil {
		return invalid("invalid_type", param, "Invalid type for a member of '%s': %v.", param, err)
	}
	return nil
}

func syntaxError(e *jsontext.SyntacticError) *Error {
	param := paramOf(e.JSONPointer)
	where := "at byte " + strconv.FormatInt(e.ByteOffset, 10)
	if param != "" {
		where = "at '" + param + "', byte " + strconv.FormatInt(e.ByteOffset, 10)
	}
	if errors.Is(e, jsontext.ErrDuplicateName) {
		return invalid("invalid_json", param, "The member '%s' stands twice in its object (byte %d). Send it once.", param, e.ByteOffset)
	}
	return invalid("invalid_json", param, "We could not parse the JSON body of your request: %v, %s. %s", e.Err, where, remedy(e.Err))
}

// remedy says how to mend a body that is not JSON.
func remedy(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "The body is empty or was cut short; send all of it."
	case strings.Contains(text, "UTF-8"):
		return "Encode the body as UTF-8."
	case strings.Contains(text, "after top-level value"):
		return "Send one JSON object and nothing behind it."
	}
	return "Send valid JSON (RFC 8259)."
}

func typeError(e *json.SemanticError) *Error {
	param := paramOf(e.JSONPointer)
	want := goKind(e.GoType)
	if e.Err != nil {
		if text := e.Err.Error(); strings.HasPrefix(text, "expected ") {
			return invalid("invalid_type", param, "Invalid type for '%s': %s.", param, text)
		}
	}
	if want == "an integer" && e.JSONKind == '0' {
		return invalid("invalid_type", param, "Invalid type for '%s': expected an integer, but got a decimal number or one out of range instead.", param)
	}
	if param == "" {
		return invalid("invalid_type", "", "The body must be a JSON object, but is %s (byte %d).", union.Kind(e.JSONKind), e.ByteOffset)
	}
	return invalid("invalid_type", param, "Invalid type for '%s': expected %s, but got %s instead.", param, want, union.Kind(e.JSONKind))
}

func goKind(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "another type"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

// paramOf turns a JSON pointer into OpenAI's notation: /input/2/content becomes
// input[2].content.
func paramOf(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil && b.Len() > 0 {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return b.String()
}

// Limits of a request body, beyond its size in bytes: a few megabytes of empty
// objects would otherwise become hundreds of megabytes of memory.
const (
	maxDepth  = 128
	maxValues = 500_000
	// A body may have so many values of any size, and one more for each so many bytes:
	// of what programs send a value takes five times that.
	fewValues     = 50_000
	bytesPerValue = 8
)

// checkSize refuses bodies that nest too deep or have too many values. It does
// not check the syntax.
func checkSize(body []byte) error {
	depth, values, most := 0, 0, min(maxValues, fewValues+len(body)/bytesPerValue)
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			end := plain.End(body[i+1:])
			if end < 0 {
				return nil // the parser will say where
			}
			i += end + 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return invalid("invalid_json", "", "The JSON body nests deeper than %d levels, at byte %d. Flatten it.", maxDepth, i)
			}
			values++
		case '}', ']':
			depth--
		case ',':
			if values++; values > most {
				return invalid("invalid_json", "", "The JSON body has more than %d values, at byte %d. Send less.", most, i)
			}
		}
	}
	return nil
}

// isSet tells whether an optional member is there: absent and null are the same.
func isSet(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }

// checkCase refuses an unknown member whose name differs from a known one only
// in case: a server that ignores case would read it, this one would not.
func checkCase(unknown jsontext.Value, known map[string]bool, at string) error {
	if len(unknown) == 0 {
		return nil
	}
	for name := range eachMember(unknown) {
		if err := wrongCase(name, known, at); err != nil {
			return err
		}
	}
	return nil
}

func wrongCase(name string, known map[string]bool, at string) error {
	if lower := strings.ToLower(name); lower != name && known[lower] {
		return invalid("unknown_parameter", at+name, "Unknown parameter: '%s%s'. Names are case-sensitive: did you mean '%s%s'?", at, name, at, lower)
	}
	return nil
}

// eachMember ranges over the members of a JSON object.
func eachMember(object jsontext.Value) func(yield func(string, jsontext.Value) bool) {
	return func(yield func(string, jsontext.Value) bool) {
		dec := jsontext.NewDecoder(bytes.NewBuffer(object)) // a Buffer is not copied
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
			return
		}
		for dec.PeekKind() == '"' {
			tok, err := dec.ReadToken()
			if err != nil {
				return
			}
			name := tok.String()
			value, err := dec.ReadValue()
			if err != nil || !yield(name, value) {
				return
			}
		}
	}
}

// nameCache keeps what [memberNames] gives: a request may ask for it once for each
// of its objects.
var nameCache sync.Map // reflect.Type to map[string]bool

// memberNames are the JSON names of a struct's fields. The map is not to be
// changed.
func memberNames[T any]() map[string]bool {
	t := reflect.TypeFor[T]()
	if names, ok := nameCache.Load(t); ok {
		return names.(map[string]bool)
	}
	names := make(map[string]bool, t.NumField())
	defer nameCache.Store(t, names)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names[name] = true
		}
	}
	return names
}
