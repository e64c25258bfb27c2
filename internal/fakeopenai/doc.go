// Package fakeopenai holds strict fake upstreams of both OpenAI APIs, Chat Completions and Responses, for tests,
// benchmarks and the demo.
//
// It is a referee: it imports nothing of this module, reads every request with its own tables and refuses what
// the real server refuses, with the real server's status, type, code, param and wording. A gateway that talks to
// it is therefore checked against a second, independent reading of the protocols and not against itself.
//
// What it answers is a scenario, named by the model ("fake-tools", "anything/fake-tools") or by
// [Options.Scenario]. How it answers is a dialect, [Options.Dialect]: the wire of OpenAI itself or of one of the
// compatible servers, with that server's known departures. [Dialects] and [Scenarios] list both.
//
// A scenario that calls tools calls only tools that were offered, so a gateway that loses `tools` gets text; it
// calls them until the conversation holds their outputs and then ends with a text that quotes these, so a gateway
// that loses an output is found out too.
//
// Nothing here is random: identifiers are counted, and [Stream] and [Answer] give the same bytes on every call.
package fakeopenai
