"""Traffic: images drawn with replacement from one pool, so that nothing shifts until something is made to.

python -m examples.digits.traffic http://127.0.0.1:8501 [--shift frozen --after 60]

Signal USR1 shifts, or ends the shift; `--after inf` leaves it to that.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from examples.digits.classifier import BRIGHTEST, Images, pool

ROWS_PER_REQUEST: Final = 5
REQUESTS_PER_SECOND: Final = 20
NOISE: Final = 2.0  # standard deviation, an eighth of the brightest pixel
DEGREES: Final = 20.0
FROZEN: Final = 27
OVERSHARE: Final = 3.0  # how many times its usual share digit 0 gets


class Draws:
    """Images with replacement from the pool.

    Args:
        seed: of everything random here; None for a fresh one.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.random = np.random.default_rng(seed)
        self.images, self.digits = pool()

    def clean(self, rows: int) -> Images:
        """As they are."""
        return self.images[self.random.integers(0, len(self.images), rows)]

    def weighted(self, rows: int, weights: Callable[[np.ndarray], np.ndarray]) -> Images:
        """With weights by true digit."""
        share = weights(self.digits)
        return self.images[self.random.choice(len(self.images), rows, p=share / share.sum())]


def noise(draws: Draws, rows: int) -> Images:
    """A worse sensor: noise on every pixel."""
    images = draws.clean(rows)
    return whole(images + draws.random.normal(0, NOISE, images.shape))


def rotation(draws: Draws, rows: int) -> Images:
    """A camera that was bumped: every image turned by 20 degrees."""
    from scipy.ndimage import rotate

    turned = [rotate(image.reshape(8, 8).astype(float), DEGREES, reshape=False, order=1) for image in draws.clean(rows)]
    return whole(np.array([image.ravel() for image in turned]))


def imbalance(draws: Draws, rows: int) -> Images:
    """Other users: digit 0 three times as often, each image as before."""
    return draws.weighted(rows, lambda digits: np.where(digits == 0, OVERSHARE, 1.0))


def frozen(draws: Draws, rows: int) -> Images:
    """A dead pixel: number 27 always dark."""
    images = draws.clean(rows).copy()
    images[:, FROZEN] = 0
    return images


SHIFTS: Final[dict[str, Callable[[Draws, int], Images]]] = {
    "noise": noise,
    "rotation": rotation,
    "imbalance": imbalance,
    "frozen": frozen,
}


def whole(images: np.ndarray) -> Images:
    """Whole numbers from 0 to 16, as a camera gives them."""
    pixels: Images = np.clip(np.rint(images), 0, BRIGHTEST).astype(np.int64)
    return pixels


class Traffic:
    """Sends rows over one kept connection at a steady pace, in a thread of its own.

    Args:
        url: of the server.
        shift: a key of `SHIFTS`.
        seed: of the draws; None for a fresh one.
        rows: in a request.
    """

    def __init__(self, url: str, shift: str, seed: int | None = None, rows: int = ROWS_PER_REQUEST) -> None:
        self._url = urlsplit(url)
        self._size = rows
        self._draws = Draws(seed)
        self._shifted = SHIFTS[shift]
        self._now = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self.rows = 0
        self.errors = 0
        self.began = 0.0

    def start(self) -> None:
        """Starts sending clean rows."""
        self.began = time.monotonic()
        self._thread.start()

    def shift(self) -> None:
        """Sends shifted rows from the next request on."""
        self._now.set()

    def calm(self) -> None:
        """Sends clean rows again from the next request on."""
        self._now.clear()

    def stop(self) -> None:
        """Ends, and waits for the request under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "127.0.0.1", self._url.port, timeout=5)
        sent = 0
        while not self._stop.wait(max(0.0, self.began + sent / REQUESTS_PER_SECOND - time.monotonic())):
            sent += 1
            images = (self._shifted if self._now.is_set() else Draws.clean)(self._draws, self._size)
            try:
                predict(connection, images)
                self.rows += len(images)
            except (OSError, http.client.HTTPException, ValueError):
                self.errors += 1
                connection.close()  # the next request opens it again
        connection.close()


def predict(connection: http.client.HTTPConnection, images: Images) -> list[list[float]]:
    """One request.

    Raises:
        OSError, http.client.HTTPException, ValueError: no good answer came.
    """
    body = json.dumps({"instances": images.tolist()})
    connection.request("POST", "/v1/models/digits:predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise ValueError(f"{response.status}: {answer}")
    predictions: list[list[float]] = answer["predictions"]
    return predictions


def main(arguments: list[str]) -> int:
    """Sends until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="traffic")
    parser.add_argument("url")
    parser.add_argument("--shift", choices=SHIFTS, default="frozen")
    parser.add_argument("--after", type=float, default=60.0, metavar="SECONDS", help="when the shift begins")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rows", type=int, default=ROWS_PER_REQUEST, help="in each of the 20 requests a second")
    options = parser.parse_args(arguments)
    traffic = Traffic(options.url, options.shift, options.seed, options.rows)
    shifted = False

    def turn(*_: object) -> None:
        nonlocal shifted
        shifted = not shifted
        (traffic.shift if shifted else traffic.calm)()
        print(f"shifted: {options.shift}" if shifted else "clean again", flush=True)

    signal.signal(signal.SIGUSR1, turn)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    traffic.start()
    try:
        threading.Event().wait(min(options.after, threading.TIMEOUT_MAX))
        turn()
        threading.Event().wait()
    except KeyboardInterrupt:
        traffic.stop()
        print(f"{traffic.rows} rows, {traffic.errors} errors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
