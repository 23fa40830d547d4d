"""Options that commands share."""

import argparse

from detox_sim.cluster import Tls


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the files for a ``tls://`` scheduler."""
    parser.add_argument("--tls-ca", metavar="PEM", help="certificates of the cluster's authority")
    parser.add_argument("--tls-cert", metavar="PEM", help="our certificate for a tls:// scheduler")
    parser.add_argument("--tls-key", metavar="PEM", help="its private key")


def tls_files(options: argparse.Namespace) -> Tls | None:
    """Return the files that the options name, None without any; ValueError where one is missing."""
    files = {name: getattr(options, f"tls_{name}") for name in Tls._fields}
    missing = [f"--tls-{name}" for name, path in files.items() if path is None]
    if len(missing) == len(files):
        return None
    if missing:
        raise ValueError(f"TLS needs all three files; add {' and '.join(missing)}")
    if options.scheduler is None:
        raise ValueError("the TLS files are for a scheduler; add --scheduler tls://HOST:PORT")
    return Tls(**files)
