package metrics

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"sessionserver/policy"
)

// Policy is the observer of a policy engine.
func (m *Metrics) Policy() policy.Observer {
	o := &policyObserver{m: m}
	for outcome := policy.Failed; outcome <= policy.Allowed; outcome++ {
		for i, cached := range []bool{false, true} {
			o.decisions[outcome][i] = m.policyDecisions.WithLabelValues(outcome.String(), strconv.FormatBool(cached))
		}
	}
	return o
}

type policyObserver struct {
	m         *Metrics
	decisions [policy.Allowed + 1][2]prometheus.Counter // by outcome, and whether it was cached
}

func (o *policyObserver) Decided(e policy.Evaluation) {
	if e.Cached {
		o.decisions[e.Outcome][1].Inc()
		return
	}
	o.decisions[e.Outcome][0].Inc()
	o.m.policyEvaluation.Observe(e.Duration.Seconds())
}

// Reloaded does nothing: [Metrics.Reloaded] counts everything that is read anew.
func (o *policyObserver) Reloaded(error) {}
