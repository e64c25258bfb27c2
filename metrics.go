package chat2response

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
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
	remarksTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "chat2response", Name: "upstream_remarks_total",
		Help: "Events of upstreams' streams that were no JSON, and did not look like it, and were passed over.",
	})
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
	for _, c := range []prometheus.Collector{requestsTotal, lossyTotal, remarksTotal, mcpCalls, mcpSeconds, mcpTurns, stateErrorsTotal, &stateTotals} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// remarksLog, and the like elsewhere, let strangers and upstreams write a line a second
// and not one for each request.
var remarksLog = rate.Sometimes{Interval: time.Second}

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
	if n := x.turn.Remarks(); n > 0 {
		remarksTotal.Add(float64(n))
		remarksLog.Do(func() {
			x.h.logger.Warn("an upstream's stream had events that are none of its API, and they were passed over", zap.Int("events", n), zap.String("model", x.model))
		})
	}
	for _, loss := range x.turn.Report {
		lossyTotal.WithLabelValues(loss.Field()).Add(float64(loss.Members()))
	}
}
