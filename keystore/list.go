package keystore

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/store"
)

// Info is what is shown of a key: the original's members first, with explicit nulls. Nothing of the secret.
type Info struct {
	ID        string  `json:"id"`
	Label     *string `json:"label"`
	CreatedAt uint64  `json:"created_at"`
	ExpiresAt *uint64 `json:"expires_at"`
	RevokedAt *uint64 `json:"revoked_at"`
	Scopes    Scopes  `json:"scopes"`

	Status     string  `json:"status"` // active, expired or revoked
	Hint       string  `json:"hint"`
	LastUsedAt *uint64 `json:"last_used_at"` // to about a minute

	Tenant      string         `json:"tenant,omitzero"`
	Models      []string       `json:"models,omitzero"`
	Tools       []string       `json:"tools,omitzero"`
	RPM         uint64         `json:"rpm,omitzero"`
	MaxParallel uint64         `json:"max_parallel,omitzero"`
	RotatedFrom string         `json:"rotated_from,omitzero"`
	ReplacedBy  string         `json:"replaced_by,omitzero"`
	CreatedBy   string         `json:"created_by,omitzero"`
	Meta        jsontext.Value `json:"meta,omitzero"`
}

// ListRequest says which keys to list, oldest first.
type ListRequest struct {
	// Limit is the most keys wanted, up to 1000; 0 wants all, as GET /keys without a query always has.
	Limit int
	// After is the id of the last key seen, or a Listing's Next, which stays good when that key is purged.
	After string
	// Status keeps active, expired or revoked keys only; "" keeps all.
	Status string
}

// Listing is a page of keys. Next is where the following page begins; "" when there is none.
type Listing struct {
	Keys []Info
	Next string
}

var statuses = []string{"", "active", "expired", "revoked"}

// List lists keys. Records that cannot be read are left out, and named in the log.
func (k *Keys) List(ctx context.Context, req ListRequest) (Listing, error) {
	if !slices.Contains(statuses, req.Status) {
		return Listing{}, invalid("status", "status %q: want active, expired or revoked", req.Status)
	}
	if req.Limit < 0 || req.Limit > store.MaxPage {
		return Listing{}, invalid("limit", "limit is %d; it must be from 1 to %d", req.Limit, store.MaxPage)
	}
	after, err := k.position(ctx, req.After)
	if err != nil {
		return Listing{}, err
	}
	list := Listing{Keys: []Info{}}
	p := store.Page{After: after, Limit: store.MaxPage}
	if req.Limit > 0 && req.Status == "" {
		p.Limit = req.Limit
	}
	for {
		page, err := k.store.List(ctx, Space, p)
		if err != nil {
			return Listing{}, ErrStoreUnavailable.because(err)
		}
		infos, err := k.infos(ctx, page)
		if err != nil {
			return Listing{}, ErrStoreUnavailable.because(err)
		}
		for i, e := range page {
			p.After = e.Position
			if infos[i].ID == "" || (req.Status != "" && infos[i].Status != req.Status) {
				continue
			}
			list.Keys = append(list.Keys, infos[i])
			if len(list.Keys) == req.Limit {
				list.Next = cursor(e.Position)
				return list, nil
			}
		}
		if len(page) < p.Limit {
			return list, nil
		}
	}
}

// infos has one Info per entry, with an empty ID where the record cannot be read.
func (k *Keys) infos(ctx context.Context, page []store.Entry) ([]Info, error) {
	ids := make([]string, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	uses, err := k.uses(ctx, ids)
	if err != nil {
		return nil, err
	}
	now := k.seconds()
	infos := make([]Info, len(page))
	for i, e := range page {
		key, err := decode(e.ID, e.Value)
		if err != nil {
			k.Log.Warn("unreadable key record", zap.String("key_id", e.ID), zap.Error(err))
			continue
		}
		r := key.Record
		infos[i] = Info{
			ID: r.ID, Label: r.Label, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt, Scopes: r.Scopes,
			Status: k.status(&r, now), Hint: r.Hint(), LastUsedAt: uses[i],
			Tenant: r.Tenant, Models: r.Models, Tools: r.Tools, RPM: r.RPM, MaxParallel: r.MaxParallel,
			RotatedFrom: r.RotatedFrom, ReplacedBy: r.ReplacedBy, CreatedBy: r.CreatedBy, Meta: r.Meta,
		}
	}
	return infos, nil
}

// cursor is a position as text: score.id.
func cursor(p store.Position) string { return strconv.FormatInt(p.Score, 10) + "." + p.ID }

// position reads a cursor, or looks up where a bare id is.
func (k *Keys) position(ctx context.Context, after string) (store.Position, error) {
	if after == "" {
		return store.Position{}, nil
	}
	if score, id, ok := strings.Cut(after, "."); ok && isID(id) {
		if n, err := strconv.ParseInt(score, 10, 64); err == nil {
			return store.Position{Score: n, ID: id}, nil
		}
	}
	key, _, err := k.read(ctx, after)
	if err != nil {
		return store.Position{}, err
	}
	if key == nil {
		return store.Position{}, invalid("after", "after is neither the id of a key nor a cursor; use the value of X-Next-Cursor")
	}
	return store.Position{Score: key.score(), ID: key.ID}, nil
}
