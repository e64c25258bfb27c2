package chat2response

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/labiium/chat2response/convert"
	"github.com/labiium/chat2response/keystore"
)

// maxAdminBody is the largest body of a request to /keys, in bytes.
const maxAdminBody = 64 << 10

// keyRoutes are the endpoints below /keys, and their methods.
var keyRoutes = map[string][]string{
	"":                get,
	"/generate":       post,
	"/revoke":         post,
	"/set_expiration": post,
	"/rotate":         post,
	"/purge":          post,
}

// keysAPI answers /keys and what is below it, to those who may.
func (x *exchange) keysAPI() error {
	k := x.h.Keys
	x.w.Header().Set("Cache-Control", "no-store")
	actor, err := k.admin(x)
	if err != nil {
		x.outcome = "unauthorized"
		return err
	}
	keys, release, err := k.ring.use(x.r.Context())
	if err != nil {
		return x.keyError(keystore.ErrStoreUnavailable)
	}
	defer release()
	x.outcome = "keys"
	if err := serveKeys(x.w, x.r, x.route.path, keys, actor); err != nil {
		return x.keyError(err)
	}
	return nil
}

// serveKeys answers one endpoint; path is what stands behind /keys. Errors are of
// type *keystore.Error.
func serveKeys(w http.ResponseWriter, r *http.Request, path string, keys *keystore.Keys, by keystore.Actor) error {
	ctx := r.Context()
	switch path {
	case "":
		return listKeys(w, r, keys)
	case "/generate":
		return answerKeys(w, r, func(req keystore.GenerateRequest) (any, error) { return keys.Generate(ctx, req, by) })
	case "/revoke":
		return answerKeys(w, r, func(req keyID) (any, error) {
			if req.ID == "" {
				return nil, missingID
			}
			return keys.Revoke(ctx, req.ID, by)
		})
	case "/set_expiration":
		return answerKeys(w, r, func(req keystore.SetExpirationRequest) (any, error) {
			if req.ID == "" {
				return nil, missingID
			}
			return keys.SetExpiration(ctx, req, by)
		})
	case "/rotate":
		return answerKeys(w, r, func(req keystore.RotateRequest) (any, error) {
			if req.ID == "" {
				return nil, missingID
			}
			return keys.Rotate(ctx, req, by)
		})
	}
	return answerKeys(w, r, func(req keystore.PurgeRequest) (any, error) { return keys.Purge(ctx, req, by) })
}

// keyID is the body of POST /keys/revoke.
type keyID struct {
	ID string `json:"id"`
}

var missingID = &keystore.Error{
	Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "missing_required_parameter", Param: "id",
	Message: "Missing required parameter: 'id'.",
}

// answerKeys reads a body, acts on it and writes the reply.
func answerKeys[T any](w http.ResponseWriter, r *http.Request, act func(T) (any, error)) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if err != nil {
		return badKeys(http.StatusRequestEntityTooLarge, "The body is too large or could not be read.")
	}
	var req T
	if err := json.Unmarshal(body, &req, json.RejectUnknownMembers(true)); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) && semantic.JSONPointer != "" {
			e := badKeys(http.StatusBadRequest, "Invalid or unknown member '"+strings.TrimPrefix(string(semantic.JSONPointer), "/")+"' in the body.")
			e.Param = strings.TrimPrefix(string(semantic.JSONPointer), "/")
			return e
		}
		return badKeys(http.StatusBadRequest, "The body is not a JSON object: "+err.Error())
	}
	reply, err := act(req)
	if err != nil {
		return err
	}
	return writeKeys(w, reply)
}

func badKeys(status int, message string) *keystore.Error {
	return &keystore.Error{Status: status, Type: "invalid_request_error", Code: "invalid_value", Message: message}
}

func writeKeys(w http.ResponseWriter, reply any) error {
	body, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	w.Write(body)
	return nil
}

// listKeys answers GET /keys: all keys, as the original does, or a page of them
// if the query asks for one.
func listKeys(w http.ResponseWriter, r *http.Request, keys *keystore.Keys) error {
	query := r.URL.Query()
	req := keystore.ListRequest{After: query.Get("after"), Status: query.Get("status")}
	if v := query.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			e := badKeys(http.StatusBadRequest, "Invalid 'limit': it must be 1 to 1000.")
			e.Param = "limit"
			return e
		}
		req.Limit = n
	}
	list, err := keys.List(r.Context(), req)
	if err != nil {
		return err
	}
	if list.Next != "" {
		w.Header().Set("X-Next-Cursor", list.Next)
	}
	if list.Keys == nil {
		list.Keys = []keystore.Info{}
	}
	return writeKeys(w, list.Keys)
}

