package keystore

import "context"

// Verify returns the key that token is, or
//
//   - ErrInvalidKey: not a token, no such key, or the wrong secret; which of them is not said;
//   - ErrRevoked, ErrExpired: only to those who have the secret;
//   - ErrStoreUnavailable: it could not be found out. Never "invalid" in this case.
//
// It does not look at what the key may do: ask the Key, then Admit. Cost: microseconds on memory and bbolt and when
// Redis's record is cached, else one round trip.
func (k *Keys) Verify(ctx context.Context, token string) (*Key, error) {
	id, secret, ok := parseToken(token)
	if !ok {
		return nil, ErrInvalidKey
	}
	key, err := k.lookup(ctx, id)
	if err != nil {
		return nil, err
	}
	if key == nil {
		nobody.hasSecret(secret)
		return nil, ErrInvalidKey
	}
	if !key.hasSecret(secret) {
		return nil, ErrInvalidKey
	}
	now := k.seconds()
	if key.RevokedAt != nil {
		return nil, ErrRevoked
	}
	if key.expired(now) {
		return nil, ErrExpired
	}
	if k.used.mark(id, now) {
		k.gate.saw(id)
	}
	return key, nil
}

func (k *Keys) lookup(ctx context.Context, id string) (*Key, error) {
	if k.cache != nil {
		return k.cache.get(ctx, id)
	}
	if k.remote {
		return k.fetch(ctx, id)
	}
	key, _, err := k.read(ctx, id)
	return key, err
}

// Recheck returns nil if a key that was verified before is still good, else as Verify does. Long streams and tool
// loops ask from time to time.
func (k *Keys) Recheck(ctx context.Context, id string) error {
	key, err := k.lookup(ctx, id)
	switch {
	case err != nil:
		return err
	case key == nil:
		return ErrInvalidKey
	case key.RevokedAt != nil:
		return ErrRevoked
	case key.expired(k.seconds()):
		return ErrExpired
	}
	return nil
}
