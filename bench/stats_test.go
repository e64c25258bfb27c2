//go:build unix

package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, test := range []struct {
		values []time.Duration
		q      float64
		want   float64
	}{
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
	} {
		if got := quantile(test.values, test.q); got != test.want {
			t.Errorf("quantile %v of %d values = %v, want %v", test.q, len(test.values), got, test.want)
		}
	}
	if got := quantile([]float64(nil), 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing = %v", got)
	}
}

func TestSpread(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		values []float64
		want   spread
		ok     bool
	}{
		{[]float64{3, 1, 2}, spread{2, 1, 3}, true},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}, true},
		{[]float64{nan, 5, math.Inf(1)}, spread{5, 5, 5}, true},
		{[]float64{nan}, spread{}, false},
		{nil, spread{}, false},
	} {
		if got, ok := spreadOf(test.values); got != test.want || ok != test.ok {
			t.Errorf("spreadOf(%v) = %v %v, want %v %v", test.values, got, ok, test.want, test.ok)
		}
	}
}

// Rounds are compared each with its own, so that a machine which slows down
// between them does not show.
func TestAgainst(t *testing.T) {
	slowing := []float64{100, 50, 10}
	got, _ := spreadOf(against(ratio, []float64{90, 45, 9}, slowing))
	if want := (spread{0.9, 0.9, 0.9}); got != want {
		t.Errorf("ratio = %v, want %v", got, want)
	}
	got, _ = spreadOf(against(difference, []float64{110, 62}, slowing))
	if want := (spread{11, 10, 12}); got != want {
		t.Errorf("difference = %v, want %v", got, want)
	}
}
