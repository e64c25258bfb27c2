package convert

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// A streamed Responses answer, as a client sees it that has all the demands of
// all of them: conversion.md §D.3 and §D.8.

type jsonMap = map[string]any

// responsesEnd is what a Responses stream came to.
type responsesEnd struct {
	typ      string // the terminal event
	response jsonMap
	types    []string // of all events, in order
}

// checkResponses reads a stream and lists what is wrong with it.
func checkResponses(stream []byte) (end responsesEnd, faults []string) {
	c := &ladderCheck{types: &end.types}
	frames := strings.SplitAfter(string(stream), "\n\n")
	if last := frames[len(frames)-1]; last != "" {
		c.fault("the stream does not end with a blank line: %q", last)
	}
	frames = frames[:len(frames)-1]
	for i, f := range frames {
		if f == "data: [DONE]\n\n" {
			if i != len(frames)-1 {
				c.fault("[DONE] is not the last event")
			}
			if c.end == "" {
				c.fault("[DONE] without a terminal event")
			}
			continue
		}
		head, data, ok := strings.Cut(strings.TrimSuffix(f, "\n\n"), "\n")
		name, named := strings.CutPrefix(head, "event: ")
		data, hasData := strings.CutPrefix(data, "data: ")
		var e jsonMap
		if !ok || !named || !hasData || json.Unmarshal([]byte(data), &e) != nil {
			c.fault("not an event of the API: %q", f)
			continue
		}
		if e["type"] != name {
			c.fault("event: %s has the type %v", name, e["type"])
		}
		c.event(name, e)
	}
	if c.end == "" {
		c.fault("no terminal event")
	}
	if len(frames) == 0 || frames[len(frames)-1] != "data: [DONE]\n\n" {
		c.fault("no [DONE] at the end")
	}
	end.typ, end.response = c.end, c.last
	return end, c.faults
}

// ladderCheck follows the events of a response.
type ladderCheck struct {
	seq    int
	items  []*itemCheck
	ids    map[string]bool
	head   jsonMap // of response.created
	failed jsonMap // the error event
	end    string
	last   jsonMap
	types  *[]string
	faults []string
}

type itemCheck struct {
	item    jsonMap
	parts   []*partCheck
	summary []*partCheck
	args    string
	argsEnd bool
	done    jsonMap
}

type partCheck struct {
	typ, text string
	notes     []any
	textDone  bool
	done      jsonMap
}

func (c *ladderCheck) fault(format string, args ...any) {
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf("event %d: ", c.seq)+fmt.Sprintf(format, args...))
	}
}

func (c *ladderCheck) event(typ string, e jsonMap) {
	if n, ok := e["sequence_number"].(float64); !ok || int(n) != c.seq {
		c.fault("%s has sequence_number %v", typ, e["sequence_number"])
	}
	*c.types = append(*c.types, typ)
	if c.end != "" {
		c.fault("%s behind %s", typ, c.end)
	}
	if (c.seq == 0) != (typ == "response.created") {
		c.fault("%s in the wrong place", typ)
	}
	if c.failed != nil && typ != "response.failed" {
		c.fault("%s behind an error event", typ)
	}
	switch typ {
	case "response.created", "response.queued", "response.in_progress":
		c.opening(typ, c.response(e))
	case "response.completed", "response.incomplete", "response.failed":
		c.terminal(typ, c.response(e))
	case "error":
		c.failed = e
		nested, _ := e["error"].(jsonMap)
		if nested["message"] != e["message"] || nested["code"] != e["code"] || nested["type"] == "" || e["message"] == "" {
			c.fault("the error event is not flat and nested alike: %v", e)
		}
		if code, ok := e["code"].(string); !ok || code == "" {
			c.fault("the error event has the code %v", e["code"])
		}
		if _, ok := e["param"]; !ok {
			c.fault("the error event has no param")
		}
	case "response.output_item.added":
		c.added(e)
	case "response.output_item.done":
		c.done(e)
	default:
		if !openAIEvents[typ] {
			c.fault("unknown event type %s", typ)
			break
		}
		c.inItem(typ, e)
	}
	c.seq++
}

func (c *ladderCheck) response(e jsonMap) jsonMap {
	r, _ := e["response"].(jsonMap)
	if r == nil {
		c.fault("no response in %v", e["type"])
		return jsonMap{}
	}
	for _, key := range []string{"id", "created_at", "model", "object"} {
		if c.head != nil && r[key] != c.head[key] {
			c.fault("the response's %s changes from %v to %v", key, c.head[key], r[key])
		}
	}
	for _, key := range responseKeys {
		if _, ok := r[key]; !ok {
			c.fault("the response has no %s", key)
		}
	}
	if tier, ok := r["service_tier"].(string); !ok || tier == "auto" || tier == "" {
		c.fault("service_tier is %v", r["service_tier"])
	}
	return r
}

