package fakeopenai

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kind is a set of JSON types.
type kind uint8

const (
	str kind = 1 << iota
	integer
	number
	boolean
	array
	object
	null
	anything kind = 0
)

func (k kind) article() string {
	switch k {
	case str:
		return "a string"
	case integer:
		return "an integer"
	case number:
		return "a decimal"
	case boolean:
		return "a boolean"
	case array:
		return "an array"
	case object:
		return "an object"
	}
	return "null"
}

func kindOf(v any) kind {
	switch v := v.(type) {
	case string:
		return str
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			return number
		}
		return integer
	case bool:
		return boolean
	case []any:
		return array
	case map[string]any:
		return object
	}
	return null
}

// shape says what one value of a request may be. The request tables are made of it, so that every member of a
// request has its type, its bounds and its words written down once.
type shape struct {
	kind      kind
	expect    string // how an error names the expected type, where it is not the name of kind
	notNull   bool   // null is an error; elsewhere OpenAI takes it as absent
	enum      []string
	rng       *[2]float64 // bounds of a number, inclusive
	maxLen    int
	nonEmpty  bool // an array must not be empty, nor a string that may not be an array instead
	pattern   *regexp.Regexp
	prefix    string            // what an identifier begins with
	fields    map[string]*shape // members of an object
	required  []string
	open      bool // members that fields does not name are accepted
	oddFirst  bool // such members are found before missing ones
	items     *shape
	maxItems  int
	tag       string            // the member by which an object of several kinds is told apart
	byTag     map[string]*shape // one shape per value of tag
	tags      []string          // the values of tag in the order an error lists them
	tagParam  string            // appended to the path in that error's param
	otherwise *shape            // the shape of an object without a tag
	also      func(path string, v any) *apiError
}

func (s *shape) expected() string {
	if s.expect != "" {
		return s.expect
	}
	k := s.kind &^ null
	if k == array {
		if s.items != nil && s.items.kind == object {
			return "an array of objects"
		}
		if s.items != nil && s.items.kind == str {
			return "an array of strings"
		}
	}
	if k == str|array {
		return "one of a string or array of objects"
	}
	if k == str|object {
		return "one of a string or object"
	}
	return k.article()
}

// check returns the first thing wrong with v, or nil. Path is v's place in the request.
func (s *shape) check(path string, v any) *apiError {
	got := kindOf(v)
	if got == null && s.kind != anything {
		if s.notNull {
			return wrongType(path, s.expected(), v)
		}
		return nil
	}
	if s.kind != anything && s.kind&got == 0 && !(got == integer && s.kind&number != 0) {
		return wrongType(path, s.expected(), v)
	}
	var err *apiError
	switch v := v.(type) {
	case string:
		err = s.checkString(path, v)
	case json.Number:
		err = s.checkNumber(path, v)
	case []any:
		err = s.checkArray(path, v)
	case map[string]any:
		err = s.checkObject(path, v)
	}
	if err == nil && s.also != nil {
		return s.also(path, v)
	}
	return err
}

func (s *shape) checkString(path, v string) *apiError {
	switch {
	case s.nonEmpty && s.kind&array == 0 && v == "":
		return refuse(path, "empty_string", "Invalid '%s': empty string. Expected a string with minimum length 1, but got an empty string instead.", path)
	case s.maxLen > 0 && len([]rune(v)) > s.maxLen:
		return refuse(path, "string_above_max_length", "Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", path, s.maxLen, len([]rune(v)))
	case s.pattern != nil && !s.pattern.MatchString(v):
		return refuse(path, "invalid_value", "Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", path, s.pattern)
	case s.prefix != "" && !strings.HasPrefix(v, s.prefix):
		return refuse(path, "invalid_value", "Invalid '%s': '%s'. Expected an ID that begins with '%s'.", path, v, s.prefix)
	case s.enum != nil && !slices.Contains(s.enum, v):
		return wrongValue(path, v, s.enum)
	}
	return nil
}

