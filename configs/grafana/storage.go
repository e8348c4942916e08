package grafana

// storage is about locks and the storage of sessions.
func storage() *board {
	const operation = "sessionserver_storage_operation_duration_seconds"
	free := of("sessionserver_storage_filesystem_avail_bytes")
	hits := rate("instance", "sessionserver_storage_cache_hits_total")
	misses := rate("instance", "sessionserver_storage_cache_misses_total")
	return newDashboard(storageUID, "locks and storage", "Waits for locks, storage operations, disk and sweeps.",
		section{"Now", []panel{
			figure("Locks held", "Sessions open for writing or reading.", count,
				query{sum("", of("sessionserver_locks_held")), "held"}).Span(4),
			figure("Lock waiters", "Clients that wait for a lock.", count,
				query{sum("", of("sessionserver_lock_waiters")), "waiting"}).Span(4),
			figure("Lock timeouts",
				"Share of lock requests that timed out in the last 5 minutes, on the worst server.", share,
				query{highest("instance:sessionserver_lock_timeouts:ratio_rate5m"), "timeouts"}).
				Span(4).Thresholds(above(0.01, 0.05)),
			figure("fsync",
				"99th percentile of fsync in the last 5 minutes, on the slowest server. Every save waits for one.",
				seconds,
				query{highest("instance:sessionserver_storage_sync_duration_seconds:p99_rate5m"), "99th percentile"}).
				Span(4).Thresholds(above(0.03, 0.1)),
			figure("Free disk space", "Free share of the file system, on the fullest server.", share,
				query{lowest("instance:sessionserver_storage_avail:ratio"), "free"}).
				Span(4).Max(1).Thresholds(below(0.25, 0.1)),
			figure("Sweep lag", "Age of the oldest expired session not yet swept, on the slowest server.", seconds,
				query{highest("sessionserver_sweep_lag_seconds"), "lag"}).
				Span(4).Thresholds(above(60, 600)),
		}},
		section{"Locks", []panel{
			quantiles("Duration of lock waits", "Duration of waits that ended with the lock. A free lock counts as 0.",
				"sessionserver_lock_wait_seconds"),
			spread("Spread of lock waits", "Number of lock waits by duration.", "sessionserver_lock_wait_seconds"),
			graph("Locks", "Locks held, and clients that wait for a lock.", count,
				query{sum("", of("sessionserver_locks_held")), "held"},
				query{sum("", of("sessionserver_lock_waiters")), "waiting"}),
			graph("Lock timeouts and losses",
				"Lock waits that timed out, and locks lost to a waiter after lock_lease, per second.",
				perSecond,
				query{rate("", "sessionserver_lock_timeouts_total"), "timed out"},
				query{rate("", "sessionserver_locks_lost_total"), "lost"}).Span(12),
			graph("Share of lock timeouts", "Share of lock requests that timed out in the last 5 minutes.", share,
				query{of("instance:sessionserver_lock_timeouts:ratio_rate5m"), "{{instance}}"}).
				Thresholds(above(0.01, 0.05)).Span(12),
		}},
		section{"Storage", []panel{
			stack("Operations", "Storage operations per second.", perSecond,
				query{rate("operation", operation+"_count"), "{{operation}}"}),
			graph("Duration of operations", "99th percentile of each operation.", seconds,
				query{quantile("0.99", "operation", operation), "{{operation}}"}),
			graph("Errors", "Failed storage operations per second. Zero is normal.", perSecond,
				query{rate("operation", "sessionserver_storage_errors_total"), "{{operation}}"}),
			quantiles("Duration of fsync", "Time until the disk confirms that written data is durable.",
				"sessionserver_storage_sync_duration_seconds").Thresholds(above(0.03, 0.1)),
			spread("Spread of fsync",
				"Number of fsyncs by duration. Two bands far apart: the write cache of the disk is full at times.",
				"sessionserver_storage_sync_duration_seconds"),
			graph("Cache hits", "Share of records read from memory.", share,
				query{hits + " / (" + hits + " + " + misses + ")", "{{instance}}"}).Max(1),
		}},
		section{"Space", []panel{
			graph("Stored", "Size of all keys and values, and the space that the storage occupies on disk.", bytes,
				query{sum("", of("sessionserver_stored_bytes")), "keys and values"},
				query{sum("", of("sessionserver_storage_size_bytes")), "on disk"}),
			graph("File system", "Free space, and a forecast for tomorrow from the last hour.", bytes,
				query{free, "{{instance}} free"},
				query{"clamp_min(predict_linear(" + free + "[1h], 24 * 3600), 0)", "{{instance}} in a day"}),
			graph("Sweeps", "Expired sessions removed per second, and failed sweeps per second.", perSecond,
				query{rate("instance", "sessionserver_sweep_removed_total"), "{{instance}} removed"},
				query{rate("instance", "sessionserver_sweep_errors_total"), "{{instance}} failed"}),
			graph("Sweep lag", "Age of the oldest expired session not yet swept.", seconds,
				query{of("sessionserver_sweep_lag_seconds"), "{{instance}}"}).Thresholds(above(60, 600)).Span(12),
			graph("Last sweep", "Age of the last successful sweep.", seconds,
				query{"time() - " + of("sessionserver_sweep_last_success_timestamp_seconds"), "{{instance}}"}).
				Thresholds(above(60, 600)).Span(12),
		}},
	)
}