// responseKeys are required by the Open Responses specification.
var responseKeys = strings.Fields(`id object created_at completed_at status background error incomplete_details instructions max_output_tokens
	max_tool_calls metadata model output parallel_tool_calls previous_response_id prompt_cache_key safety_identifier presence_penalty
	frequency_penalty reasoning service_tier store temperature top_p text tool_choice tools top_logprobs truncation usage`)

func (c *ladderCheck) opening(typ string, r jsonMap) {
	if c.head == nil {
		c.head = r
	}
	want := "in_progress"
	if typ == "response.queued" {
		want = "queued"
	}
	output, ok := r["output"].([]any)
	if r["status"] != want || !ok || len(output) != 0 || r["usage"] != nil || r["completed_at"] != nil || r["error"] != nil {
		c.fault("%s: status %v, output %v, usage %v, completed_at %v", typ, r["status"], r["output"], r["usage"], r["completed_at"])
	}
}

func strOf(v any) string { s, _ := v.(string); return s }

func listOf(v any) []any { l, _ := v.([]any); return l }

func (c *ladderCheck) added(e jsonMap) {
	it, _ := e["item"].(jsonMap)
	if at, ok := e["output_index"].(float64); !ok || int(at) != len(c.items) {
		c.fault("item %d is added at output_index %v", len(c.items), e["output_index"])
	}
	c.items = append(c.items, &itemCheck{item: it})
	c.unique("id", strOf(it["id"]))
	switch it["type"] {
	case "message":
		if content, ok := it["content"].([]any); !ok || len(content) > 0 || it["role"] != "assistant" || it["status"] != "in_progress" {
			c.fault("message added as %v", it)
		}
	case "reasoning":
		if summary, ok := it["summary"].([]any); !ok || len(summary) > 0 || it["encrypted_content"] != nil {
			c.fault("reasoning added as %v", it)
		}
	case "function_call":
		c.unique("call_id", strOf(it["call_id"]))
		if it["arguments"] != "" || it["status"] != "in_progress" || strOf(it["name"]) == "" {
			c.fault("function_call added as %v", it)
		}
	case "custom_tool_call":
		c.unique("call_id", strOf(it["call_id"]))
		if it["input"] != "" || it["status"] != "in_progress" || strOf(it["name"]) == "" {
			c.fault("custom_tool_call added as %v", it)
		}
	case nil, "":
		c.fault("an item without a type is added")
	}
}

func (c *ladderCheck) unique(what, id string) {
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	if id == "" || c.ids[what+id] {
		c.fault("%s %q is empty or used twice", what, id)
	}
	c.ids[what+id] = true
}

// item is the one that an event is of; nil if there is none, or if it is done.
func (c *ladderCheck) item(e jsonMap) *itemCheck {
	at, ok := e["output_index"].(float64)
	if !ok || int(at) < 0 || int(at) >= len(c.items) {
		c.fault("%v at output_index %v", e["type"], e["output_index"])
		return nil
	}
	it := c.items[int(at)]
	if id, has := e["item_id"]; has && id != it.item["id"] {
		c.fault("%v has item_id %v, but that place has %v", e["type"], id, it.item["id"])
	}
	if it.done != nil {
		c.fault("%v behind output_item.done", e["type"])
		return nil
	}
	return it
}

func (c *ladderCheck) inItem(typ string, e jsonMap) {
	_, hasPlace := e["output_index"]
	if _, hasItem := e["item_id"]; !hasItem && !hasPlace {
		return // response.audio.*
	}
	it := c.item(e)
	if it == nil {
		return
	}
	kind := strings.TrimPrefix(typ, "response.")
	if _, has := e["item_id"]; !has && !strings.HasPrefix(kind, "shell_call_command.") {
		c.fault("%s has no item_id", typ)
	}
	family, step := kind, ""
	if at := strings.LastIndex(kind, "."); at >= 0 {
		family, step = kind[:at], kind[at+1:]
	}
	switch family {
	case "function_call_arguments", "custom_tool_call_input":
		want := map[string]string{"function_call_arguments": "function_call", "custom_tool_call_input": "custom_tool_call"}[family]
		if it.item["type"] != want || it.argsEnd {
			c.fault("%s for a %v (ended: %v)", typ, it.item["type"], it.argsEnd)
		}
		if step == "delta" {
			it.args += strOf(e["delta"])
			return
		}
		it.argsEnd = true
		if all := strOf(e["arguments"]) + strOf(e["input"]); all != it.args {
			c.fault("%s says %q, the deltas %q", typ, all, it.args)
		}
	case "content_part":
		c.partEvent(&it.parts, step, e["content_index"], e)
	case "reasoning_summary_part":
		c.partEvent(&it.summary, step, e["summary_index"], e)
	case "output_text", "output_text.annotation", "refusal", "reasoning_text", "reasoning":
		c.textEvent(it.parts, family, step, e["content_index"], e)
	case "reasoning_summary_text":
		c.textEvent(it.summary, family, step, e["summary_index"], e)
	}
}

