//go:build unix

package main

import (
	"math"
	"testing"
)

func TestExponent(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		name    string
		numbers []int
		costs   []float64
		want    float64
		word    string
	}{
		{"constant", []int{100, 200, 400}, []float64{7, 7, 7}, 0, "flat"},
		{"falling", []int{100, 200, 400}, []float64{16, 8, 4}, -1, "flat"},
		{"n", []int{100, 200, 400}, []float64{3, 6, 12}, 1, "linear"},
		{"n²", []int{3000, 6000, 12000}, []float64{1, 4, 16}, 2, grows},
		{"n³", []int{1, 10}, []float64{2, 2000}, 3, grows},
		{"square root", []int{1, 4, 16}, []float64{5, 10, 20}, 0.5, "linear"},
		// The outer two decide: the middle one lies on their mean in x.
		{"a middle off the line", []int{1, 2, 4}, []float64{1, 1000, 4}, 1, "linear"},
		{"numbers that do not double", []int{1, 10, 1000}, []float64{1, 10, 1000}, 1, "linear"},
		// Of the table of an adversary's findings.
		{"other ids at the end", []int{3000, 6000, 12000}, []float64{112, 330, 1030}, 1.6005, grows},
		{"a schema's branches", []int{20_000, 40_000, 80_000}, []float64{0.6, 2.6, 8.9}, 1.9454, grows},
		{"unknown members", []int{20_000, 40_000, 80_000}, []float64{46, 103, 231}, 1.1641, "linear"},
		{"a cost of nothing", []int{1, 2, 4}, []float64{0, 1, 2}, nan, grows},
		{"a cost below nothing", []int{1, 2, 4}, []float64{-1, 1, 2}, nan, grows},
		{"one number", []int{5, 5}, []float64{1, 2}, nan, grows},
		{"a cost missing", []int{1, 2}, []float64{1}, nan, grows},
		{"nothing", nil, nil, nan, grows},
	} {
		got := exponent(test.numbers, test.costs)
		if math.IsNaN(got) != math.IsNaN(test.want) || math.Abs(got-test.want) > 0.0001 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		if word := growthOf(got); word != test.word {
			t.Errorf("%s: %s, want %s", test.name, word, test.word)
		}
	}
}

func TestGrowthOfBounds(t *testing.T) {
	for exponent, want := range map[float64]string{
		0.3: "flat", math.Nextafter(0.3, 1): "linear", 1.25: "linear", math.Nextafter(1.25, 2): grows, math.Inf(1): grows, math.Inf(-1): "flat",
	} {
		if got := growthOf(exponent); got != want {
			t.Errorf("%v is %s, want %s", exponent, got, want)
		}
	}
}
