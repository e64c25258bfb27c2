package chat2response

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/dropin"
	"github.com/labiium/chat2response/keystore"
)

// keysCommand is `caddy chat2response keys`: it asks the running server over its
// admin socket, since the server has the key store open.
func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Manages the API keys of the running gateway",
		Long: `
Manages the API keys of the running gateway, over Caddy's admin socket.

A new key's token is printed once, on standard output, and is kept nowhere.`,
	}
	flags := cmd.PersistentFlags()
	flags.String("address", "", "The admin socket's address (default: the configuration's, CHAT2RESPONSE_ADMIN_ADDR, else localhost:2019)")
	flags.StringP("config", "c", "", "The configuration file to read the admin address from")
	flags.StringP("adapter", "a", "", "The configuration's format")
	flags.String("store", "", "The key store, if the server has several")
	flags.Bool("json", false, "Print the server's reply as JSON")
	cmd.AddCommand(createCommand(), listCommand(), revokeCommand(), rotateCommand(), expirationCommand(), purgeCommand())
	return cmd
}

// keysCall is one call of the admin socket.
type keysCall struct {
	flags  caddycmd.Flags
	method string
	path   string
	query  url.Values
	body   any
}

// address is where the server's admin socket is: what a flag says, a configuration
// file, the variable of the server, or Caddy's default.
func (c keysCall) address() (string, error) {
	address, config := c.flags.String("address"), c.flags.String("config")
	if address == "" && config == "" {
		values, err := dropin.Gather(nil, place())
		if err != nil {
			return "", err
		}
		address = values.Admin()
	}
	return caddycmd.DetermineAdminAPIAddress(address, nil, config, c.flags.String("adapter"))
}

// do makes the call and decodes the reply into reply, or prints it where --json
// says so; then printed is true.
func (c keysCall) do(reply any) (printed bool, err error) {
	address, err := c.address()
	if err != nil {
		return false, err
	}
	query := c.query
	if query == nil {
		query = url.Values{}
	}
	if name := c.flags.String("store"); name != "" {
		query.Set("store", name)
	}
	var body io.Reader
	if c.method == http.MethodPost {
		b, err := json.Marshal(c.body)
		if err != nil {
			return false, err
		}
		body = bytes.NewReader(b)
	}
	uri := adminPrefix + c.path
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	resp, err := caddycmd.AdminAPIRequest(address, c.method, uri, nil, body)
	if message, ok := refusal(err); ok {
		return false, errors.New(message)
	}
	if err != nil {
		return false, fmt.Errorf("asking the server at %s: %w (is it running, with keys configured?)", address, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if c.flags.Bool("json") {
		_, err := fmt.Fprintf(os.Stdout, "%s\n", answer)
		return true, err
	}
	return false, json.Unmarshal(answer, reply)
}

// refusal is what the server said when it answered and refused; false: it did not answer, or nothing of ours did.
// Caddy's client has only text for it, which ends with the body.
func refusal(err error) (message string, ok bool) {
	if err == nil {
		return "", false
	}
	_, answered, ok := strings.Cut(err.Error(), "caddy responded with error: HTTP ")
	status, body, found := strings.Cut(answered, ": ")
	var answer struct {
		Error string `json:"error"`
	}
	if !ok || !found || json.Unmarshal([]byte(body), &answer) != nil || answer.Error == "" {
		return "", false
	}
	return printable(answer.Error) + " (HTTP " + status + ")", true
}

// keysRun makes the function of a cobra command.
func keysRun(run func(caddycmd.Flags, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		return run(caddycmd.Flags{FlagSet: cmd.Flags()}, args)
	}
}

func createCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "create", Short: "Makes a key and prints its token", Long: createHelp(), Args: cobra.NoArgs}
	f := cmd.Flags()
	f.String("label", "", "What the key is for")
	f.String("ttl", "", "How long it is good, such as 24h or 90d")
	f.String("expires", "", "When it expires: RFC 3339, or seconds since 1970")
	f.StringSlice("scope", nil, "A scope, see above; may be repeated (default: endpoints marked *, all tools)")
	f.StringSlice("model", nil, "A model that it may use, * for any characters; may be repeated (default: all)")
	f.StringSlice("tool", nil, "A tool of the gateway that it may use; may be repeated")
	f.Uint64("rpm", 0, "Requests a minute (default: no limit)")
	f.Uint64("max-parallel", 0, "Requests at one time (default: no limit)")
	f.String("tenant", "", "Whose responses and conversations it shares (default: its own)")
	cmd.RunE = keysRun(func(flags caddycmd.Flags, _ []string) error {
		body := map[string]any{}
		for flag, member := range map[string]string{"label": "label", "tenant": "tenant"} {
			if v := flags.String(flag); v != "" {
				body[member] = v
			}
		}
		for flag, member := range map[string]string{"scope": "scopes", "model": "models", "tool": "tools"} {
			if v, _ := flags.GetStringSlice(flag); len(v) > 0 {
				body[member] = v
			}
		}
		for flag, member := range map[string]string{"rpm": "rpm", "max-parallel": "max_parallel"} {
			if v, _ := flags.GetUint64(flag); v > 0 {
				body[member] = v
			}
		}
		if err := expiration(flags, body); err != nil {
			return err
		}
		return printCreated(keysCall{flags: flags, method: http.MethodPost, path: "/generate", body: body})
	})
	return cmd
}