func (c *ladderCheck) partEvent(parts *[]*partCheck, step string, at any, e jsonMap) {
	part, _ := e["part"].(jsonMap)
	i, ok := at.(float64)
	if !ok || part == nil {
		c.fault("%v without index or part", e["type"])
		return
	}
	if step == "added" {
		if int(i) != len(*parts) {
			c.fault("part %d is added at %v", len(*parts), i)
		}
		if strOf(part["text"])+strOf(part["refusal"]) != "" && deltaKinds[strOf(part["type"])] {
			c.fault("a part is added with text: %v", part)
		}
		*parts = append(*parts, &partCheck{typ: strOf(part["type"])})
		return
	}
	if int(i) >= len(*parts) || (*parts)[int(i)].done != nil {
		c.fault("part %v is done, but not open", i)
		return
	}
	p := (*parts)[int(i)]
	p.done = part
	if p.typ != part["type"] {
		c.fault("a part of type %s is done as %v", p.typ, part["type"])
	}
	if !deltaKinds[p.typ] {
		return
	}
	if all := strOf(part["text"]) + strOf(part["refusal"]); all != p.text || !p.textDone {
		c.fault("%v says %q, the deltas %q (text done: %v)", e["type"], all, p.text, p.textDone)
	}
	if p.typ == "output_text" && !sameNotes(listOf(part["annotations"]), p.notes) {
		c.fault("part done with annotations %v, announced %v", part["annotations"], p.notes)
	}
	if p.typ == "output_text" && part["logprobs"] == nil {
		c.fault("part done without logprobs: %v", part)
	}
}

var deltaKinds = map[string]bool{"output_text": true, "refusal": true, "reasoning_text": true, "summary_text": true}

func sameNotes(a, b []any) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

func (c *ladderCheck) textEvent(parts []*partCheck, family, step string, at any, e jsonMap) {
	i, ok := at.(float64)
	if !ok || int(i) >= len(parts) || parts[int(i)].done != nil {
		c.fault("%v at part %v, which is not open", e["type"], at)
		return
	}
	p := parts[int(i)]
	want := map[string]string{"output_text": "output_text", "output_text.annotation": "output_text", "refusal": "refusal",
		"reasoning_text": "reasoning_text", "reasoning": "reasoning_text", "reasoning_summary_text": "summary_text"}[family]
	if p.typ != want || p.textDone && family != "output_text.annotation" {
		c.fault("%v in a part of type %s (text done: %v)", e["type"], p.typ, p.textDone)
	}
	if _, ok := e["logprobs"].([]any); family == "output_text" && !ok {
		c.fault("%v without logprobs", e["type"])
	}
	switch {
	case family == "output_text.annotation":
		if n, ok := e["annotation_index"].(float64); !ok || int(n) != len(p.notes) {
			c.fault("annotation_index %v of %d", e["annotation_index"], len(p.notes))
		}
		p.notes = append(p.notes, e["annotation"])
	case step == "delta":
		if strOf(e["delta"]) == "" {
			c.fault("an empty delta")
		}
		p.text += strOf(e["delta"])
	default:
		p.textDone = true
		if all := strOf(e["text"]) + strOf(e["refusal"]); all != p.text {
			c.fault("%v says %q, the deltas %q", e["type"], all, p.text)
		}
	}
}

func (c *ladderCheck) done(e jsonMap) {
	it := c.item(e)
	if it == nil {
		return
	}
	item, _ := e["item"].(jsonMap)
	it.done = item
	for _, key := range []string{"id", "type", "call_id", "role"} {
		if item[key] != it.item[key] {
			c.fault("an item's %s changes from %v to %v", key, it.item[key], item[key])
		}
	}
	if has := it.item["status"]; has != nil && item["status"] == "in_progress" {
		c.fault("an item is done with the status in_progress")
	}
	switch item["type"] {
	case "message":
		c.sameParts("content", item["content"], it.parts)
	case "reasoning":
		c.sameParts("summary", item["summary"], it.summary)
		c.sameParts("content", item["content"], it.parts)
	case "function_call", "custom_tool_call":
		if all := strOf(item["arguments"]) + strOf(item["input"]); all != it.args || !it.argsEnd {
			c.fault("a call is done with %q, the deltas say %q (ended: %v)", all, it.args, it.argsEnd)
		}
		if s := item["status"]; s != "completed" && s != "incomplete" {
			c.fault("a call is done with the status %v", s)
		}
	}
}

