package client

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"sessionserver/wire"
)

// Values holds the values of a session by key, in the order of the keys' creation. It keeps a copy of the loaded
// values, so that Save sends only the changes. Keys and values may contain any bytes. Values is not safe for
// concurrent use.
type Values struct {
	keys    []string
	current map[string]string
	loaded  map[string]string
}

// newValues returns the Values of a list of keys and values in turn.
func newValues(pairs []wire.Reply) *Values {
	v := &Values{keys: make([]string, 0, len(pairs)/2), current: make(map[string]string, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(string(pairs[i].Bytes), string(pairs[i+1].Bytes))
	}
	v.loaded = maps.Clone(v.current)
	return v
}

// Get returns the value of key, or "" if the key does not exist.
func (v *Values) Get(key string) string { return v.current[key] }

// Lookup returns the value of key, and whether the key exists.
func (v *Values) Lookup(key string) (string, bool) {
	value, ok := v.current[key]
	return value, ok
}

// Int returns the value of key as an integer, or 0 if the key does not exist. The error is strconv's.
func (v *Values) Int(key string) (int64, error) {
	value, ok := v.current[key]
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(value, 10, 64)
}

// Set sets the value of key. Setting an equal value is not a change and keeps the lifetime set by [Session.Expire]; any
// other value loses that lifetime.
func (v *Values) Set(key, value string) {
	if v.current == nil {
		v.current = make(map[string]string)
	}
	if _, ok := v.current[key]; !ok {
		v.keys = append(v.keys, key)
	}
	v.current[key] = value
}

// SetInt sets the value of key to an integer in decimal.
func (v *Values) SetInt(key string, n int64) { v.Set(key, strconv.FormatInt(n, 10)) }

// Delete removes key if it exists.
func (v *Values) Delete(key string) {
	if _, ok := v.current[key]; ok {
		delete(v.current, key)
		v.keys = slices.DeleteFunc(v.keys, func(k string) bool { return k == key })
	}
}

// Len returns the number of keys.
func (v *Values) Len() int { return len(v.keys) }

// Keys returns the keys.
func (v *Values) Keys() []string { return slices.Clone(v.keys) }

// All returns an iterator over keys and values. Setting the value of an existing key is allowed during the iteration.
func (v *Values) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range v.keys {
			if !yield(k, v.current[k]) {
				return
			}
		}
	}
}

// String returns the number of keys. It contains no key and no value, so that no session data gets into logs.
func (v *Values) String() string { return fmt.Sprintf("values of %d keys", v.Len()) }

// GoString returns the same as String.
func (v *Values) GoString() string { return v.String() }

// changes returns the requests that turn the loaded values into the current ones.
func (v *Values) changes() [][]string {
	var removed, put []string
	for k := range v.loaded {
		if _, ok := v.current[k]; !ok {
			removed = append(removed, k)
		}
	}
	for _, k := range v.keys {
		if old, ok := v.loaded[k]; !ok || old != v.current[k] {
			put = append(put, k, v.current[k])
		}
	}
	slices.Sort(removed)
	// Removals come first, since they free room for new values.
	return append(requests("remove", removed), puts(put)...)
}

// putBytes is the server's default limit of the bytes in one request.
const putBytes = 4 << 20

// puts distributes keys and values over put requests within the limits of a request, so that an error names the limit
// of the session and not that of a request.
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

// argsMax is the maximum number of arguments of a request, without its name. It is even, so that a key and its value
// stay in one request.
var argsMax = (wire.DefaultLimits().Args - 1) &^ 1

// requests distributes arguments over as many requests as they need, none for no arguments.
func requests(name string, args []string) [][]string {
	var all [][]string
	for part := range slices.Chunk(args, argsMax) {
		all = append(all, append([]string{name}, part...))
	}
	return all
}

// pairs returns the keys and values of a map in turn, sorted by key.
func pairs(values map[string]string) []string {
	list := make([]string, 0, 2*len(values))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, k, values[k])
	}
	return list
}
