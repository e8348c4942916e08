package grafana

import "strings"

// query is a PromQL expression and the legend of the series that it returns.
type query struct{ expr, legend string }

// scope restricts a selector to the servers that the variables of a dashboard select.
const scope = `job=~"$job", instance=~"$instance"`

// of returns the selector of a metric of the selected servers. Matchers restrict its other labels.
func of(metric string, matchers ...string) string {
	return metric + "{" + strings.Join(append([]string{scope}, matchers...), ", ") + "}"
}

// aggregate applies an operator to an expression by labels, or over all series if by is empty.
func aggregate(operator, by, expr string) string {
	if by != "" {
		operator += " by (" + by + ") "
	}
	return operator + "(" + expr + ")"
}

func sum(by, expr string) string { return aggregate("sum", by, expr) }

// top returns the n series with the highest values.
func top(n, expr string) string { return "topk(" + n + ", " + expr + ")" }

// rate returns the rate of a counter per second, as a sum by labels. Its interval follows the scrape interval.
func rate(by, counter string, matchers ...string) string {
	return sum(by, "rate("+of(counter, matchers...)+"[$__rate_interval])")
}

// increase returns the increase of a counter over a period, as a sum by labels.
func increase(by, counter, period string) string {
	return sum(by, "increase("+of(counter)+"["+period+"])")
}

// quantile returns a quantile of a histogram with classic buckets, by labels.
func quantile(q, by, histogram string, matchers ...string) string {
	le := "le"
	if by != "" {
		le = by + ", le"
	}
	return "histogram_quantile(" + q + ", " + rate(le, histogram+"_bucket", matchers...) + ")"
}

// highest and lowest return the extreme value of a metric among the selected servers.
func highest(metric string, matchers ...string) string {
	return aggregate("max", "", of(metric, matchers...))
}
func lowest(metric string, matchers ...string) string {
	return aggregate("min", "", of(metric, matchers...))
}
