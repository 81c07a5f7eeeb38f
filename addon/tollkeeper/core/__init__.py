"""The pure core: it imports no proxy, no database, no clock; the time is an argument."""
