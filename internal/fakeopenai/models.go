package fakeopenai

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"
	"slices"
)

func (s *Server) models() []string {
	if s.o.Models != nil {
		return s.o.Models
	}
	if s.o.Scenario == "demo" {
		return []string{"demo", "demo-mini"}
	}
	names := Scenarios()
	for i := range names {
		names[i] = "fake-" + names[i]
	}
	return names
}

func modelObject(name string) obj {
	return obj{{"id", name}, {"object", "model"}, {"created", 1700000000}, {"owned_by", "chat2response"}}
}

func (s *Server) listModels(w http.ResponseWriter) {
	list := []any{}
	for _, name := range s.models() {
		list = append(list, modelObject(name))
	}
	s.json(w, toJSON(obj{{"object", "list"}, {"data", list}}))
}

func (s *Server) oneModel(w http.ResponseWriter, name string) {
	if !slices.Contains(s.models(), name) {
		s.fail(w, &apiError{status: 404, kind: "invalid_request_error", param: "model", code: "model_not_found", message: "The model '" + name + "' does not exist"})
		return
	}
	s.json(w, toJSON(modelObject(name)))
}

// embeddings answers with a vector of four numbers for each input, which depend on its length only.
func (s *Server) embeddings(w http.ResponseWriter, _ *http.Request, body map[string]any, _ *memory) {
	inputs := stringsOf(body["input"])
	if body["model"] == nil {
		s.fail(w, refuse(nil, nil, "you must provide a model parameter"))
		return
	}
	if len(inputs) == 0 {
		s.fail(w, refuse(nil, nil, "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."))
		return
	}
	data, tokens := []any{}, 0
	for i, text := range inputs {
		n := float64(len(text) % 7)
		vector := []float64{0.5, -0.5, n / 8, 1 - n/8}
		tokens += len(words(text))
		var form any = vector
		if body["encoding_format"] == "base64" {
			var raw []byte
			for _, f := range vector {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
			}
			form = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, obj{{"object", "embedding"}, {"index", i}, {"embedding", form}})
	}
	s.json(w, toJSON(obj{{"object", "list"}, {"data", data}, {"model", body["model"]}, {"usage", obj{{"prompt_tokens", tokens}, {"total_tokens", tokens}}}}))
}
