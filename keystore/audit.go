package keystore

import (
	"time"

	"go.uber.org/zap"
)

// Actor is who administers: never a token.
type Actor struct {
	// ID is a key id, or a name for whoever has the admin token or the admin socket.
	ID string
	// RemoteIP is the peer's address.
	RemoteIP string
}

// Event is one administrative act.
type Event struct {
	At      time.Time
	Action  string // generate, revoke, set_expiration, rotate, purge
	KeyID   string // empty for purge, and for generate that failed
	Actor   Actor
	OK      bool     // it was done; false with a nil Err: there was nothing to do
	Changed []string // members of the record
	Count   int      // records removed, for purge
	Err     error
}

// AuditLog returns an Audit that writes one line per event to log; the gateway gives it the logger
// "chat2response.audit". There is nothing secret in an event: no token, no salt, no hash.
func AuditLog(log *zap.Logger) func(Event) {
	return func(e Event) {
		fields := []zap.Field{
			zap.Time("at", e.At), zap.String("action", e.Action), zap.String("key_id", e.KeyID),
			zap.String("actor", e.Actor.ID), zap.String("remote_ip", e.Actor.RemoteIP),
			zap.Bool("ok", e.OK), zap.Strings("changed", e.Changed),
		}
		if e.Action == "purge" {
			fields = append(fields, zap.Int("count", e.Count))
		}
		if e.Err != nil {
			fields = append(fields, zap.Error(e.Err))
		}
		log.Info("api key administration", fields...)
	}
}