func (s *shape) checkNumber(path string, v json.Number) *apiError {
	f, err := v.Float64()
	if err != nil || s.rng == nil {
		return nil
	}
	word := "decimal"
	if s.kind&integer != 0 {
		word = "integer"
	}
	if f < s.rng[0] {
		return refuse(path, word+"_below_min_value", "Invalid '%s': %s below minimum value. Expected a value >= %s, but got %s instead.", path, word, plain(s.rng[0]), v)
	}
	if f > s.rng[1] {
		return refuse(path, word+"_above_max_value", "Invalid '%s': %s above maximum value. Expected a value <= %s, but got %s instead.", path, word, plain(s.rng[1]), v)
	}
	return nil
}

// plain writes a number without an exponent.
func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (s *shape) checkArray(path string, v []any) *apiError {
	if s.nonEmpty && len(v) == 0 {
		return refuse(path, "empty_array", "Invalid '%s': empty array. Expected an array with minimum length 1, but got an empty array instead.", path)
	}
	if s.maxItems > 0 && len(v) > s.maxItems {
		return refuse(path, "array_above_max_length", "Invalid '%s': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", path, s.maxItems, len(v))
	}
	if s.items == nil {
		return nil
	}
	for i, e := range v {
		at := fmt.Sprintf("%s[%d]", path, i)
		if e == nil {
			return wrongType(at, s.items.expected(), e)
		}
		if err := s.items.check(at, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) checkObject(path string, v map[string]any) *apiError {
	if s.tag != "" {
		return s.checkTagged(path, v)
	}
	if s.fields == nil {
		return nil
	}
	return s.checkFields(path, v)
}

func (s *shape) checkFields(path string, v map[string]any) *apiError {
	if s.oddFirst {
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if s.fields[name] == nil {
				return unknownParameter(join(path, name))
			}
		}
	}
	for _, name := range s.required {
		value, ok := v[name]
		if !ok {
			return missingParameter(join(path, name))
		}
		if value == nil && s.fields[name].kind&null == 0 {
			return wrongType(join(path, name), s.fields[name].expected(), nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		field, ok := s.fields[name]
		if !ok {
			if s.open {
				continue
			}
			return unknownParameter(join(path, name))
		}
		if err := field.check(join(path, name), v[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) checkTagged(path string, v map[string]any) *apiError {
	tag, ok := v[s.tag]
	if !ok {
		if s.otherwise != nil {
			return s.otherwise.check(path, v)
		}
		return missingParameter(join(path, s.tag))
	}
	name, ok := tag.(string)
	if !ok {
		return wrongType(join(path, s.tag), "a string", tag)
	}
	variant, ok := s.byTag[name]
	if !ok {
		return wrongValue(path+s.tagParam, name, s.tags)
	}
	return variant.check(path, v)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Short names for the tables.

func text() *shape                  { return &shape{kind: str} }
func oneOf(values ...string) *shape { return &shape{kind: str, enum: values} }
func flag() *shape                  { return &shape{kind: boolean} }
func whole(lo, hi float64) *shape   { return &shape{kind: integer, rng: &[2]float64{lo, hi}} }
func decimal(lo, hi float64) *shape { return &shape{kind: number, rng: &[2]float64{lo, hi}} }
func free() *shape                  { return &shape{} }
func openObject() *shape            { return &shape{kind: object, open: true} }
func listOf(items *shape) *shape    { return &shape{kind: array, items: items} }
func textOr(part *shape) *shape     { return &shape{kind: str | array, items: part} }
func itemID(prefix string) *shape   { return &shape{kind: str, maxLen: 64, prefix: prefix} }
func orNull(s *shape) *shape        { s.kind |= null; return s }
func some(s *shape) *shape          { s.nonEmpty = true; return s }

// record is an object with exactly these members; a name that ends in "!" is required.
func record(fields map[string]*shape) *shape {
	s := &shape{kind: object, fields: map[string]*shape{}}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		bare, must := strings.CutSuffix(name, "!")
		s.fields[bare] = fields[name]
		if must {
			s.required = append(s.required, bare)
		}
	}
	return s
}

// tagged is an object whose member tag says which of the shapes it has.
func tagged(tag string, order []string, byTag map[string]*shape) *shape {
	return &shape{kind: object, tag: tag, byTag: byTag, tags: order, tagParam: "." + tag}
}