func (c *ladderCheck) sameParts(what string, v any, parts []*partCheck) {
	got := listOf(v)
	if len(got) != len(parts) {
		c.fault("item done with %d parts in %s, announced %d", len(got), what, len(parts))
		return
	}
	for i, p := range parts {
		if p.done == nil || !reflect.DeepEqual(got[i], any(p.done)) {
			c.fault("part %d of %s: %v, done as %v", i, what, got[i], p.done)
		}
	}
}

func (c *ladderCheck) terminal(typ string, r jsonMap) {
	c.end, c.last = typ, r
	if r["status"] != strings.TrimPrefix(typ, "response.") {
		c.fault("%s has the status %v", typ, r["status"])
	}
	if (r["completed_at"] != nil) != (typ == "response.completed") || (r["incomplete_details"] != nil) != (typ == "response.incomplete") ||
		(r["error"] != nil) != (typ == "response.failed") || (c.failed != nil) != (typ == "response.failed") {
		c.fault("%s: completed_at %v, incomplete_details %v, error %v, error event %v", typ, r["completed_at"], r["incomplete_details"], r["error"], c.failed)
	}
	if e, _ := r["error"].(jsonMap); e != nil && (e["code"] != c.failed["code"] || strOf(e["code"]) == "" || strOf(e["message"]) == "") {
		c.fault("response.failed has the error %v, the error event %v", e, c.failed)
	}
	c.usage(r["usage"])
	output := listOf(r["output"])
	if len(output) != len(c.items) {
		c.fault("%d items in the output, %d were added", len(output), len(c.items))
		return
	}
	for i, it := range c.items {
		got, _ := output[i].(jsonMap)
		if it.done != nil {
			if !reflect.DeepEqual(got, it.done) {
				c.fault("output[%d] is %v, done as %v", i, got, it.done)
			}
			continue
		}
		if typ != "response.failed" {
			c.fault("output[%d] was not done", i)
		}
		if got["id"] != it.item["id"] || got["type"] != it.item["type"] || it.item["status"] != nil && got["status"] != "incomplete" {
			c.fault("output[%d] stayed open, and is %v", i, got)
		}
		if isCall(strOf(got["type"])) && strOf(got["arguments"])+strOf(got["input"]) != it.args {
			c.fault("output[%d] stayed open with %q, the deltas say %q", i, strOf(got["arguments"])+strOf(got["input"]), it.args)
		}
	}
}

func (c *ladderCheck) usage(v any) {
	u, _ := v.(jsonMap)
	if u == nil {
		return
	}
	in, out, total := u["input_tokens"], u["output_tokens"], u["total_tokens"]
	a, aok := in.(float64)
	b, bok := out.(float64)
	n, nok := total.(float64)
	details, _ := u["input_tokens_details"].(jsonMap)
	cached, cok := details["cached_tokens"].(float64)
	more, _ := u["output_tokens_details"].(jsonMap)
	_, rok := more["reasoning_tokens"].(float64)
	if !aok || !bok || !nok || !cok || !rok || a+b != n || cached > a {
		c.fault("usage %v", u)
	}
}

// openAIEvents are the types of conversion.md §D.2, and the Chat ones are what
// this program makes.
var openAIEvents = func() map[string]bool {
	set := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(`
		output_item added done
		content_part added done
		output_text delta done
		output_text.annotation added
		refusal delta done
		reasoning_summary_part added done
		reasoning_summary_text delta done
		reasoning_text delta done
		function_call_arguments delta done
		custom_tool_call_input delta done
		mcp_call_arguments delta done
		mcp_call in_progress completed failed
		mcp_list_tools in_progress completed failed
		web_search_call in_progress searching completed
		file_search_call in_progress searching completed
		code_interpreter_call in_progress interpreting completed
		code_interpreter_call_code delta done
		image_generation_call in_progress generating completed partial_image
		shell_call_command added delta done
		shell_call_output_content delta done
		apply_patch_call_operation_diff delta done
		compaction compacting
		audio delta done
		audio.transcript delta done`), "\n") {
		words := strings.Fields(line)
		for _, step := range words[1:] {
			set["response."+words[0]+"."+step] = true
		}
	}
	for _, typ := range []string{"created", "queued", "in_progress", "completed", "incomplete", "failed"} {
		set["response."+typ] = true
	}
	set["error"] = true
	return set
}()
