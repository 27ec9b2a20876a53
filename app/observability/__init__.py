"""The access log, metrics, traces and logs."""
