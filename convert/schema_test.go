package convert

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/labiium/chat2response/internal/fakeopenai"
	"github.com/labiium/chat2response/sse"
)

// eventSchemas are the schemas of the events in the Open Responses specification.
var eventSchemas = map[string]string{
	"response.created": "ResponseCreated", "response.queued": "ResponseQueued", "response.in_progress": "ResponseInProgress",
	"response.completed": "ResponseCompleted", "response.incomplete": "ResponseIncomplete", "response.failed": "ResponseFailed", "error": "Error",
	"response.output_item.added": "ResponseOutputItemAdded", "response.output_item.done": "ResponseOutputItemDone",
	"response.content_part.added": "ResponseContentPartAdded", "response.content_part.done": "ResponseContentPartDone",
	"response.output_text.delta": "ResponseOutputTextDelta", "response.output_text.done": "ResponseOutputTextDone",
	"response.output_text.annotation.added": "ResponseOutputTextAnnotationAdded",
	"response.refusal.delta":                "ResponseRefusalDelta", "response.refusal.done": "ResponseRefusalDone",
	"response.reasoning_summary_part.added": "ResponseReasoningSummaryPartAdded", "response.reasoning_summary_part.done": "ResponseReasoningSummaryPartDone",
	"response.reasoning_summary_text.delta": "ResponseReasoningSummaryDelta", "response.reasoning_summary_text.done": "ResponseReasoningSummaryDone",
	"response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDelta", "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDone",
}

// openAIOnly are the events that this program makes and that the specification
// does not have; it calls the first two response.reasoning.*, on which the
// client of the npm package throws.
var openAIOnly = []string{
	"response.reasoning_text.delta", "response.reasoning_text.done",
	"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
}

// openAIItems and openAITools are the types of items and tools that the
// specification does not have.
var (
	openAIItems = []string{"custom_tool_call"}
	openAITools = []string{"custom", "namespace"}
)

// schemas reads the specification, which is not part of this project.
func schemas(t *testing.T) func(name string, v any) error {
	path := os.Getenv("CHAT2RESPONSE_OPENRESPONSES")
	if path == "" {
		path = filepath.Join("..", "..", "shared", "reference", "openresponses-openapi.json")
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("no Open Responses specification (%v): its openapi.json can be named in CHAT2RESPONSE_OPENRESPONSES", err)
	}
	var spec struct {
		Components struct{ Schemas jsonMap }
	}
	file = []byte(strings.ReplaceAll(string(file), "#/components/schemas/", "#/$defs/"))
	if err := json.Unmarshal(file, &spec); err != nil {
		t.Fatal(err)
	}
	resolved := map[string]*jsonschema.Resolved{}
	return func(name string, v any) error {
		if resolved[name] == nil {
			var s jsonschema.Schema
			text, err := json.Marshal(jsonMap{"$ref": "#/$defs/" + name, "$defs": spec.Components.Schemas})
			if err == nil {
				err = json.Unmarshal(text, &s)
			}
			if err != nil {
				return err
			}
			if resolved[name], err = s.Resolve(nil); err != nil {
				return err
			}
		}
		return resolved[name].Validate(v)
	}
}

// TestSchemas holds each event and each response object that this program makes
// of a fixture against the Open Responses specification.
func TestSchemas(t *testing.T) {
	validate := schemas(t)
	if validate("ResponseResource", jsonMap{"id": "resp_1"}) == nil {
		t.Fatal("a response without members passes: nothing is checked")
	}
	seen, broken := map[string]int{}, map[string]bool{}
	check := func(r *testRoute, how, schema string, v any) {
		if err := validate(schema, v); err != nil && !broken[schema+err.Error()] {
			broken[schema+err.Error()] = true
			t.Errorf("%v, %s: not a %s: %v\n%.2000s", r, how, schema, err, show(v))
		}
	}
	for _, upstream := range bothAPIs {
		for _, dialect := range fakeopenai.Dialects() {
			for _, scenario := range fakeopenai.Scenarios() {
				stream := fakeopenai.Stream(fakeopenai.API(upstream), dialect, scenario)
				if stream == nil || len(stream) > longStream {
					continue
				}
				r := routeOf(t, upstream, Responses, dialect, scenario)
				var p sse.Parser
				err := p.Feed(r.run(nil, stream), func(e sse.Event) error {
					var v jsonMap
					if string(e.Data) == "[DONE]" {
						return nil
					}
					if err := json.Unmarshal(e.Data, &v); err != nil {
						return err
					}
					typ := string(e.Type)
					seen[typ]++
					if schema, ok := eventSchemas[typ]; ok {
						if asSpecified(v) {
							check(r, "stream", schema+"StreamingEvent", v)
						}
					} else if !slices.Contains(openAIOnly, typ) {
						t.Errorf("%v: the event %s is neither of the specification nor in openAIOnly", r, typ)
					}
					return nil
				})
				if err != nil {
					t.Errorf("%v: %v", r, err)
				}
				body, status := fakeopenai.Answer(fakeopenai.API(upstream), dialect, scenario)
				resp, err := r.turn.Answer(body)
				if status != 200 || err != nil {
					continue
				}
				whole, err := r.req.Write(resp)
				if err != nil {
					t.Fatal(err)
				}
				var v jsonMap
				if err := json.Unmarshal(whole, &v); err != nil {
					t.Fatal(err)
				}
				asSpecified(jsonMap{"response": v})
				check(r, "whole", "ResponseResource", v)
			}
		}
	}
	for typ := range eventSchemas {
		if seen[typ] == 0 && typ != "response.queued" { // no fixture is queued
			t.Errorf("no fixture makes a %s", typ)
		}
	}
	t.Logf("events: %v", seen)
}

// asSpecified takes out of an event what OpenAI has and the specification has
// not. It is false where nothing would be left.
func asSpecified(e jsonMap) bool {
	if item, ok := e["item"].(jsonMap); ok && slices.Contains(openAIItems, strOf(item["type"])) {
		return false
	}
	// The elements of a delta's logprobs have no bytes at OpenAI.
	if e["type"] == "response.output_text.delta" {
		for _, p := range listOf(e["logprobs"]) {
			p.(jsonMap)["bytes"] = []any{}
			for _, top := range listOf(p.(jsonMap)["top_logprobs"]) {
				top.(jsonMap)["bytes"] = []any{}
			}
		}
	}
	r, ok := e["response"].(jsonMap)
	if !ok {
		return true
	}
	without := func(v any, types []string) []any {
		return slices.DeleteFunc(slices.Clone(listOf(v)), func(v any) bool { return slices.Contains(types, strOf(v.(jsonMap)["type"])) })
	}
	r["output"] = append([]any{}, without(r["output"], openAIItems)...)
	r["tools"] = append([]any{}, without(r["tools"], openAITools)...)
	// The schema of a json_schema format takes no schema: its own fault.
	if txt, _ := r["text"].(jsonMap); txt != nil {
		if f, _ := txt["format"].(jsonMap); f["type"] == "json_schema" {
			txt["format"] = jsonMap{"type": "text"}
		}
	}
	return true
}
