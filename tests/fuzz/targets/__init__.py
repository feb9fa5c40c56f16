"""Every parser that is fuzzed, by the module of its tests' subject."""
