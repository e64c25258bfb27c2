package keystore

import (
	"fmt"
	"strconv"
	"strings"
)

// maxLifetime is the longest life a key may be given, in seconds: ten years.
const maxLifetime = 10 * 365 * 24 * 3600

// Policy says how long keys live. The rule of the original's README, which its code did not keep: a key ends, unless
// AllowNoExpiration says that it need not.
type Policy struct {
	// AllowNoExpiration lets keys be minted without an end, and an end be taken away.
	AllowNoExpiration bool
	// DefaultTTL is the life of a key that was minted with neither expires_at nor ttl_seconds, in seconds; 0: there
	// is none, and such a request is refused (or, with AllowNoExpiration, gets a key without an end). At most ten
	// years.
	DefaultTTL uint64
}

// DefaultPolicy is the README's: keys end, after a day if nothing else is said.
func DefaultPolicy() Policy { return Policy{DefaultTTL: 86400} }

func (p Policy) validate() error {
	if p.DefaultTTL > maxLifetime {
		return fmt.Errorf("keys: default TTL of %d seconds; at most %d (10 years) is possible", p.DefaultTTL, maxLifetime)
	}
	return nil
}

// PolicyFromEnv reads the original's variables by lookup (os.LookupEnv): CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION,
// CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS (0: none) and CHAT2RESPONSE_KEYS_REQUIRE_EXPIRATION. Yes is 1, true, yes or
// on; no is 0, false, no, off or empty; anything else is an error. REQUIRE_EXPIRATION=0 alone lets nothing through
// that ALLOW_NO_EXPIRATION does not, so it comes back as a notice for the operator instead of passing for a setting.
func PolicyFromEnv(lookup func(string) (string, bool)) (p Policy, notice string, err error) {
	const (
		require = "CHAT2RESPONSE_KEYS_REQUIRE_EXPIRATION"
		allow   = "CHAT2RESPONSE_KEYS_ALLOW_NO_EXPIRATION"
		ttl     = "CHAT2RESPONSE_KEYS_DEFAULT_TTL_SECONDS"
	)
	p = DefaultPolicy()
	if p.AllowNoExpiration, err = yes(lookup, allow, false); err != nil {
		return p, "", err
	}
	required, err := yes(lookup, require, true)
	if err != nil {
		return p, "", err
	}
	if v, ok := lookup(ttl); ok && strings.TrimSpace(v) != "" {
		if p.DefaultTTL, err = strconv.ParseUint(strings.TrimSpace(v), 10, 64); err != nil {
			return p, "", fmt.Errorf("%s=%q: want a number of seconds", ttl, v)
		}
	}
	_, said := lookup(require)
	switch {
	case said && required && p.AllowNoExpiration:
		notice = allow + " overrides " + require + ": keys may be minted without an end"
	case !required && !p.AllowNoExpiration:
		notice = require + "=0 has no effect alone: set " + allow + "=1 for keys without an end"
	}
	return p, notice, p.validate()
}

func yes(lookup func(string) (string, bool), name string, byDefault bool) (bool, error) {
	v, ok := lookup(name)
	if !ok {
		return byDefault, nil
	}
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off", "":
		return false, nil
	}
	return false, fmt.Errorf("%s=%q: want 1 or 0", name, v)
}

// expiry returns when a key ends that is asked for at now: expires_at before ttl_seconds before the default. nil is
// never.
func (p Policy) expiry(now uint64, expiresAt, ttl *uint64) (*uint64, error) {
	switch {
	case expiresAt != nil && *expiresAt <= now:
		return nil, invalid("expires_at", "expires_at must be in the future")
	case expiresAt != nil && *expiresAt-now > maxLifetime:
		return nil, invalid("expires_at", "expires_at is more than %d seconds (10 years) away", maxLifetime)
	case expiresAt != nil:
		return new(*expiresAt), nil
	case ttl != nil && (*ttl == 0 || *ttl > maxLifetime):
		return nil, invalid("ttl_seconds", "ttl_seconds is %d; it must be from 1 to %d (10 years)", *ttl, maxLifetime)
	case ttl != nil:
		return new(now + *ttl), nil
	case p.DefaultTTL != 0:
		return new(now + p.DefaultTTL), nil
	case p.AllowNoExpiration:
		return nil, nil
	}
	return nil, invalid("expires_at", "Expiration required: provide expires_at or ttl_seconds (or configure default TTL)")
}
