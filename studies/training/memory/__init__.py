"""What worker momentum does beside redundancy: words, tables, finding and figure."""
