// Package fakeopenai holds strict fake upstreams of both OpenAI APIs, Chat Completions and Responses, for tests,
// benchmarks and the demo.
//
// It is a referee: it imports nothing of this module, reads every request with its own tables and refuses what
// the real server refuses, with the real server's status, type, code, param and wording. A gateway that talks to
// it is therefore checked against a second, independent reading of the protocols and not against itself.
//
// What it answers is a scenario, named by the model ("fake-tools", "anything/fake-tools") or by
// [Options.Scenario]. How it answers is a dialect, [Options.Dialect]: the wire of OpenAI itself or of one of the
// compatible servers, with that server's known departures. Nothing is random: identifiers are counted, and
// [Stream] and [Answer] give the same bytes on every call.
//
// # Scenarios
//
//	text, long, unicode, empty     text: a sentence, 2000 deltas, all that breaks careless readers, nothing
//	echo                           the user's last words
//	image                          how many images it saw, and their media types; refuses a request without any
//	json                           a value built from the schema of response_format or text.format
//	reasoning                      reasoning, then text. OpenAI's own dialects show it in the Responses API only,
//	                               and there only to who asks for a summary; in Chat Completions they count it
//	tool, tools                    one call, two parallel calls: of get_weather if offered, else of the first
//	                               functions, with arguments built from their schemas
//	tool_text, reasoning_tool      text or reasoning, then a call
//	custom                         a call of a custom tool, or of a function {"input": string} that stands for one
//	namespaced                     a call of a tool in a namespace, or of one with a flattened name, "ns__tool"
//	refusal, annotations, logprobs text with these. Log probabilities come in any text when asked for
//	length, length_tool, filter    ends early: in text, in a call's arguments, by the content filter
//	abort                          the server gives up and says so in finish_reason, or as midstream where it has no word
//	usage_every_chunk              running usage on each chunk of Chat Completions
//	error400 … error503            fails at once: 400, 401, 404, 429 with Retry-After, 500, 503
//	errorfilter                    fails at once: the prompt is filtered
//	midstream, cut, stall          some text, then an error event, a dead connection, silence until the client leaves
//	cut_early                      a dead connection behind the header
//	nonjson                        a web page with status 200
//	demo                           the model of chat2response --demo
//
// A scenario that calls tools calls only tools that were offered, so a gateway that loses `tools` gets text that
// says so. It calls until the conversation holds outputs and then ends with a text that quotes them, so a gateway
// that loses an output is found out too. Limits on tokens (a word is one), `stop`, `n` and log probabilities are
// honoured in every scenario.
package fakeopenai
