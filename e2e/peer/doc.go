// Program peer measures the server beside Redis at its job, the locked session cycle: take the lock, read, write,
// release. `make bench-peer` runs it; docs/performance.md has the method and figures.
//
// In each round of a case both servers run in turn, on a temporary folder and a free port of loopback. Each is pinned
// to the first processor, and the load, `sessionserver bench`, to the last one. Rounds alternate the order. The output
// is one row of a Markdown table for each case, with medians of all rounds and medians of the ratios in one round.
//
// It needs Linux, redis-server and taskset. Begin reading at cases, in case.go.
package main
