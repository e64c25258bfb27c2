//go:build unix

package main

import "math"

// How a cost may grow with the number of things: as n to the power of an exponent. A flat one does not depend on n, a
// linear one may have a logarithm in it, and the noise of a machine that others use too.
const (
	flatExponent   = 0.3
	linearExponent = 1.25
)

// exponent is the slope of the line through the costs by the numbers, both as logarithms, with the least squares: 0
// where the cost is the same for all, 1 where it is n times something, 2 where it is n². All must be positive, and there
// must be two different numbers; else it is NaN.
func exponent(numbers []int, costs []float64) float64 {
	if len(numbers) != len(costs) {
		return math.NaN()
	}
	var x, y []float64
	var meanX, meanY float64
	for i, n := range numbers {
		if n <= 0 || costs[i] <= 0 {
			return math.NaN()
		}
		x, y = append(x, math.Log(float64(n))), append(y, math.Log(costs[i]))
		meanX += x[i] / float64(len(numbers))
		meanY += y[i] / float64(len(numbers))
	}
	var above, below float64
	for i := range x {
		above += (x[i] - meanX) * (y[i] - meanY)
		below += (x[i] - meanX) * (x[i] - meanX)
	}
	return above / below // NaN if all numbers are one
}

// growthOf is the word for an exponent. What has none, since something could not be measured, GROWS: nobody has seen
// that it does not.
func growthOf(exponent float64) string {
	switch {
	case exponent <= flatExponent:
		return "flat"
	case exponent <= linearExponent:
		return "linear"
	}
	return grows
}

const grows = "GROWS"
