package fakeopenai

import (
	"fmt"
	"slices"
	"strings"
)

// calling makes a scenario of a list of items: they come while the conversation has no outputs for them, and
// once it has, a text that quotes the outputs.
func calling(items func(a *ask) []item) scenario {
	return func(a *ask, _ *mint) (answer, *apiError) {
		if outputs := a.outputs(); len(outputs) > 0 {
			return answer{items: []item{{kind: textItem, pieces: words(quote(a, outputs))}}}, nil
		}
		list := items(a)
		if !slices.ContainsFunc(list, item.isCall) {
			return noTools(a), nil
		}
		return answer{items: list}, nil
	}
}

func quote(a *ask, outputs []turn) string {
	var b strings.Builder
	for i, o := range outputs {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s returned: %s", a.callName(o.callID), o.text)
	}
	if images := a.images(); len(images) > 0 {
		fmt.Fprintf(&b, " I also see %d image(s): %s.", len(images), strings.Join(images, ", "))
	}
	return b.String()
}

// noTools answers when there is nothing to call: a gateway that lost the tools is seen by this text.
func noTools(a *ask) answer {
	why := "No tool was offered."
	if len(a.offers) > 0 {
		why = "No tool of the right kind was offered."
	}
	if a.choice.mode == "none" {
		why = "I may not call a tool."
	}
	return answer{items: []item{{kind: textItem, pieces: words(why)}}}
}

// callable are the offered tools that want accepts and tool_choice allows.
func callable(a *ask, want func(offer) bool) (list []offer) {
	if a.choice.mode == "none" {
		return nil
	}
	for _, o := range a.offers {
		if want(o) && (a.choice.name == "" || a.choice.name == o.name) {
			list = append(list, o)
		}
	}
	return list
}

func isFunction(o offer) bool { return !o.custom }

// callFunctions makes n calls, fewer if the request forbids parallel ones: of get_weather if it is offered, else
// of the first n functions, the last one as often as need be.
func callFunctions(a *ask, n int) (items []item) {
	list := callable(a, isFunction)
	if len(list) == 0 {
		return nil
	}
	if !a.parallel {
		n = 1
	}
	if i := slices.IndexFunc(list, func(o offer) bool { return o.name == "get_weather" }); i >= 0 {
		list = list[i : i+1]
	}
	for i := range n {
		o := list[min(i, len(list)-1)]
		items = append(items, callOf(o, i))
	}
	return items
}

func callOf(o offer, nth int) item {
	if o.custom {
		return item{kind: customItem, name: o.name, namespace: o.namespace, pieces: chop(patch, 16)}
	}
	return item{kind: functionItem, name: o.name, namespace: o.namespace, pieces: chop(arguments(o, nth), 4)}
}

// patch is freeform input with all that JSON must escape.
const patch = "*** Begin Patch\n*** Update File: greet.txt\n@@\n-say \"hi\"\n+say \"hello\\there\"\t→ 世界\n*** End Patch\n"

var cities = []string{"Paris", "London", "Tokyo"}

// arguments builds the arguments of the nth call of a function from its schema.
func arguments(o offer, nth int) string {
	if o.schema == nil {
		if o.name == "get_weather" {
			return `{"city":"` + cities[nth%len(cities)] + `"}`
		}
		return "{}"
	}
	if wrapped(o.schema) {
		return string(toJSON(obj{{"input", patch}}))
	}
	return string(toJSON(build(o.schema, o.schema, nth)))
}

// wrapped tells a function that stands for a custom tool: its only property is the string `input`.
func wrapped(schema map[string]any) bool {
	properties := objectAt(schema, "properties")
	return len(properties) == 1 && objectAt(properties, "input")["type"] == "string"
}

// callCustom calls the first custom tool, or the function that stands for one.
func callCustom(a *ask) []item {
	list := callable(a, func(o offer) bool { return o.custom })
	if len(list) == 0 {
		list = callable(a, func(o offer) bool { return wrapped(o.schema) })
	}
	if len(list) == 0 {
		return nil
	}
	return []item{callOf(list[0], 0)}
}

// callNamespaced calls the first tool of a namespace, or the first whose name looks flattened: "ns__tool".
func callNamespaced(a *ask) []item {
	list := callable(a, func(o offer) bool { return o.namespace != "" })
	if len(list) == 0 {
		list = callable(a, func(o offer) bool { return strings.Contains(o.name, "__") })
	}
	if len(list) == 0 {
		return nil
	}
	return []item{callOf(list[0], 0)}
}

// build makes a value that obeys a JSON Schema: required properties only, or all where all are required anyway.
// nth varies the values, so that parallel calls differ.
func build(root, schema map[string]any, nth int) any {
	if ref, ok := schema["$ref"].(string); ok {
		target := root
		for _, step := range strings.Split(strings.TrimPrefix(ref, "#"), "/")[1:] {
			target = objectAt(target, step)
		}
		if target == nil || nth > 8 { // a schema that refers to itself ends somewhere
			return nil
		}
		return build(root, target, nth+1)
	}
	if value, ok := schema["const"]; ok {
		return value
	}
	if values, ok := schema["enum"].([]any); ok && len(values) > 0 {
		return values[nth%len(values)]
	}
	for _, word := range []string{"anyOf", "oneOf", "allOf"} {
		if variants := objectsOf(schema[word]); len(variants) > 0 {
			return build(root, variants[0], nth)
		}
	}
	kind := stringOf(schema["type"])
	if kinds := stringsOf(schema["type"]); len(kinds) > 0 {
		kind = kinds[0]
	}
	switch kind {
	case "string":
		return buildString(schema, nth)
	case "integer", "number":
		low, _ := floatOf(schema["minimum"])
		return int(low) + 1 + nth
	case "boolean":
		return nth%2 == 0
	case "array":
		items := objectAt(schema, "items")
		list := []any{}
		for i := range max(1, intOf(schema["minItems"])) {
			list = append(list, build(root, items, nth+i))
		}
		return list
	case "null":
		return nil
	}
	return buildObject(root, schema, nth)
}

func buildString(schema map[string]any, nth int) string {
	switch schema["format"] {
	case "date":
		return "2026-11-22"
	case "date-time":
		return "2026-11-22T09:20:00Z"
	case "uri":
		return "https://example.com/"
	case "email":
		return "ada@example.com"
	}
	s := "value " + itoa(nth+1)
	for len(s) < intOf(schema["minLength"]) {
		s += "."
	}
	return s
}

func buildObject(root, schema map[string]any, nth int) any {
	value := obj{}
	names := stringsOf(schema["required"])
	if len(names) == 0 && objectAt(schema, "properties")["city"] != nil {
		names = []string{"city"} // optional, but what the question is about
	}
	for _, name := range names {
		property := objectAt(objectAt(schema, "properties"), name)
		if strings.Contains(strings.ToLower(name), "city") || strings.Contains(strings.ToLower(name), "location") {
			if property["enum"] == nil && property["type"] == "string" {
				value = append(value, member{name, cities[nth%len(cities)]})
				continue
			}
		}
		value = append(value, member{name, build(root, property, nth)})
	}
	return value
}
