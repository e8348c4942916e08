package client

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"sessionserver/wire"
)

// Values are the values of a session by their keys, in the order in which the keys came. They remember how they were
// loaded, so that only what has changed is sent back. Values hold any bytes. They are not for concurrent use.
type Values struct {
	keys []string
	now  map[string]string
	was  map[string]string
}

// newValues makes values of keys and values in turn.
func newValues(pairs []wire.Reply) *Values {
	v := &Values{keys: make([]string, 0, len(pairs)/2), now: make(map[string]string, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(string(pairs[i].Bytes), string(pairs[i+1].Bytes))
	}
	v.was = maps.Clone(v.now)
	return v
}

// Get returns the value of key, or "" if there is none.
func (v *Values) Get(key string) string { return v.now[key] }

// Lookup returns the value of key and whether there is one.
func (v *Values) Lookup(key string) (string, bool) {
	value, ok := v.now[key]
	return value, ok
}

// Int returns the value of key as a whole number, 0 if there is none. The error is strconv's.
func (v *Values) Int(key string) (int64, error) {
	value, ok := v.now[key]
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(value, 10, 64)
}

// Set sets the value of key. Setting what is there already is no change, and leaves the value the lifetime that
// Session.Expire may have given it; any other value is without a lifetime of its own.
func (v *Values) Set(key, value string) {
	if v.now == nil {
		v.now = make(map[string]string)
	}
	if _, ok := v.now[key]; !ok {
		v.keys = append(v.keys, key)
	}
	v.now[key] = value
}

// SetInt sets the value of key to a whole number in decimal.
func (v *Values) SetInt(key string, n int64) { v.Set(key, strconv.FormatInt(n, 10)) }

// Delete removes key if it is there.
func (v *Values) Delete(key string) {
	if _, ok := v.now[key]; ok {
		delete(v.now, key)
		v.keys = slices.DeleteFunc(v.keys, func(k string) bool { return k == key })
	}
}

// Len is the number of keys.
func (v *Values) Len() int { return len(v.keys) }

// Keys returns the keys.
func (v *Values) Keys() []string { return slices.Clone(v.keys) }

// All goes through keys and values; Set of a key that is there is allowed meanwhile.
func (v *Values) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range v.keys {
			if !yield(k, v.now[k]) {
				return
			}
		}
	}
}

// String tells how many keys there are. What a session holds is nobody's business who reads a log.
func (v *Values) String() string { return fmt.Sprintf("values of %d keys", v.Len()) }

// GoString is String.
func (v *Values) GoString() string { return v.String() }

// changes are the requests that make what was loaded what it is now.
func (v *Values) changes() [][]string {
	var removed, put []string
	for k := range v.was {
		if _, ok := v.now[k]; !ok {
			removed = append(removed, k)
		}
	}
	for _, k := range v.keys {
		if old, ok := v.was[k]; !ok || old != v.now[k] {
			put = append(put, k, v.now[k])
		}
	}
	slices.Sort(removed)
	// Removals first: they make room.
	return append(requests("remove", removed), puts(put)...)
}

// putBytes is how much one request to put may carry, unless the server is set otherwise.
const putBytes = 4 << 20

// puts spreads keys and values over requests that pass no limit of a request: the session's limit is the one to be named.
func puts(pairs []string) [][]string {
	var all [][]string
	begin, size := 0, 0
	for i := 0; i < len(pairs); i += 2 {
		pair := len(pairs[i]) + len(pairs[i+1])
		if i > begin && size+pair > putBytes {
			all = append(all, requests("put", pairs[begin:i])...)
			begin, size = i, 0
		}
		size += pair
	}
	return append(all, requests("put", pairs[begin:])...)
}

// argsMax is how many arguments a request has at most, its name not counted; even, so that keys stay with their
// values.
var argsMax = (wire.DefaultLimits().Args - 1) &^ 1

// requests spreads arguments over as many requests as they need: none, if there are none.
func requests(name string, args []string) [][]string {
	var all [][]string
	for part := range slices.Chunk(args, argsMax) {
		all = append(all, append([]string{name}, part...))
	}
	return all
}

// pairs lists a map as keys and values in turn, by keys.
func pairs(values map[string]string) []string {
	list := make([]string, 0, 2*len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, k, values[k])
	}
	return list
}
