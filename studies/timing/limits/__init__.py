"""What bounds a call: one read of memory, operations, and the call itself."""
