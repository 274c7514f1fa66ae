"""Events: rules that turn tracked poses into events such as `enter`, `cross`, `fall` and `repetition`."""
