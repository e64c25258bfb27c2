package account

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

const mib = 1 << 20

func TestAloneMayHaveAll(t *testing.T) {
	var a Account
	c := a.Claim(Owner{Name: "a"}, 10*mib)
	if err := c.Grow(40 * mib); err != nil {
		t.Fatal(err)
	}
	if err := a.Claim(Owner{Name: "b"}, 10*mib).Grow(1); !errors.Is(err, ErrFull) {
		t.Errorf("there was room where there is none: %v", err)
	}
	c.Free()
	c.Free()
	if a.Held() != 0 || a.Owners() != 0 {
		t.Errorf("%d bytes of %d owners are left", a.Held(), a.Owners())
	}
}

// fill makes claims of an owner until there is no room for another of a size.
func fill(a *Account, o Owner, size, most int64) (held int64) {
	for {
		if err := a.Claim(o, most).Grow(size); err != nil {
			return held
		}
		held += size
	}
}

func TestShares(t *testing.T) {
	var a Account
	const most = 256 * mib
	first := fill(&a, Owner{Name: "a"}, 64<<10, most)
	if first < most*68/100 || first > most*71/100 {
		t.Errorf("one owner got %d MiB of 256", first/mib)
	}
	// Beside many who take all that they can, the next one finds room for a usual request.
	for i := range 30 {
		if err := a.Claim(Owner{Name: fmt.Sprint("next", i)}, most).Grow(100 << 10); err != nil {
			t.Fatalf("owner %d found no room: %v", i, err)
		}
		fill(&a, Owner{Name: fmt.Sprint("next", i)}, 100<<10, most)
	}
}

// H2: who has shown no key takes nothing from those who have.
func TestStrangers(t *testing.T) {
	var a Account
	const most = 256 * mib
	var all int64
	for i := range 1000 {
		all += fill(&a, Owner{fmt.Sprint("address", i), true}, 8<<10, most)
	}
	if all > most/Strangers {
		t.Errorf("strangers hold %d MiB of %d", all/mib, most/Strangers/mib)
	}
	if got := fill(&a, Owner{Name: "key"}, 64<<10, most); got < most/2 {
		t.Errorf("a key got %d MiB beside strangers", got/mib)
	}
}

// The sums are those of the claims, whatever is done to them in any order.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Account
		owners := []Owner{{"a", false}, {"b", false}, {"x", true}, {"y", true}}
		var claims []*Claim
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) { claims = append(claims, a.Claim(rapid.SampledFrom(owners).Draw(t, "owner"), 1000)) },
			"grow": func(t *rapid.T) {
				if len(claims) > 0 {
					before, c := a.Held(), rapid.SampledFrom(claims).Draw(t, "claim")
					alone := before == c.Size()
					if c.Grow(rapid.Int64Range(-5, 400).Draw(t, "bytes")) == nil && !alone && a.Held() > max(before, 1000) {
						t.Fatalf("%d bytes are held", a.Held())
					}
				}
			},
			"shrink": func(t *rapid.T) {
				if len(claims) > 0 {
					rapid.SampledFrom(claims).Draw(t, "claim").Shrink(rapid.Int64Range(0, 500).Draw(t, "bytes"))
				}
			},
			"free": func(t *rapid.T) {
				if len(claims) > 0 {
					rapid.SampledFrom(claims).Draw(t, "claim").Free()
				}
			},
			"": func(t *rapid.T) {
				var sum int64
				for _, c := range claims {
					sum += c.Size()
				}
				if a.Held() != sum {
					t.Fatalf("%d bytes are held, and claims are %d", a.Held(), sum)
				}
			},
		})
		for _, c := range claims {
			c.Free()
		}
		if a.Held() != 0 || a.Owners() != 0 || a.strangers != 0 {
			t.Fatalf("%d bytes of %d owners are left, %d of strangers", a.Held(), a.Owners(), a.strangers)
		}
	})
}

func TestRace(t *testing.T) {
	var a Account
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				c := a.Claim(Owner{fmt.Sprint(i % 3), i%2 == 0}, 1<<20)
				_ = c.Grow(100)
				c.Shrink(50)
				c.Free()
			}
		})
	}
	wg.Wait()
	if a.Held() != 0 || a.Owners() != 0 {
		t.Errorf("%d bytes of %d owners are left", a.Held(), a.Owners())
	}
}