// createHelp says what a key may do, by the keystore's own table.
func createHelp() string {
	var b strings.Builder
	b.WriteString(`
Makes a key and prints its token, once, on standard output.

A key without an endpoint scope may use the endpoints that are marked *. A key with some may use just these:

`)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range keystore.Endpoints() {
		mark := ""
		if e.ByDefault {
			mark = "*"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", e.Scope, mark, e.Opens)
	}
	w.Flush()
	b.WriteString(`
A key without any scope may use all tools of the gateway. One with scopes, whichever they are, needs one of these:

`)
	fmt.Fprintf(w, "  mcp\tall tools\n  mcp:read\tthose that claim to change nothing\n"+
		"  mcp:<server>\tthose of one server\n  mcp:<server>/<tool>\tone tool, * for any characters\n")
	w.Flush()
	fmt.Fprintf(&b, `
%s lets the key manage keys. Any other word is a label; an unknown one under endpoint:, admin: or mcp: is
refused.`, keystore.ScopeAdmin)
	return b.String()
}

// expiration adds what --ttl and --expires say to a body.
func expiration(flags caddycmd.Flags, body map[string]any) error {
	if v := flags.String("ttl"); v != "" {
		ttl, err := caddy.ParseDuration(v)
		if err != nil || ttl < time.Second {
			return fmt.Errorf("--ttl is %q, and must be a duration such as 24h or 90d", v)
		}
		body["ttl_seconds"] = uint64(ttl / time.Second)
	}
	if v := flags.String("expires"); v != "" {
		at, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return fmt.Errorf("--expires is %q, and must be a time such as 2027-01-31T00:00:00Z, or seconds since 1970", v)
			}
			at = uint64(t.Unix())
		}
		body["expires_at"] = at
	}
	return nil
}

func printCreated(call keysCall) error {
	var created keystore.Created
	if printed, err := call.do(&created); err != nil || printed {
		return err
	}
	fmt.Fprintf(os.Stderr, "id       %s\nexpires  %s\n", created.ID, moment(created.ExpiresAt, "never"))
	if created.Token == nil {
		return fmt.Errorf("this rotation was made before, and its token was printed then")
	}
	_, err := fmt.Println(*created.Token)
	return err
}

func moment(at *uint64, otherwise string) string {
	if at == nil {
		return otherwise
	}
	return time.Unix(int64(*at), 0).UTC().Format(time.RFC3339)
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists the keys", Args: cobra.NoArgs}
	cmd.Flags().String("status", "", "Only keys that are active, expired or revoked")
	cmd.RunE = keysRun(func(flags caddycmd.Flags, _ []string) error {
		query := url.Values{}
		if v := flags.String("status"); v != "" {
			query.Set("status", v)
		}
		var keys []keystore.Info
		if printed, err := (keysCall{flags: flags, method: http.MethodGet, query: query}).do(&keys); err != nil || printed {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tSTATUS\tLABEL\tCREATED\tEXPIRES\tLAST USED\tSCOPES")
		for _, k := range keys {
			label := ""
			if k.Label != nil {
				label = *k.Label
			}
			created := k.CreatedAt
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Status, printable(label), moment(&created, ""),
				moment(k.ExpiresAt, "never"), moment(k.LastUsedAt, "-"), printable(strings.Join(k.Scopes, " ")))
		}
		return w.Flush()
	})
	return cmd
}

