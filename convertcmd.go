package chat2response

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/convert"
)

// convertCommand is `caddy chat2response convert`: what POST /convert does, on a
// file or a pipe.
func convertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert [file]",
		Short: "Translates a request into the other API's form",
		Long: `
Reads one request, of Chat Completions or Responses, from a file or from standard
input, and writes the same request of the other API. What cannot be carried over is
told on standard error. No model and no server is asked.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
	}
	dialect := cmd.Flags().String("dialect", "generic", "The kind of server that the request is for")
	model := cmd.Flags().String("model", "", "Another name for the model")
	strict := cmd.Flags().Bool("strict", false, "Refuse what cannot be carried over")
	compact := cmd.Flags().Bool("compact", false, "Write one line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := convert.Options{Dialect: convert.Dialects[*dialect], Strict: *strict, Model: *model}
		if o.Dialect == nil {
			return fmt.Errorf("--dialect is %q, and must be one of %s", *dialect, strings.Join(convert.DialectNames(), ", "))
		}
		body, err := readInput(cmd.InOrStdin(), args)
		if err != nil {
			return err
		}
		turn, err := otherForm(body, o)
		if err != nil {
			return err
		}
		for _, loss := range turn.Report {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", loss.Param, loss.What)
		}
		out := jsontext.Value(turn.Body)
		if !*compact {
			if err := out.Indent(jsontext.WithIndent("  ")); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out)
		return err
	}
	return cmd
}

// readInput reads the file that is named, or in; - is in too.
func readInput(in io.Reader, args []string) ([]byte, error) {
	name := "standard input"
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, args[0]
	}
	body, err := io.ReadAll(io.LimitReader(in, defaultMaxBody+1))
	if err == nil && len(body) > defaultMaxBody {
		err = fmt.Errorf("%s is larger than %d bytes", name, defaultMaxBody)
	}
	return body, err
}

// otherForm translates a request into the API that it is not of.
func otherForm(body []byte, o convert.Options) (*convert.Turn, error) {
	in, err := convert.Sniff(body)
	if err != nil {
		return nil, readable(err)
	}
	req, err := convert.Read(in, body)
	if err != nil {
		return nil, readable(err)
	}
	to := convert.Chat
	if in == convert.Chat {
		to = convert.Responses
	}
	turn, err := req.To(to, o)
	return turn, readable(err)
}

// readable is an error of a request for people, with the member that it is about.
func readable(err error) error {
	var e *convert.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Param == "" || strings.Contains(e.Message, e.Param) {
		return errors.New(e.Message)
	}
	return fmt.Errorf("%s: %s", e.Param, e.Message)
}
