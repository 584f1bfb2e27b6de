"""A LOG IMITATED: a synthetic workload with the statistics of a log (`fitted.fit`)."""
