package chat2response

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/labiium/chat2response/internal/dropin"
)

// statusPatience is how long a gateway may take to say how it is.
const statusPatience = 5 * time.Second

// statusCommand is `caddy chat2response status`, which images use for their health.
func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [url]",
		Short: "Asks a running gateway what it serves",
		Long: `
Asks a running gateway for /status and prints it. It ends with status 1 if no gateway
answers. Without a URL, the one that listens on BIND_ADDR on this machine is asked.`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
	}
	quiet := cmd.Flags().Bool("quiet", false, "Print nothing where all is well")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		base := ""
		if len(args) == 1 {
			base = args[0]
		} else {
			var err error
			if base, err = ownURL(); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), statusPatience)
		defer cancel()
		body, err := askStatus(ctx, base)
		if err != nil || *quiet {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", body)
		return err
	}
	return cmd
}

// ownURL is where a gateway with this environment listens.
func ownURL() (string, error) {
	values, err := dropin.Gather(nil, place())
	if err != nil {
		return "", err
	}
	config, err := values.Check("", "")
	if err != nil {
		return "", err
	}
	host := config.Host
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, config.Port), nil
}

// askStatus returns the indented status of the gateway at a URL.
func askStatus(ctx context.Context, base string) ([]byte, error) {
	shown := dropin.Shown(base)
	address, err := url.JoinPath(base, "status")
	if err != nil { // which repeats what it does not understand
		return nil, fmt.Errorf("%s is no URL; write one such as http://localhost:8088", shown)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // not through a proxy
	resp, err := client.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok { // its text has the whole query
		return nil, fmt.Errorf("asking %s: %w", shown, e.Err)
	} else if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var s status
	if err := json.Unmarshal(body, &s); err != nil || resp.StatusCode != http.StatusOK || s.Name != "chat2response" {
		return nil, fmt.Errorf("%s is answered %s, and not by chat2response", dropin.Shown(address), strings.ToLower(resp.Status))
	}
	return json.MarshalIndent(json.RawMessage(body), "", "  ")
}
