package convert

import (
	"strings"

	"github.com/labiium/chat2response/convert/chat"
	"github.com/labiium/chat2response/convert/responses"
)

// content translates the content of a user, system or developer message at a place.
func (x *itemReader) content(at string, c responses.Content) (chat.Content, error) {
	if c.IsText() {
		return chat.Text(c.Text), nil
	}
	parts := make([]chat.Part, 0, len(c.Parts))
	onlyText := true
	for j := range c.Parts {
		p, err := x.part(element(at+".content", j), &c.Parts[j])
		if err != nil {
			return chat.Content{}, err
		}
		if p.Type == "text" && p.Text == "" {
			continue // a text part must have text
		}
		onlyText = onlyText && p.Type == "text" && p.CacheBreakpoint == nil
		parts = append(parts, p)
	}
	if !onlyText || len(parts) > 1 && !x.d.JoinText {
		return chat.Parts(parts...), nil
	}
	texts := make([]string, len(parts))
	for j := range parts {
		texts[j] = parts[j].Text
	}
	return chat.Text(strings.Join(texts, "\n\n")), nil
}

// partHints leaves out the members of a part that Chat has no word for.
func (x *itemReader) partHints(at string, p *responses.Part) error {
	if p.Detail != "" && p.Type == "input_file" {
		if err := x.report.hint(x.o, at+".detail", "its files have no detail"); err != nil {
			return err
		}
	}
	return strays[responses.Part](x.report, x.o, at, p.Unknown)
}

func (x *itemReader) part(at string, p *responses.Part) (chat.Part, error) {
	out := chat.Part{}
	switch p.Type {
	case "input_text", "output_text", "text":
		out = chat.Part{Type: "text", Text: p.Str()}
	case "input_image":
		if p.ImageURL == "" && p.FileID == "" {
			return out, missing(at + ".image_url")
		}
		if p.ImageURL == "" {
			return out, unsupported(at+".file_id", "Unsupported parameter: '%s.file_id'. The upstream has no stored files; send the image as a data URL in 'image_url'.", at)
		}
		detail := p.Detail
		switch {
		case detail == "auto":
			detail = ""
		case detail == "original" && !x.d.Original:
			detail = "high"
			if err := x.report.change(x.o, at+".detail", "changed to high", "it does not know original"); err != nil {
				return out, err
			}
		}
		out = chat.Part{Type: "image_url", ImageURL: &chat.ImageURL{URL: p.ImageURL, Detail: detail}}
	case "input_file":
		f := &chat.File{FileID: p.FileID, FileData: p.FileData, Filename: p.Filename}
		switch {
		case p.FileURL == "" && p.FileID == "" && p.FileData == "":
			return out, missing(at + ".file_data")
		case p.FileURL != "":
			return out, unsupported(at+".file_url", "Unsupported parameter: '%s.file_url'. Chat Completions takes no file URLs; send the content in 'file_data'.", at)
		case p.FileID != "" && !x.d.FileIDs:
			return out, unsupported(at+".file_id", "Unsupported parameter: '%s.file_id'. The upstream has no stored files; send the content in 'file_data'.", at)
		case !x.d.Files:
			return out, unsupported(at, "Unsupported content part: the upstream takes no files ('%s'). Send their text.", at)
		}
		out = chat.Part{Type: "file", File: f}
	case "input_audio":
		out = chat.Part{Type: "input_audio", InputAudio: p.InputAudio}
	case "":
		return out, missing(at + ".type")
	default:
		return out, invalid("invalid_value", at, "Invalid value: '%s'. Supported values are: 'input_text', 'input_image', 'input_file' and 'input_audio'.", p.Type)
	}
	if err := x.partHints(at, p); err != nil {
		return out, err
	}
	if isSet(p.CacheBreakpoint) {
		if !x.d.knows("prompt_cache_options") {
			return out, x.report.hint(x.o, at+".prompt_cache_breakpoint", "the upstream has no such parameter")
		}
		out.CacheBreakpoint = p.CacheBreakpoint
	}
	return out, nil
}
