"""Rate limits, deadlines and limits on connections."""
