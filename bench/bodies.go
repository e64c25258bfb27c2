//go:build unix

package main

import (
	"fmt"
	"strings"
)

// turnBody is a request with the shape of a turn of Codex in the middle of its
// work, of about the given size: a long developer message first, a dozen tools,
// then calls of a shell with their outputs, each behind reasoning that only the
// upstream can read, and at the end a message of the user. Larger ones have more
// calls. It is made here, word for word, and the same each time.
func turnBody(in api, model string, size int) []byte {
	output := 2 << 10 // of one call
	if size > 256<<10 {
		output = 8 << 10
	}
	w := &turnWriter{in: in}
	w.b = fmt.Appendf(make([]byte, 0, size+2*output), `{"model":%s,%q:[`, quote(model), w.inputName())
	w.developer(prose(10 << 10))
	w.user("The tests of the parser fail since the last change. Find out why and repair it.")
	tools := w.tools()
	for n := 0; len(w.b)+len(tools)+output+1024 < size; n++ {
		w.call(n, fmt.Sprintf(`{"cmd":"sed -n '%d,%dp' internal/step/step.go","workdir":"/home/dev/project","yield_time_ms":1000}`, n*40+1, n*40+40), code(n, output))
	}
	w.user(prompt)
	w.b[len(w.b)-1] = ']'
	w.b = append(w.b, `,"tools":[`+tools+`],"tool_choice":"auto","parallel_tool_calls":true,"stream":false,"store":false,"prompt_cache_key":"019a2c4e-7f7b-7d50-9f0c-6f2f3c1f7a10"`...)
	if in == responses {
		w.b = append(w.b, `,"reasoning":{"effort":"medium","summary":"auto"},"include":["reasoning.encrypted_content"]`...)
	} else {
		w.b = append(w.b, `,"reasoning_effort":"medium"`...)
	}
	return append(w.b, '}')
}

type turnWriter struct {
	in api
	b  []byte
}

func (w *turnWriter) inputName() string {
	if w.in == chat {
		return "messages"
	}
	return "input"
}

func (w *turnWriter) developer(text string) { w.message("developer", text) }
func (w *turnWriter) user(text string)      { w.message("user", text) }

func (w *turnWriter) message(role, text string) {
	if w.in == chat {
		w.b = fmt.Appendf(w.b, `{"role":%q,"content":%s},`, role, quote(text))
		return
	}
	w.b = fmt.Appendf(w.b, `{"type":"message","role":%q,"content":[{"type":"input_text","text":%s}]},`, role, quote(text))
}

func (w *turnWriter) call(n int, arguments, output string) {
	id := fmt.Sprintf("call_%024d", n)
	if w.in == chat {
		w.b = fmt.Appendf(w.b, `{"role":"assistant","content":null,"tool_calls":[{"id":%q,"type":"function","function":{"name":"exec_command","arguments":%s}}]},`, id, quote(arguments))
		w.b = fmt.Appendf(w.b, `{"role":"tool","tool_call_id":%q,"content":%s},`, id, quote(output))
		return
	}
	w.b = fmt.Appendf(w.b, `{"type":"reasoning","id":"rs_%048d","summary":[{"type":"summary_text","text":"**Looking at step %d**"}],"content":null,"encrypted_content":"gAAAAABo%s"},`, n, n, strings.Repeat("x7Qk_v-Zr3", 60))
	w.b = fmt.Appendf(w.b, `{"type":"function_call","id":"fc_%048d","name":"exec_command","arguments":%s,"call_id":%q,"status":"completed"},`, n, quote(arguments), id)
	w.b = fmt.Appendf(w.b, `{"type":"function_call_output","call_id":%q,"output":%s},`, id, quote(output))
}

// toolNames are what a coding agent has at hand.
var toolNames = []string{
	"exec_command", "write_stdin", "update_plan", "view_image", "request_user_input", "list_files",
	"read_file", "search_text", "apply_patch", "run_tests", "get_goal", "create_goal",
}

func (w *turnWriter) tools() string {
	var list []string
	for _, name := range toolNames {
		function := fmt.Sprintf(`"name":%q,"description":%s,"strict":false,"parameters":{"type":"object","properties":{`+
			`"cmd":{"type":"string","description":"The command line that is to be run."},"workdir":{"type":"string","description":"Where to run it; by default where the session began."},`+
			`"yield_time_ms":{"type":"number","description":"How long to wait for its output before giving back control."},`+
			`"mode":{"type":"string","enum":["read","write","both"]}},"required":["cmd"],"additionalProperties":false}`, name, quote(prose(250)))
		if w.in == chat {
			list = append(list, `{"type":"function","function":{`+function+`}}`)
		} else {
			list = append(list, `{"type":"function",`+function+`}`)
		}
	}
	return strings.Join(list, ",")
}

// prose is plain text of about n bytes, in paragraphs.
func prose(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString("Read what is there before you change it, and say what you found – in one sentence, with the file's name.")
		if i%4 == 3 {
			b.WriteString("\n\n")
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// code is source text of about n bytes: what JSON has to escape is in it as often
// as in programs.
func code(seed, n int) string {
	var b strings.Builder
	for i := seed; b.Len() < n; i++ {
		fmt.Fprintf(&b, "\tif err := step%d(ctx, \"name-%d\", items[%d:]); err != nil {\n\t\treturn fmt.Errorf(\"step %d: %%w\", err)\n\t}\n", i%97, i, i%13, i)
	}
	return b.String()
}
