"""A world in one thread that a seed decides: the real engine and core on a simulated disk, clock, workers and clients."""
