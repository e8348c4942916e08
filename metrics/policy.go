package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/policy"
)

// Policy returns a function that counts and times decisions.
func (m *Metrics) Policy() func(policy.Evaluation) {
	var decisions [policy.Allowed + 1][2]prometheus.Counter // by outcome, and whether it was cached
	for outcome := policy.Failed; outcome <= policy.Allowed; outcome++ {
		for i, cached := range []bool{false, true} {
			decisions[outcome][i] = m.policyDecisions.WithLabelValues(outcome.String(), strconv.FormatBool(cached))
		}
	}
	return func(e policy.Evaluation) {
		if e.Cached {
			decisions[e.Outcome][1].Inc()
			return
		}
		decisions[e.Outcome][0].Inc()
		m.policyEvaluation.Observe(e.Duration.Seconds())
	}
}
