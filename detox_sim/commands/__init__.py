"""The commands of the package, one module each: ``detox-sim COMMAND``."""
