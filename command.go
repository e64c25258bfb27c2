package chat2response

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/dropin"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "chat2response",
		Usage:     "[mcp.json] [--keys-backend <where>] [flags]",
		Short:     "A gateway between OpenAI's Chat Completions and Responses APIs",
		CobraFunc: setUpCommand,
	})
}

func setUpCommand(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	f.String("keys-backend", "", "")
	for _, s := range dropin.Settings {
		f.String(s.Flag, "", s.Help)
		if s.Value == "" {
			f.Lookup(s.Flag).NoOptDefVal = "1"
		}
	}
	f.String("print-config", "", "")
	f.Lookup("print-config").NoOptDefVal = "caddyfile"
	f.Bool("print-env", false, "")
	f.Bool("version", false, "")
	f.Bool("demo", false, "")
	f.String("listen", demoListen, "")
	cmd.SilenceUsage = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flags := caddycmd.Flags{FlagSet: cmd.Flags()}
		switch {
		case flags.Bool("version"):
			caddyVersion, _ := caddy.Version()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "chat2response %s (Caddy %s)\n", version(), caddyVersion)
			return err
		case flags.Bool("demo"):
			return demo(flags)
		case cmd.Flags().Changed("listen"):
			return errors.New("--listen is for --demo; the gateway listens where --bind-addr says")
		}
		return serve(cmd, flags, args)
	}
	cmd.AddCommand(keysCommand(), doctorCommand(), convertCommand(), statusCommand())

	// The commands below this one have the usual help.
	usual := cmd.HelpFunc()
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == cmd {
			writeHelp(c.OutOrStdout(), c.CommandPath())
			return
		}
		usual(c, args)
	})
}

// writeHelp writes the help. path is how the command is called: in the binary
// chat2response it needs no word more.
func writeHelp(w io.Writer, path string) {
	name, own := path, false
	if strings.HasPrefix(path, "chat2response") || caddy.CustomBinaryName == "chat2response" {
		name, own = "chat2response", true
	}
	fmt.Fprintf(w, `A gateway between OpenAI's Chat Completions and Responses APIs: clients of either,
on an upstream of either.

Usage:
  %[1]s [mcp.json] [--keys-backend <where>] [flags]  serve, by flags and variables
  %[1]s --demo [mcp.json] [--listen <address>]       serve a small model that is inside, to try it, on this machine
  %[1]s keys ...                                     make, list and end API keys of the running gateway
  %[1]s status [url]                                 ask a running gateway what it serves
  %[1]s doctor <url>                                 find out what an upstream is, and how to configure it
  %[1]s convert [file]                               translate a request into the other API's form

`, name)
	if own {
		fmt.Fprint(w, `All of Caddy's commands work too, such as:
  chat2response run --config <Caddyfile>    run a Caddyfile instead of flags and variables
  chat2response help                        list them

`)
	}
	fmt.Fprint(w, `mcp.json names MCP servers, in the form that desktop programs have. Their tools are
offered to the model, and run here when it calls them.

--keys-backend says where the gateway's API keys are kept:
  redis://host:6379/    Redis (also rediss://, unix://, redis+cluster://)
  bbolt:<path>          a file; sled:<path> means the same
  memory                nowhere: they end with the process
Without it: CHAT2RESPONSE_REDIS_URL if it is set, else the file of CHAT2RESPONSE_SLED_PATH.

Each setting is a flag, a variable, or a line of a .env file; the first of these counts.
Flags without a value are switches: 1 or 0.
`)
	dropin.Usage(w)
	fmt.Fprint(w, `
Other:
  --print-config[=json]  print the configuration as a Caddyfile, or as JSON, and start nothing
  --print-env            print every setting and where it comes from, without secrets
  --version              print the versions of chat2response and of Caddy
  -h, --help             print this
`)
}
