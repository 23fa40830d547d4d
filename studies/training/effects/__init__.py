"""What an attack costs each rule and what DETOX saves of it: numbers, tables and panels."""
