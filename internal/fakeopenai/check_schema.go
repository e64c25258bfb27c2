package fakeopenai

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// strictSchema checks a schema that was sent with strict: true against the rules of OpenAI's Structured Outputs:
// every object closes itself with additionalProperties: false and requires all its properties.
// What names the schema's owner in the message, param and code go into the error.
func strictSchema(what string, schema any, param string, code any) *apiError {
	root, ok := schema.(map[string]any)
	if !ok {
		return refuse(param, code, "Invalid schema for %s: schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.", what)
	}
	if root["type"] != "object" && root["$ref"] == nil {
		return refuse(param, code, "Invalid schema for %s: schema must be a JSON Schema of 'type: \"object\"', got 'type: \"%v\"'.", what, orNone(root["type"]))
	}
	if flaw := strictFlaw(root, nil); flaw != "" {
		return refuse(param, code, "Invalid schema for %s: %s", what, flaw)
	}
	return nil
}

func orNone(v any) any {
	if v == nil {
		return "None"
	}
	return v
}

// unsupportedKeywords are JSON Schema's that Structured Outputs does not know.
var unsupportedKeywords = []string{"oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}

// strictFlaw returns the first breach below schema. Context is the way to it, written as Python writes a tuple.
func strictFlaw(schema map[string]any, context []string) string {
	at := fmt.Sprintf("In context=(%s), ", tuple(context))
	for _, word := range unsupportedKeywords {
		if _, ok := schema[word]; ok {
			return at + fmt.Sprintf("'%s' is not permitted.", word)
		}
	}
	properties, isObject := schema["properties"].(map[string]any)
	if isObject || schema["type"] == "object" {
		if schema["additionalProperties"] != false {
			return at + "'additionalProperties' is required to be supplied and to be false."
		}
		required, _ := schema["required"].([]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			if !slices.Contains(required, any(name)) {
				return at + fmt.Sprintf("'required' is required to be supplied and to be an array including every key in properties. Missing '%s'.", name)
			}
		}
		for _, r := range required {
			if _, ok := properties[stringOf(r)]; !ok {
				return at + fmt.Sprintf("'required' is required to be supplied and to be an array including every key in properties. Extra required key '%s' supplied.", stringOf(r))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if flaw := strictFlawBelow(properties[name], append(context, "properties", name)); flaw != "" {
			return flaw
		}
	}
	if schema["type"] == "array" {
		if _, ok := schema["items"]; !ok {
			return at + "array schema missing items."
		}
		if flaw := strictFlawBelow(schema["items"], append(context, "items")); flaw != "" {
			return flaw
		}
	}
	variants, _ := schema["anyOf"].([]any)
	for i, v := range variants {
		if flaw := strictFlawBelow(v, append(context, "anyOf", fmt.Sprint(i))); flaw != "" {
			return flaw
		}
	}
	for _, defs := range []string{"$defs", "definitions"} {
		m, _ := schema[defs].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if flaw := strictFlawBelow(m[name], append(context, defs, name)); flaw != "" {
				return flaw
			}
		}
	}
	return ""
}

func strictFlawBelow(schema any, context []string) string {
	m, ok := schema.(map[string]any)
	if !ok {
		return fmt.Sprintf("In context=(%s), schema must be an object.", tuple(context))
	}
	if m["type"] == nil && m["$ref"] == nil && m["anyOf"] == nil && m["enum"] == nil && m["const"] == nil && m["oneOf"] == nil && m["allOf"] == nil {
		return fmt.Sprintf("In context=(%s), schema must have a 'type' key.", tuple(context))
	}
	return strictFlaw(m, slices.Clip(context))
}

func tuple(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "'" + n + "'"
	}
	return strings.Join(quoted, ", ")
}
