package doctor

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/convert/responses"
)

var (
	names = map[convert.API]string{convert.Chat: "Chat Completions", convert.Responses: "Responses"}
	paths = map[convert.API]string{convert.Chat: "/chat/completions", convert.Responses: "/responses"}
)

// probe is one question, as members of a Responses request.
type probe struct {
	name    string
	stream  bool
	members func() string
	check   func(*responses.Response) (note string, err error)
}

const plainAnswer, streams = "answers", "streams"

var probes = []probe{
	{plainAnswer, false, just(`"input":"Say hello in one word."`), hasText},
	{streams, true, just(`"stream":true,"input":"Say hello in five words."`), hasText},
	{"tools", false, just(`"input":"What is the weather in Paris? Call the function get_weather.","tools":[{"type":"function","name":"get_weather",` +
		`"description":"The current weather in a city","strict":false,"parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}]`), hasCall},
	{"JSON schema", false, just(`"input":"Name the capital of France.","text":{"format":{"type":"json_schema","name":"answer","strict":true,` +
		`"schema":{"type":"object","properties":{"capital":{"type":"string"}},"required":["capital"],"additionalProperties":false}}}`), hasCapital},
	{"images", false, func() string {
		return `"input":[{"role":"user","content":[{"type":"input_text","text":"Which colour is this image?"},{"type":"input_image","detail":"auto","image_url":"` + redSquare() + `"}]}]`
	}, hasText},
	{"reasoning", false, just(`"input":"Which is larger, 9.9 or 9.11?","reasoning":{"effort":"low"}`), hasReasoning},
}

func just(s string) func() string { return func() string { return s } }

// redSquare is a picture as a data URL, large enough for models that divide
// pictures into patches.
var redSquare = sync.OnceValue(func() string {
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.RGBA{R: 255, A: 255}), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // memory takes every write
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())
})

func outputText(r *responses.Response) string {
	var b strings.Builder
	for i := range r.Output {
		if r.Output[i].Kind() != "message" {
			continue
		}
		for _, p := range r.Output[i].Content.Parts {
			if p.Type == "output_text" && p.Text != nil {
				b.WriteString(*p.Text)
			}
		}
	}
	return b.String()
}

func hasText(r *responses.Response) (string, error) {
	if strings.TrimSpace(outputText(r)) == "" {
		return "", fmt.Errorf("the answer has no text (status %s)", r.Status)
	}
	return "", nil
}

func hasCall(r *responses.Response) (string, error) {
	for i := range r.Output {
		call := &r.Output[i]
		if call.Kind() != "function_call" {
			continue
		}
		text := call.Arguments.Text
		var args map[string]any
		if err := json.Unmarshal([]byte(text), &args); err != nil || call.Name != "get_weather" || call.CallID == "" {
			return "", fmt.Errorf("the call of the tool is not right: %q with %q", call.Name, text)
		}
		return "", nil
	}
	return "", errors.New("the model answered without calling the tool")
}

func hasCapital(r *responses.Response) (string, error) {
	var got struct {
		Capital *string `json:"capital"`
	}
	if err := json.Unmarshal([]byte(outputText(r)), &got); err != nil || got.Capital == nil {
		return "", errors.New("the answer does not follow the schema")
	}
	return "", nil
}

func hasReasoning(r *responses.Response) (string, error) {
	for i := range r.Output {
		if r.Output[i].Kind() == "reasoning" {
			return "shown", nil
		}
	}
	if r.Usage != nil && r.Usage.OutputTokensDetails.ReasoningTokens > 0 {
		return "counted, not shown", nil
	}
	return "", errors.New("the model does not reason, or does not say so")
}
