package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/labiium/chat2response/store"
)

func TestParseSpec(t *testing.T) {
	for _, test := range []struct{ spec, want string }{
		{"memory", `&store.Memory{Name:"", MaxBytes:0}`},
		{" MEMORY ", `&store.Memory{Name:"", MaxBytes:0}`},
		{"bbolt", `&store.Bbolt{Path:"", Sync:"", SyncInterval:0}`},
		{"bbolt:/data/keys.db", `&store.Bbolt{Path:"/data/keys.db", Sync:"", SyncInterval:0}`},
		{"Bolt:C:/x.db", `&store.Bbolt{Path:"C:/x.db", Sync:"", SyncInterval:0}`},
		{"sled:./data/keys.db", `&store.Bbolt{Path:"./data/keys.db", Sync:"", SyncInterval:0} notice`},
		{"redis://h:1/2", `&store.Redis{URL:"redis://h:1/2", Username:"", Password:"", Prefix:"", PoolSize:0, MinReplicas:0}`},
		{"REDISS://h", `&store.Redis{URL:"rediss://h", Username:"", Password:"", Prefix:"", PoolSize:0, MinReplicas:0}`},
		{"unix:///run/redis.sock", `&store.Redis{URL:"unix:///run/redis.sock", Username:"", Password:"", Prefix:"", PoolSize:0, MinReplicas:0}`},
		{"redis+cluster://h:1?addr=i:2", `&store.Redis{URL:"redis+cluster://h:1?addr=i:2", Username:"", Password:"", Prefix:"", PoolSize:0, MinReplicas:0}`},
		{"", "error"}, {"memory:", "error"}, {"bbolt:", "error"}, {"sled:", "error"}, {"sled", "error"}, {"redis", "error"},
		{"redis:h", "error"}, {"file:/x", "error"}, {"postgres://u:SECRET@h", "error"}, {"http://u:SECRET@h", "error"},
	} {
		m, notice, err := store.ParseSpec(test.spec)
		got := fmt.Sprintf("%#v", m)
		if notice != "" {
			got += " notice"
		}
		if err != nil {
			got = "error"
			if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: the error shows the password: %v", test.spec, err)
			}
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.spec, got, test.want)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	for _, test := range []struct {
		m    caddyfile.Unmarshaler
		text string
		want string // empty: an error
	}{
		{new(store.Memory), "memory", `&{ 0}`},
		{new(store.Memory), "memory {\n name a\n max_bytes 10MiB\n}", `&{a 10485760}`},
		{new(store.Memory), "memory x", ""},
		{new(store.Memory), "memory {\n max_bytes lots\n}", ""},
		{new(store.Memory), "memory {\n size 1\n}", ""},
		{new(store.Bbolt), "bbolt", `&{  0}`},
		{new(store.Bbolt), "bbolt /a/b.db", `&{/a/b.db  0}`},
		{new(store.Bbolt), "bbolt /a/b.db {\n sync interval\n sync_interval 250ms\n}", `&{/a/b.db interval 250000000}`},
		{new(store.Bbolt), "bbolt {\n sync never\n}", `&{ never 0}`},
		{new(store.Bbolt), "bbolt {\n sync\n}", ""},
		{new(store.Bbolt), "bbolt {\n sync_interval soon\n}", ""},
		{new(store.Bbolt), "bbolt /a/b.db c", ""},
		{new(store.Bbolt), "bbolt {\n path\n}", ""},
		{new(store.Redis), "redis redis://h {\n username u\n password {env.P}\n prefix p:\n pool_size 3\n min_replicas 1\n}", `&{redis://h u {env.P} p: 3 1}`},
		{new(store.Redis), "redis redis://h {\n pool_size many\n}", ""},
		{new(store.Redis), "redis redis://h {\n prefix a b\n}", ""},
	} {
		err := test.m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
		got := fmt.Sprint(test.m)
		if err != nil {
			got = ""
		}
		if got != test.want {
			t.Errorf("%s:\n got %q, %v\nwant %q", test.text, got, err, test.want)
		}
	}
}

func TestModulesAreRegistered(t *testing.T) {
	for _, name := range []string{"memory", "bbolt", "redis"} {
		info, err := caddy.GetModule(store.Namespace + "." + name)
		want(t, err, nil)
		if _, ok := info.New().(store.Module); !ok {
			t.Errorf("%s is not a store.Module", name)
		}
	}
}

// What `caddy validate` does with a configuration leaves nothing behind, and an unset variable is an error.
func TestProvisionOpensNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "keys.db")
	t.Setenv("STORE_TEST_PATH", path)
	b := provision(t, &store.Bbolt{Path: "{env.STORE_TEST_PATH}"})
	if _, err := os.Stat(filepath.Dir(path)); b.Path != path || !os.IsNotExist(err) {
		t.Fatalf("path %s, %v", b.Path, err)
	}
	provision(t, &store.Redis{URL: "redis://192.0.2.1:1"})
	for _, m := range []caddy.Provisioner{
		&store.Bbolt{Path: "{env.STORE_TEST_UNSET}/keys.db"},
		&store.Redis{URL: "redis://h", Password: "{env.STORE_TEST_UNSET}"},
	} {
		if err := m.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: an unset placeholder was accepted", m)
		}
	}
}

func TestMemoryBound(t *testing.T) {
	s := open(t, provision(t, &store.Memory{Name: t.Name(), MaxBytes: 10_000}))
	put := func(id string, old, value []byte) error {
		return s.Swap(ctx, store.Change{Space: "t", ID: id, Old: old, New: value})
	}
	big := make([]byte, 8000)
	want(t, put("a", nil, big), nil)
	want(t, put("b", nil, big), store.ErrFull)
	want(t, put("a", big, big[1:]), nil)
	want(t, s.Delete(ctx, "t", "a"), nil)
	want(t, put("b", nil, big), nil)
	if err := (&store.Memory{MaxBytes: -1}).Validate(); err == nil {
		t.Error("a negative max_bytes was accepted")
	}
}
