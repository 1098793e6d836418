"""Python clients of Engram and of other databases, measured in one run by `benches/run clients`."""
