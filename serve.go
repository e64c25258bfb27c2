package chat2response

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/labiium/chat2response/internal/dropin"
	"github.com/labiium/chat2response/mcpbridge"
	"github.com/labiium/chat2response/store"
)

// serve is the original's command line: it makes a Caddyfile of flags, variables
// and the .env file, and runs it until the process is told to stop. It returns only
// if it could not start, or had only to print.
func serve(cmd *cobra.Command, flags caddycmd.Flags, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("there is one argument, the mcp.json, and these are too many: %s", dropin.Shown(strings.Join(args[1:], " ")))
	}
	values, err := dropin.Gather(given(flags.FlagSet), place())
	if err != nil {
		return err
	}
	if flags.Bool("print-env") {
		values.Print(cmd.OutOrStdout())
		return nil
	}
	config, err := values.Check(flags.String("keys-backend"), strings.Join(args, ""))
	if err != nil {
		return err
	}
	for name, text := range values.Environ() {
		if err := os.Setenv(name, text); err != nil {
			return fmt.Errorf("the variable %q of %s: %w", name, values.File, err)
		}
	}
	servers, err := serversOf(config.MCP)
	if err != nil {
		return err
	}
	if form := flags.String("print-config"); form != "" {
		return printConfig(cmd, config, form)
	}

	caddy.TrapSignals()
	if values.File != "" {
		config.Notes = append(config.Notes, "variables were read from "+values.File)
	}
	if err := ready(config); err != nil {
		return err
	}
	adapted, err := adaptConfig(config)
	if err != nil {
		return err
	}
	if err := caddy.Load(adapted, true); err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, config.Summary(version(), servers))
	select {}
}

// given are the flags on the command line.
func given(set *pflag.FlagSet) map[string]string {
	flags := map[string]string{}
	set.Visit(func(f *pflag.Flag) { flags[f.Name] = f.Value.String() })
	return flags
}

func place() dropin.Place {
	at := dropin.Place{Env: os.LookupEnv}
	at.Dir, _ = os.Getwd()
	at.Executable, _ = os.Executable()
	return at
}

// serversOf reads and checks an mcp.json and returns the names of its servers. The
// handler reads it again when it is provisioned.
func serversOf(path string) (names []string, err error) {
	if path == "" {
		return nil, nil
	}
	mcp, err := mcpbridge.Load(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is neither a command nor a file of MCP servers; see --help", dropin.Shown(path))
	}
	if err != nil {
		return nil, err
	}
	for _, s := range mcp.Servers {
		names = append(names, s.Name)
	}
	return names, nil
}

func adaptConfig(c *dropin.Config) ([]byte, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(c.Caddyfile()), map[string]any{"filename": "settings"})
	if err != nil {
		return nil, fmt.Errorf("these settings make no configuration (--print-config shows it): %w", err)
	}
	for _, w := range warnings {
		c.Notes = append(c.Notes, w.String())
	}
	return config, nil
}

func printConfig(cmd *cobra.Command, c *dropin.Config, form string) error {
	for _, note := range c.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
	}
	switch form {
	case "caddyfile":
		_, err := fmt.Fprint(cmd.OutOrStdout(), c.Caddyfile())
		return err
	case "json":
		config, err := adaptConfig(c)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, config, "", "\t"); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), out.String())
		return err
	}
	return fmt.Errorf("--print-config is %q, and must be caddyfile or json", form)
}

// redisPatience is how long Redis may take to answer at the start.
const redisPatience = 5 * time.Second

// ready checks what a configuration needs of its surroundings, so that what is
// wrong is told in the words of its settings.
func ready(c *dropin.Config) error {
	if err := free("BIND_ADDR", flagOf("BIND_ADDR"), net.JoinHostPort(c.Host, c.Port)); err != nil {
		return err
	}
	if c.Admin != "off" && !strings.HasPrefix(c.Admin, "unix/") {
		if err := free("CHAT2RESPONSE_ADMIN_ADDR", flagOf("CHAT2RESPONSE_ADMIN_ADDR"), c.Admin); err != nil {
			return err
		}
	}
	for _, s := range []dropin.Store{c.Keys, c.State} {
		if s.Backend != "redis" {
			continue
		}
		if err := pingRedis(s); err != nil {
			return fmt.Errorf("%s: %w", s.Chosen, err)
		}
	}
	return nil
}

// free checks that nobody listens at an address, which a variable or a flag says. Caddy
// itself would share the port with another process of the same user (SO_REUSEPORT).
// flag is the flag that says it too, if there is one.
func free(name, flag, address string) error {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		if flag != "" {
			flag = " (or --" + flag + ")"
		}
		return fmt.Errorf("%s is %q, where another program listens: stop it, or set another address%s", name, address, flag)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: %w", name, address, err)
	}
	return l.Close()
}

func flagOf(name string) string {
	for _, s := range dropin.Settings {
		if s.Var == name {
			return s.Flag
		}
	}
	return ""
}

func pingRedis(at dropin.Store) error {
	module := &store.Redis{URL: at.URL, PoolSize: at.Pool}
	if err := module.Provision(caddy.Context{}); err != nil {
		return err
	}
	if err := module.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), redisPatience)
	defer cancel()
	s, err := module.Open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Ping(ctx); err != nil && !errors.Is(err, store.ErrClockSkew) {
		return fmt.Errorf("Redis does not answer, and nothing else is used in its place: %w", err)
	}
	return nil
}
