package store

import (
	"fmt"
	"strings"
)

// ParseSpec reads the argument of the original's --keys-backend, in any case of the scheme:
//
//	memory
//	bbolt:<path>   bolt:<path>   bbolt      (the last: the module's default path)
//	sled:<path>                             another spelling of bbolt:<path>, with a notice for the operator
//	redis://…  rediss://…  unix://…  redis+cluster://…  rediss+cluster://…  (see [Redis])
//
// Anything else is an error; the original took what it did not know for nothing and went on with another store. The
// module returned is not provisioned: encode it into a configuration, or provision it.
func ParseSpec(spec string) (m Module, notice string, err error) {
	spec = strings.TrimSpace(spec)
	scheme, rest, colon := strings.Cut(spec, ":")
	switch strings.ToLower(scheme) {
	case "memory":
		if !colon {
			return new(Memory), "", nil
		}
	case "bbolt", "bolt":
		if !colon || rest != "" {
			return &Bbolt{Path: rest}, "", nil
		}
	case "sled":
		if rest != "" {
			return &Bbolt{Path: rest}, "sled:" + rest + " is read as bbolt:" + rest + "; sled databases of the Rust chat2response cannot be read", nil
		}
	case "redis", "rediss", "unix", "redis+cluster", "rediss+cluster":
		if strings.HasPrefix(rest, "//") {
			return &Redis{URL: strings.ToLower(scheme) + ":" + rest}, "", nil
		}
	}
	return nil, "", fmt.Errorf("keys backend %q is unknown; there are memory, bbolt:<path>, redis://…, rediss://…, unix://…, redis+cluster://…", shorten(spec))
}

// shorten shows the scheme of something that may hold a password.
func shorten(spec string) string {
	if i := strings.Index(spec, "://"); i >= 0 {
		return spec[:i] + "://…"
	}
	return spec[:min(len(spec), 40)]
}
