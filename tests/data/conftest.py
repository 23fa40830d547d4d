"""What the tests of data sets share: no data of this computer, no network, a local mirror."""

import functools
import gzip
import http.server
import threading

import numpy as np
import pytest
from image_files import idx

from detox_sim.data import cifar, grey


@pytest.fixture(autouse=True)
def _no_data_and_no_network(tmp_path, monkeypatch):
    """Hide the data of this computer; every mirror is a port that refuses connections."""
    monkeypatch.delenv("FASHION_MNIST", raising=False)
    monkeypatch.setenv("DETOX_SIM_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(grey, "DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(grey, "MIRRORS", ("http://127.0.0.1:9/",))
    for name in ("CIFAR10", "CIFAR100"):
        closed = getattr(cifar, name)._replace(mirrors=("http://127.0.0.1:9/",))
        monkeypatch.setattr(cifar, name, closed)


@pytest.fixture
def fashion(tmp_path):
    """Four small IDX files of Fashion-MNIST: their folder, and the arrays they hold."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(256, size=(20, 28, 28)),
        np.arange(20) % 10,
        rng.integers(256, size=(7, 28, 28)),
        np.arange(7) % 10,
    ]
    folder = tmp_path / "fashion"
    folder.mkdir()
    for name, array in zip(grey.FASHION_FILES, arrays, strict=True):
        (folder / name).write_bytes(gzip.compress(idx(array)))
    return folder, arrays


@pytest.fixture
def serve():
    """Serve folders over HTTP: serve(folder) -> (address, list of requests)."""
    servers = []

    def start(folder):
        requests = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                requests.append(self.path)

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        serve_until_closed = functools.partial(server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve_until_closed, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
