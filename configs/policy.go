package configs

import "time"

// Policy says which policies decide about operations.
type Policy struct {
	Folder  string        `yaml:"folder"`  // of .rego and data files, or "" for those that ship with the server
	Timeout time.Duration `yaml:"timeout"` // of one evaluation; without a decision by then the answer is no
	Cache   int           `yaml:"cache"`   // decisions that are remembered
}

func (v *validator) policy(p Policy) {
	v.within("policy.timeout", p.Timeout, time.Millisecond, 10*time.Second)
	v.number("policy.cache", int64(p.Cache), 16, 1<<24)
}
