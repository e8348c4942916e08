// Package observed wraps a store and tells an observer of each operation: which, how long it took, and whether the store failed. It remembers of
// late failures what a server's readiness depends on.
//
// It stands right before a driver and behind the cache, so that what it tells of is the driver's work. Like every wrapper it has all optional powers and
// answers errors.ErrUnsupported for those that the driver lacks. Begin reading at [Store].
package observed
