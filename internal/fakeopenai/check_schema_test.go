package fakeopenai

import (
	"strings"
	"testing"
)

func TestStrictSchema(t *testing.T) {
	for schema, want := range map[string]string{
		`null`:              `schema must be a JSON Schema of 'type: "object"', got 'type: "None"'.`,
		`{"properties":{}}`: `schema must be a JSON Schema of 'type: "object"', got 'type: "None"'.`,
		`{"type":"string"}`: `schema must be a JSON Schema of 'type: "object"', got 'type: "string"'.`,
		`{"type":"object"}`: `In context=(), 'additionalProperties' is required to be supplied and to be false.`,
		`{"type":"object","additionalProperties":true}`: `In context=(), 'additionalProperties' is required to be supplied and to be false.`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string"},"b":{"type":"string"}},"required":["a"]}`:                             `In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing 'b'.`,
		`{"type":"object","additionalProperties":false,"properties":{},"required":["x"]}`:                                                                        `In context=(), 'required' is required to be supplied and to be an array including every key in properties. Extra required key 'x' supplied.`,
		`{"type":"object","additionalProperties":false,"allOf":[]}`:                                                                                              `In context=(), 'allOf' is not permitted.`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{}},"required":["a"]}`:                                                                  `In context=('properties', 'a'), schema must have a 'type' key.`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"type":"array"}},"required":["a"]}`:                                                    `In context=('properties', 'a'), array schema missing items.`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"anyOf":[{"type":"null"},{"type":"object"}]}},"required":["a"]}`:                       `In context=('properties', 'a', 'anyOf', '1'), 'additionalProperties' is required to be supplied and to be false.`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"],"$defs":{"n":{"type":"object"}}}`:                `In context=('$defs', 'n'), 'additionalProperties' is required to be supplied and to be false.`,
		`{"type":"object","additionalProperties":false}`:                                                                                                         ``,
		`{"type":"object","additionalProperties":false,"properties":{"a":{"type":["string","null"]},"b":{"enum":[1]},"c":{"const":2}},"required":["a","b","c"]}`: ``,
		`{"type":"object","additionalProperties":false,"properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]}`:                      ``,
	} {
		body, err := decode([]byte(`{"schema":` + schema + `}`))
		if err != nil {
			t.Fatal(schema)
		}
		flaw := strictSchema("function 'f'", body["schema"], "p", "c")
		switch {
		case want == "" && flaw != nil:
			t.Errorf("%s: %s", schema, flaw.message)
		case want != "" && (flaw == nil || flaw.message != "Invalid schema for function 'f': "+want || flaw.param != "p" || flaw.code != "c"):
			t.Errorf("%s: %+v, want %s", schema, flaw, want)
		}
	}
}

// TestBuild: what is built from a schema obeys it, and ends even where the schema does not.
func TestBuild(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"object","properties":{"a":{"type":"string","minLength":9},"b":{"type":"number","minimum":4},"c":{"type":"boolean"},"d":{"type":["null","string"]},"e":{"type":"array","minItems":2,"items":{"type":"integer"}},"f":{"const":"x"},"g":{"anyOf":[{"type":"string","format":"email"}]},"h":{}},"required":["a","b","c","d","e","f","g"]}`: `{"a":"value 1..","b":5,"c":true,"d":null,"e":[1,2],"f":"x","g":"ada@example.com"}`,
		`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["n"]}}}`:                                 strings.Repeat(`{"n":`, 9) + "null" + strings.Repeat("}", 9),
		`{"type":"object","properties":{"city":{"type":"string"}}}`:                                                                                     `{"city":"Paris"}`,
		`{"type":"object","properties":{"from_location":{"enum":["x"]},"at":{"type":"string","format":"date-time"}},"required":["from_location","at"]}`: `{"from_location":"x","at":"2026-11-22T09:20:00Z"}`,
	} {
		body, err := decode([]byte(schema))
		if err != nil {
			t.Fatal(schema)
		}
		same(t, string(toJSON(build(body, body, 0))), want)
	}
}
