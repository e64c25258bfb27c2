package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/labiium/chat2response/convert/responses"
)

// A streamed Chat answer, as a client sees it that has all the demands of all of
// them: conversion.md §D.9 and clients.md §2.

// chatEnd is what a Chat stream came to.
type chatEnd struct {
	finish, content, refusal, reasoning string
	calls                               []chatCallSeen
	annotations                         []any
	logprobs                            []any
	details                             []any // reasoning_details
	usage                               jsonMap
	err                                 jsonMap
}

type chatCallSeen struct{ ID, Type, Name, Args string }

// checkChat reads a stream and lists what is wrong with it.
func checkChat(stream []byte, wantUsage bool) (end chatEnd, faults []string) {
	fault := func(format string, args ...any) {
		if len(faults) < 20 {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	frames := bytes.SplitAfter(stream, []byte("\n\n"))
	if last := frames[len(frames)-1]; len(last) > 0 {
		fault("the stream does not end with a blank line: %q", last)
	}
	frames = frames[:len(frames)-1]
	var head jsonMap
	closed := "" // by [DONE] or an error
	for i, f := range frames {
		data, ok := bytes.CutPrefix(bytes.TrimSuffix(f, []byte("\n\n")), []byte("data: "))
		if closed != "" {
			fault("chunk %d comes behind %s: %s", i, closed, f)
		}
		if string(data) == "[DONE]" {
			closed = "[DONE]"
			continue
		}
		var c jsonMap
		if !ok || json.Unmarshal(data, &c) != nil {
			fault("chunk %d is none: %q", i, f)
			continue
		}
		if e, has := c["error"]; has {
			closed = "an error"
			end.err, _ = e.(jsonMap)
			if strOf(end.err["message"]) == "" || strOf(end.err["type"]) == "" || len(c) != 1 {
				fault("the error is %v", c)
			}
			continue
		}
		if head == nil {
			head = c
		}
		for _, key := range []string{"id", "created", "model", "object"} {
			if c[key] != head[key] || c[key] == nil || c[key] == "" {
				fault("chunk %d: %s is %v, was %v", i, key, c[key], head[key])
			}
		}
		usage, has := c["usage"]
		if has != wantUsage {
			fault("chunk %d: usage is there: %v", i, has)
		}
		choices := listOf(c["choices"])
		if len(choices) == 0 {
			end.usage, _ = usage.(jsonMap)
			if end.usage == nil || end.finish == "" || c["choices"] == nil {
				fault("chunk %d has no choice: %v", i, c)
			}
			continue
		}
		if usage != nil {
			fault("chunk %d has a choice and usage", i)
		}
		choice, _ := choices[0].(jsonMap)
		if len(choices) != 1 || choice["index"] != 0.0 {
			fault("chunk %d has the choices %v", i, choices)
		}
		if end.finish != "" {
			fault("chunk %d has a choice behind finish_reason", i)
		}
		if _, has := choice["finish_reason"]; !has {
			fault("chunk %d has no finish_reason", i)
		}
		if _, has := choice["logprobs"]; !has {
			fault("chunk %d has no logprobs", i)
		}
		if lp, _ := choice["logprobs"].(jsonMap); lp != nil {
			end.logprobs = append(end.logprobs, listOf(lp["content"])...)
		}
		end.finish = strOf(choice["finish_reason"])
		delta, ok := choice["delta"].(jsonMap)
		if !ok {
			fault("chunk %d has no delta", i)
		}
		if role, has := delta["role"]; has != (i == 0) || has && role != "assistant" {
			fault("chunk %d has the role %v", i, role)
		}
		for _, name := range slices.Collect(maps.Keys(delta)) {
			if !chatDelta[name] {
				fault("chunk %d has a delta with %s", i, name)
			}
		}
		end.content += strOf(delta["content"])
		end.refusal += strOf(delta["refusal"])
		end.reasoning += strOf(delta["reasoning_content"])
		end.annotations = append(end.annotations, listOf(delta["annotations"])...)
		end.details = append(end.details, listOf(delta["reasoning_details"])...)
		for _, v := range listOf(delta["tool_calls"]) {
			call, _ := v.(jsonMap)
			if err := end.call(call); err != "" {
				fault("chunk %d: %s in %v", i, err, call)
			}
		}
		if f, _ := delta["function_call"].(jsonMap); f != nil {
			if name := strOf(f["name"]); name != "" {
				end.calls = append(end.calls, chatCallSeen{Type: "legacy", Name: name})
			}
			if len(end.calls) != 1 {
				fault("chunk %d: %d legacy calls", i, len(end.calls))
				continue
			}
			end.calls[0].Args += strOf(f["arguments"])
		}
	}
	switch {
	case closed == "[DONE]" && end.finish == "":
		fault("[DONE] without finish_reason")
	case closed == "":
		fault("neither [DONE] nor an error at the end")
	case closed == "an error" && end.finish != "":
		fault("an error behind finish_reason")
	}
	return end, faults
}

var chatDelta = map[string]bool{"role": true, "content": true, "refusal": true, "reasoning_content": true, "reasoning_details": true,
	"annotations": true, "tool_calls": true, "function_call": true}

// call takes a piece of a tool call.
func (end *chatEnd) call(c jsonMap) string {
	at, ok := c["index"].(float64)
	if !ok {
		return "no index"
	}
	body, kind := jsonMap(nil), "function"
	if body, ok = c["function"].(jsonMap); !ok {
		kind = "custom"
		if body, ok = c["custom"].(jsonMap); !ok {
			return "neither function nor custom"
		}
	}
	args, hasArgs := body["arguments"].(string)
	if kind == "custom" {
		args, hasArgs = body["input"].(string)
	}
	if !hasArgs {
		return "no arguments"
	}
	if int(at) == len(end.calls) {
		seen := chatCallSeen{ID: strOf(c["id"]), Type: strOf(c["type"]), Name: strOf(body["name"]), Args: args}
		end.calls = append(end.calls, seen)
		if seen.ID == "" || seen.Type != kind || seen.Name == "" {
			return "a call begins without id, type or name"
		}
		return ""
	}
	if int(at) != len(end.calls)-1 {
		return "a call that is not the last one"
	}
	for _, name := range []string{"id", "type"} {
		if _, has := c[name]; has {
			return name + " is repeated"
		}
	}
	if _, has := body["name"]; has {
		return "the name is repeated"
	}
	end.calls[int(at)].Args += args
	return ""
}

// saidWhole tells whether a stream, of either API, has ended as a whole answer does.
func saidWhole(api API, stream []byte) bool {
	if api == Chat {
		return bytes.Contains(stream, []byte("data: [DONE]"))
	}
	return bytes.Contains(stream, []byte("\nevent: "+responses.EventCompleted+"\n")) || bytes.Contains(stream, []byte("\nevent: "+responses.EventIncomplete+"\n"))
}
