"""Facts about benchmarks, as tables: which sequences they hold, which frames, which kinds of targets."""
