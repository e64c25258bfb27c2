package chat2response

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// The collectors live as long as the process, so that a reload loses no count.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "requests_total",
		Help: "Requests by route, the upstream's API and outcome.",
	}, []string{"route", "mode", "outcome"})
	lossyTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "conversion_lossy_total",
		Help: "Members of requests that could not be carried over to the upstream's API, by name.",
	}, []string{"field"})
	mcpCalls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "mcp_calls_total",
		Help: "Calls of MCP tools by server, tool and outcome; those of servers that clients have named are of the server \"client\".",
	}, []string{"server", "tool", "outcome"})
	mcpSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "mcp_call_seconds",
		Help: "How long calls of MCP tools took.", Buckets: []float64{.005, .02, .1, .5, 1, 5, 20, 60},
	}, []string{"server"})
	mcpTurns = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "mcp_turns",
		Help: "How often the upstream was asked for one answer to a request with MCP tools.", Buckets: []float64{1, 2, 3, 4, 6, 8, 16},
	})
)

// registerMetrics registers the collectors with the registry of a configuration,
// which is a new one at each reload and shared by all its sites.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{requestsTotal, lossyTotal, mcpCalls, mcpSeconds, mcpTurns, stateErrorsTotal, &stateTotals} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// count counts the exchange.
func (x *exchange) count() {
	mode := ""
	if x.up != nil {
		mode = string(x.up.Mode)
	}
	outcome := x.outcome
	if outcome == "" {
		outcome = "refused"
	}
	requestsTotal.WithLabelValues(x.route.name, mode, outcome).Inc()
	if x.turn == nil {
		return
	}
	for _, loss := range x.turn.Report {
		lossyTotal.WithLabelValues(loss.Field()).Add(float64(loss.Members()))
	}
}
