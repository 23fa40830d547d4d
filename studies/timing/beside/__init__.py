"""Our code beside that of others: rules, whole runs, rounds in plain torch, plain processes."""
