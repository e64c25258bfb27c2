//go:build unix

package main

import (
	"math"
	"slices"
)

// quantile is the value at the nearest rank to the part q of the values, which it
// sorts. Without values it is NaN.
func quantile[T ~int64 | ~float64](values []T, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	rank := int(math.Ceil(q*float64(len(values)))) - 1
	return float64(values[min(max(rank, 0), len(values)-1)])
}

// spread is a figure over the rounds of a run.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf leaves out the rounds that have no value. Without any it is false.
func spreadOf(values []float64) (spread, bool) {
	var v []float64
	for _, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return spread{}, false
	}
	slices.Sort(v)
	median := v[len(v)/2]
	if len(v)%2 == 0 {
		median = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{Median: median, Min: v[0], Max: v[len(v)-1]}, true
}

// comparison is how a figure is held against that of bare reverse_proxy.
type comparison string

const (
	ratio      comparison = "ratio"
	difference comparison = "difference"
)

// against holds the rounds of a figure against the same rounds of the baseline:
// drift of the machine hits both.
func against(how comparison, values, baseline []float64) []float64 {
	out := make([]float64, min(len(values), len(baseline)))
	for i := range out {
		if how == ratio {
			out[i] = values[i] / baseline[i]
		} else {
			out[i] = values[i] - baseline[i]
		}
	}
	return out
}
