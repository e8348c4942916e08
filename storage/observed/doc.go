// Package observed wraps a store and reports each operation to an observer: its name, its duration, and whether the
// store failed. It also keeps track of recent failures, on which the readiness of a server depends.
//
// The wrapper stands right before a driver, so that it reports the driver's work. It must never
// know which driver that is, nor what becomes of the reports. Like every wrapper it implements all optional interfaces,
// and returns errors.ErrUnsupported for those that the driver lacks. Begin reading at [Store].
package observed
