"""Who computes and who waits: the slots of the engine, and streams that wait for one."""
