package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Prometheus is a client of Prometheus's HTTP API.
type Prometheus struct {
	URL  string    // such as http://localhost:9090
	From time.Time // where the time range of QueryRange begins
}

// Series is one series of a result.
type Series struct {
	Metric map[string]string
	Value  [2]any   // of an instant query
	Values [][2]any // of a range query
}

// Points calls a function for each time, in seconds, and value of the series.
func (s Series) Points(each func(at, value float64)) {
	for _, v := range append(s.Values, s.Value) {
		if text, ok := v[1].(string); ok {
			value, _ := strconv.ParseFloat(text, 64) // Prometheus writes numbers, NaN and Inf
			each(v[0].(float64), value)
		}
	}
}

// Get decodes the data of a response into a value. Any status but success is an error.
func (p *Prometheus) Get(path string, args url.Values, data any) error {
	response, err := http.Get(p.URL + "/api/v1/" + path + "?" + args.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	reply := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	if reply.Status != "success" {
		return fmt.Errorf("%s: %s", path, reply.Error)
	}
	return nil
}

// Query evaluates an expression at this moment.
func (p *Prometheus) Query(expr string) ([]Series, error) {
	return p.result("query", url.Values{"query": {expr}})
}

// QueryRange evaluates an expression for each second from From until now.
func (p *Prometheus) QueryRange(expr string) ([]Series, error) {
	return p.result("query_range", url.Values{
		"query": {expr}, "step": {"1"},
		"start": {strconv.FormatInt(p.From.Unix(), 10)}, "end": {strconv.FormatInt(time.Now().Unix(), 10)},
	})
}

func (p *Prometheus) result(path string, args url.Values) ([]Series, error) {
	var data struct{ Result []Series } // of type matrix or vector
	err := p.Get(path, args, &data)
	return data.Result, err
}
