"""WHAT ARRIVES: arrival processes, token lengths, task shapes, and readers of real logs, put together by `workload`."""
