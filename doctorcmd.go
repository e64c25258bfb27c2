package chat2response

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/doctor"
)

// The variables that a gateway's upstream and its key are in.
const (
	baseURLVar = "OPENAI_BASE_URL"
	apiKeyVar  = "OPENAI_API_KEY"
)

// doctorKey is the key to send to an upstream, and the variable that it is in. Many have OPENAI_API_KEY set for OpenAI
// and for every program on their machine, so it goes to OpenAI and to the upstream that the gateway itself would send
// it to. note says that there is a key which is not sent; it is empty where there is none.
func doctorKey(address, name string, env func(string) string) (key, keyName, note string, err error) {
	if name != "" {
		if key = env(name); key == "" {
			return "", "", "", fmt.Errorf("--key-env names %s, which is not set", name)
		}
		return key, name, "", nil
	}
	key = strings.TrimSpace(env(apiKeyVar))
	u, err := url.Parse(address)
	if key == "" || err != nil {
		return "", apiKeyVar, "", nil // a bad address is said by who asks there
	}
	for _, home := range []string{"https://api.openai.com", env(baseURLVar)} {
		if h, err := url.Parse(home); err == nil && doctor.SameOrigin(u, h) {
			return key, apiKeyVar, "", nil
		}
	}
	return "", apiKeyVar, fmt.Sprintf("%[1]s is not sent to %[2]s, which is neither OpenAI nor the host of %[3]s; --key-env %[1]s sends it\n",
		apiKeyVar, u.Host, baseURLVar), nil
}

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

The key that the variable OPENAI_API_KEY holds is sent along to api.openai.com and to
the host of OPENAI_BASE_URL. To any other it is not: --key-env names the variable with
the key for that. Without a URL, OPENAI_BASE_URL is asked.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
	}
	model := cmd.Flags().String("model", "", "The model to ask (default: the first that the upstream lists and that writes text)")
	keyEnv := cmd.Flags().String("key-env", "", "The variable that holds the upstream's key; it is sent to <url>, whatever its host is")
	patience := cmd.Flags().Duration("timeout", 2*time.Minute, "How long one answer may take")
	quiet := cmd.Flags().Bool("quiet", false, "Do not tell on standard error what is being asked")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := doctor.Options{URL: os.Getenv(baseURLVar), Model: *model, Patience: *patience, Progress: cmd.ErrOrStderr()}
		if len(args) == 1 {
			o.URL = args[0]
		}
		if *quiet {
			o.Progress = io.Discard
		}
		var note string
		var err error
		if o.Key, o.KeyName, note, err = doctorKey(o.URL, *keyEnv, os.Getenv); err != nil {
			return err
		}
		fmt.Fprint(o.Progress, note)
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
