package chat2response

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/doctor"
)

// doctorCommand is `caddy chat2response doctor`.
func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor <url>",
		Short: "Finds out what an upstream is, and how to configure it",
		Long: `
Asks an upstream for its models, and one of them a dozen short questions over both
APIs: an answer, a stream, a tool, a JSON schema, an image, reasoning. Prints what
works, the dialect that fits, and the Caddyfile to use. It ends with status 1 if the
upstream cannot be used.

The key that the variable OPENAI_API_KEY holds is sent along. Without a URL,
OPENAI_BASE_URL is asked.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
	}
	model := cmd.Flags().String("model", "", "The model to ask (default: the first that the upstream lists and that writes text)")
	patience := cmd.Flags().Duration("timeout", 2*time.Minute, "How long one answer may take")
	quiet := cmd.Flags().Bool("quiet", false, "Do not tell on standard error what is being asked")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := doctor.Options{URL: os.Getenv("OPENAI_BASE_URL"), Key: os.Getenv("OPENAI_API_KEY"), Model: *model, Patience: *patience, Progress: cmd.ErrOrStderr()}
		if len(args) == 1 {
			o.URL = args[0]
		}
		if *quiet {
			o.Progress = io.Discard
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		report, err := doctor.Examine(ctx, o)
		if err != nil {
			return err
		}
		if err := report.Write(cmd.OutOrStdout()); err != nil {
			return err
		}
		if report.Broken != "" {
			cmd.SilenceErrors = true // the report has said it
			return errors.New("the upstream cannot be used")
		}
		return nil
	}
	return cmd
}