// admin says who may administer keys: whoever has an admin token, or a key with
// the scope for it; where no admin token is set, clients that were started on this machine.
func (k *Keys) admin(x *exchange) (keystore.Actor, error) {
	r := x.r
	peer, _, _ := net.SplitHostPort(r.RemoteAddr)
	if k.InsecureAdmin {
		return keystore.Actor{ID: "insecure", RemoteIP: peer}, nil
	}
	token, err := credential(r.Header)
	if err != nil {
		return keystore.Actor{}, err
	}
	if token != "" {
		digest := sha256.Sum256([]byte(token))
		for i := range k.admins {
			if subtle.ConstantTimeCompare(digest[:], k.admins[i][:]) == 1 {
				return keystore.Actor{ID: "admin_token", RemoteIP: peer}, nil
			}
		}
		// Behind a proxy everybody has one address: who has the token is not kept out by those who guess at it.
		if wait := k.fails.wait(peer, time.Now()); wait > 0 {
			x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			return keystore.Actor{}, &convert.Error{
				Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded",
				Message: "Too many wrong tokens from this address.",
			}
		}
		actor, err := k.adminKey(x, token, peer)
		if err == nil || len(k.admins) > 0 {
			return actor, err
		}
	}
	if len(k.admins) > 0 {
		x.w.Header().Set("WWW-Authenticate", `Bearer realm="chat2response"`)
		return keystore.Actor{}, &convert.Error{
			Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key",
			Message: "Managing keys needs the admin token: send it as 'Authorization: Bearer <token>'.",
		}
	}
	if !isLocalProgram(r) {
		return keystore.Actor{}, &convert.Error{
			Status: http.StatusForbidden, Type: "permission_error", Code: "admin_token_required",
			Message: "Managing keys needs an admin token, but for a program that was started on the gateway's machine by the gateway's own user or root, and that is no proxy, tunnel or server. Set " +
				adminTokenVar + " (or admin_token in the keys block) and send it as 'Authorization: Bearer <token>', or use 'chat2response keys' on that machine.",
		}
	}
	return keystore.Actor{ID: "local", RemoteIP: peer}, nil
}

// adminKey takes a key of the gateway that has the scope to administer keys.
func (k *Keys) adminKey(x *exchange, token, peer string) (keystore.Actor, error) {
	keys, release, err := k.ring.use(x.r.Context())
	if err != nil {
		return keystore.Actor{}, x.keyError(keystore.ErrStoreUnavailable)
	}
	defer release()
	key, err := keys.Verify(x.r.Context(), token)
	if err == nil {
		err = key.CheckAdmin()
	}
	if err != nil {
		if !errors.Is(err, keystore.ErrStoreUnavailable) {
			k.fails.add(peer, time.Now())
			x.h.logger.Warn("wrong token for /keys", zap.String("remote_ip", peer))
		}
		return keystore.Actor{}, x.keyError(err)
	}
	return keystore.Actor{ID: key.ID, RemoteIP: peer}, nil
}

// keyHeaders are the headers of a refusal.
func keyHeaders(header http.Header, e *keystore.Error) {
	if e.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="chat2response"`)
	}
	if e.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
}

// failures count wrong tokens by address.
type failures struct {
	mu     sync.Mutex
	counts map[string]failure
}

type failure struct {
	n     int
	since time.Time
}

const (
	maxFailures   = 10
	failureWindow = time.Minute
	maxAddresses  = 10_000
)

// wait is how long an address has to wait, 0 if it need not.
func (f *failures) wait(address string, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts[address]
	if c.n < maxFailures {
		return 0
	}
	return max(0, failureWindow-now.Sub(c.since))
}

func (f *failures) add(address string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil || len(f.counts) >= maxAddresses {
		f.counts = map[string]failure{}
	}
	c := f.counts[address]
	if now.Sub(c.since) >= failureWindow {
		c = failure{since: now}
	}
	c.n++
	f.counts[address] = c
}
