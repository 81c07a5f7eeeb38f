"""The YAML language: strict loading with positions, models, matchers, examples."""