// printable keeps what a key's owner wrote from moving the terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke <id>", Short: "Ends a key for good", Args: cobra.ExactArgs(1)}
	cmd.RunE = keysRun(func(flags caddycmd.Flags, args []string) error {
		var reply keystore.Revoked
		printed, err := keysCall{flags: flags, method: http.MethodPost, path: "/revoke", body: keyID{args[0]}}.do(&reply)
		if err != nil || printed {
			return err
		}
		if !reply.Revoked {
			return fmt.Errorf("there is no such key, or it is revoked already: %s", args[0])
		}
		_, err = fmt.Println("revoked", reply.ID)
		return err
	})
	return cmd
}

func rotateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "rotate <id>", Short: "Makes a key's successor and prints its token", Args: cobra.ExactArgs(1)}
	cmd.Flags().Duration("overlap", 0, "How long the old key goes on working, at most 168h")
	cmd.Flags().String("idempotency-key", "", "Makes a repetition of this command harmless")
	cmd.RunE = keysRun(func(flags caddycmd.Flags, args []string) error {
		overlap := flags.Duration("overlap")
		if overlap < 0 {
			return fmt.Errorf("--overlap is %s, and must not be negative", overlap)
		}
		return printCreated(keysCall{flags: flags, method: http.MethodPost, path: "/rotate", body: keystore.RotateRequest{
			ID: args[0], OverlapSeconds: uint64(overlap / time.Second), IdempotencyKey: flags.String("idempotency-key"),
		}})
	})
	return cmd
}

func expirationCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "set-expiration <id>", Short: "Moves or takes away a key's end", Args: cobra.ExactArgs(1)}
	cmd.Flags().String("ttl", "", "How long from now it is good")
	cmd.Flags().String("expires", "", "When it expires: RFC 3339, or seconds since 1970")
	cmd.Flags().Bool("never", false, "Let it never expire, if the policy allows that")
	cmd.RunE = keysRun(func(flags caddycmd.Flags, args []string) error {
		body := map[string]any{"id": args[0]}
		if err := expiration(flags, body); err != nil {
			return err
		}
		if flags.Bool("never") {
			if len(body) > 1 {
				return fmt.Errorf("--never goes with neither --ttl nor --expires")
			}
			body["expires_at"] = nil
		}
		if len(body) == 1 {
			return fmt.Errorf("say --ttl, --expires or --never")
		}
		var reply struct {
			Updated   bool    `json:"updated"`
			ExpiresAt *uint64 `json:"expires_at"`
		}
		printed, err := keysCall{flags: flags, method: http.MethodPost, path: "/set_expiration", body: body}.do(&reply)
		if err != nil || printed {
			return err
		}
		if !reply.Updated {
			return fmt.Errorf("there is no such key: %s", args[0])
		}
		_, err = fmt.Println("expires", moment(reply.ExpiresAt, "never"))
		return err
	})
	return cmd
}

func purgeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "purge", Short: "Forgets keys that have been revoked or expired for long", Args: cobra.NoArgs}
	cmd.Flags().String("older-than", "720h", "For how long they have been")
	cmd.RunE = keysRun(func(flags caddycmd.Flags, _ []string) error {
		age, err := caddy.ParseDuration(flags.String("older-than"))
		if err != nil || age < 0 {
			return fmt.Errorf("--older-than is %q, and must be a duration such as 720h or 30d", flags.String("older-than"))
		}
		seconds := uint64(age / time.Second)
		var reply keystore.Purged
		printed, err := keysCall{flags: flags, method: http.MethodPost, path: "/purge", body: keystore.PurgeRequest{OlderThanSeconds: &seconds}}.do(&reply)
		if err != nil || printed {
			return err
		}
		_, err = fmt.Println("purged", reply.Purged)
		return err
	})
	return cmd
}
