"""Asks a SavedModel golden photos and hostile bytes, in a process that has nothing of this project.

    python -I replay_probe.py SAVED_MODEL GOLDEN_NPZ KIND REPORT_JSON

Like a server of the model it imports the standard library, NumPy and TensorFlow only (which brings
Keras with it). The report is written anew after every check, and what is being checked is printed,
so that a process that dies has said how far it came.
"""

import dataclasses
import functools
import json
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

PROBABILITY = 1e-4  # that a breed's probability may differ from the golden one
COSINE = 0.9999  # of an embedding with the golden one, at least
LENGTH = 1e-3  # that an embedding's length may differ from 1
SAME_DOG = 1e-3  # the calibration multiplies what embeddings differ by, some twenty times
GROWTH = 512  # MiB that refusing bytes may add to the peak of memory
FOREIGN = {"components", "local_runner", "models", "pipeline", "tfx"}
_GIANT = 30_000  # pixels a side: 2.7 GB in RGB
# How TensorFlow begins the lines that say where in a graph an error came up.
_PLACES = ("Graph execution error", "Detected at node", "<stack traces", "[[{{node")


class RefusedError(Exception):
    """A check that is not passed; the text says why."""


@dataclasses.dataclass(frozen=True)
class Golden:
    """The photos and what has to be answered: JPEGs [N], float [N, D] to them and to their PNGs."""

    jpegs: list[bytes]
    answers: np.ndarray
    png_answers: np.ndarray


def read(path: str) -> Golden:
    """Reads a file of `models.golden`.

    Raises:
      RefusedError: there is no photo in it, or not as many answers.
    """
    with np.load(path) as stored:
        ends = np.cumsum(stored["lengths"])
        jpegs = [part.tobytes() for part in np.split(stored["jpegs"], ends[:-1])]
        golden = Golden(jpegs, stored["answers"], stored["png_answers"])
    if not len(ends) or not len(ends) == len(golden.answers) == len(golden.png_answers):
        raise RefusedError(f"{len(ends)} photos and {len(golden.answers)} answers")
    return golden


class Breed:
    """The breed model: probabilities [N, C] of all breeds, and `classify` that gives five."""

    main, second_signature = "classify", "classify"

    def __init__(self, signatures: Any):
        self.signatures = signatures

    def answers(self, photos: Sequence[bytes]) -> np.ndarray:
        """What `serving_default` answers to photos, as float [N, C]."""
        rows = [_example(photo) for photo in photos]
        return _only(_call(self.signatures, "serving_default", [rows]), "probabilities")

    def compare(self, given: np.ndarray, golden: np.ndarray) -> str:
        """How far answers are from the golden ones; raises RefusedError when it is too far."""
        return _at_most("probabilities", given, golden, PROBABILITY)

    def second(self, photos: Sequence[bytes], golden: np.ndarray) -> str:
        """Whether `classify` gives the five largest golden probabilities, and five names."""
        answer = _call(self.signatures, "classify", [photos])
        names = _only(answer, "classes")
        if any(len(set(row)) != len(row) or b"" in row for row in names):
            raise RefusedError(f"classify names breeds twice, or none: {names.tolist()}")
        largest = -np.sort(-golden, axis=1)[:, : names.shape[1]]
        return _at_most("probabilities", _only(answer, "probabilities"), largest, PROBABILITY)


class Match:
    """The match model: embeddings [N, D] of unit length, and `compare` of two photos."""

    main, second_signature = "embed", "compare"

    def __init__(self, signatures: Any):
        self.signatures = signatures

    def answers(self, photos: Sequence[bytes]) -> np.ndarray:
        """What `embed` answers to photos, as float [N, D]."""
        return _only(_call(self.signatures, "embed", [photos]), "embedding")

    def compare(self, given: np.ndarray, golden: np.ndarray) -> str:
        """How far embeddings are from the golden ones; raises RefusedError when it is too far."""
        _comparable(given, golden)
        lengths = np.linalg.norm(given, axis=1)
        cosine = (given * golden).sum(axis=1) / lengths / np.linalg.norm(golden, axis=1)
        longest = np.abs(lengths - 1).max()
        reason = (
            f"cosines from {cosine.min():.6f} on, {COSINE} is the least; "
            f"lengths {longest:.1g} from 1, {LENGTH:g} is the most"
        )
        return _passed(cosine.min() > COSINE and longest <= LENGTH, reason)

    def second(self, photos: Sequence[bytes], golden: np.ndarray) -> str:
        """Whether `compare` of neighbours is the `score` of their golden embeddings."""
        pairs = [golden, np.roll(golden, -1, axis=0)]
        neighbours = [photos, [*photos[1:], photos[0]]]
        same_dog = _only(_call(self.signatures, "compare", neighbours), "same_dog")
        scores = _only(_call(self.signatures, "score", pairs), "same_dog")
        return _at_most("same_dog", same_dog, scores, SAME_DOG)


KINDS: dict[str, type[Breed] | type[Match]] = {"breed": Breed, "match": Match}


class Probe:
    """The checks of one SavedModel.

    Args:
      folder: the SavedModel's.
      golden: file of the golden answers.
      kind: one of `KINDS`.
      report: file to be written.
    """

    def __init__(self, folder: str, golden: str, kind: str, report: str):
        self.folder, self.file, self.kind, self.path = folder, golden, kind, report
        self.report: dict[str, Any] = {"checks": []}

    def run(self) -> None:
        """Goes through all checks; those before the first answer have to pass for the rest."""
        first = {
            "golden": self._golden,
            "load": self._load,
            "weights": self._weights,
            "alone": self._alone,
        }
        if not all(self.check(name, check) for name, check in first.items()):
            return
        for name, check in self._questions():
            self.check(name, check)
        self.report["peak_mib"] = round(peak_mib(), 1)
        self._write()

    def check(self, name: str, check: Callable[[], str]) -> bool:
        """Makes one check, and writes down how it ended: whatever it raises, it has not passed."""
        print(f"{name} ...", flush=True)
        try:
            passed, reason = True, check()
        except RefusedError as error:
            passed, reason = False, str(error)
        except Exception as error:
            passed, reason = False, f"{type(error).__name__}: {said(error)}"
        self.report["checks"].append({"check": name, "passed": passed, "reason": reason})
        self._write()
        return passed

    def _write(self) -> None:
        with open(self.path, "w") as file:
            json.dump(self.report, file)

    def _golden(self) -> str:
        self.golden = read(self.file)
        self.pngs = [_png(jpeg) for jpeg in self.golden.jpegs]
        self.report["photos"] = len(self.golden.jpegs)
        return f"{len(self.golden.jpegs)} photos with their answers"

    def _load(self) -> str:
        import tensorflow as tf

        start = time.perf_counter()
        self.loaded = tf.saved_model.load(self.folder)  # whose variables live as long as it does
        self.report["load_s"] = round(time.perf_counter() - start, 2)
        self.model = KINDS[self.kind](self.loaded.signatures)
        return f"in {self.report['load_s']} s"

    def _weights(self) -> str:
        """Whether every weight is a number: an activation may hide one that is none."""
        variables = self.loaded.signatures[self.model.main].variables
        values = [np.asarray(variable.numpy()) for variable in variables]
        numbers = [value for value in values if value.dtype.kind == "f"]
        bad = sum(int((~np.isfinite(value)).sum()) for value in numbers)
        count = sum(value.size for value in numbers)
        return _passed(not bad, f"{bad} of {count:,} weights are no numbers")

    def _alone(self) -> str:
        found = sorted(FOREIGN & {name.partition(".")[0] for name in sys.modules})
        return _passed(
            not found, f"imported beside NumPy and TensorFlow: {', '.join(found) or '-'}"
        )

    def _questions(self) -> Iterator[tuple[str, Callable[[], str]]]:
        golden, second = self.golden, self.model.second_signature
        for name, photos, answers in (
            ("JPEG", golden.jpegs, golden.answers),
            ("PNG", self.pngs, golden.png_answers),
        ):
            asked = functools.partial(self._golden_answers, photos, answers)
            yield f"golden answers, {name}", asked
            yield f"{second}, {name}", functools.partial(self.model.second, photos, answers)
        yield "latency", self._latency
        for name, data in hostile(golden.jpegs[0]).items():
            yield f"refuses {name}", functools.partial(self._refuses, data)

    def _golden_answers(self, photos: Sequence[bytes], answers: np.ndarray) -> str:
        return self.model.compare(self.model.answers(photos), answers)

    def _latency(self) -> str:
        """The median of single photos, sent as JPEG, after one call that warms up."""
        seconds = []
        for jpeg in [self.golden.jpegs[0], *self.golden.jpegs]:
            start = time.perf_counter()
            _call(self.model.signatures, self.model.main, [[jpeg]])
            seconds.append(time.perf_counter() - start)
        self.report["latency_ms"] = round(float(np.median(seconds[1:])) * 1e3, 3)
        return f"{self.report['latency_ms']} ms a photo"

    def _refuses(self, data: bytes) -> str:
        """Whether bytes end in an error that says why, for little memory, and harm nothing."""
        import tensorflow as tf

        before = peak_mib()
        try:
            _call(self.model.signatures, self.model.main, [[data]])
        except tf.errors.OpError as error:
            reason = said(error)
        else:
            raise RefusedError("it was answered like a photo")
        grown = peak_mib() - before
        if grown > GROWTH:
            raise RefusedError(f"it took {grown:.0f} MiB, {GROWTH} is the most: {reason}")
        if not reason.isprintable() or not reason:
            raise RefusedError(f"an error without a message: {reason!r}")
        self._golden_answers(self.golden.jpegs[:1], self.golden.answers[:1])
        return reason


def hostile(jpeg: bytes) -> dict[str, bytes]:
    """Bytes that are no photo, by name; some are made from a JPEG."""
    return {
        "nothing": b"",
        "text": b"this is no photo\n" * 20,
        "half a JPEG": jpeg[: len(jpeg) // 2],
        "random bytes": np.random.default_rng(0).bytes(4096),
        "a giant PNG": _giant_png(),
        "a giant JPEG": _giant_jpeg(jpeg),
    }


def _giant_png() -> bytes:
    """A PNG whose header is right (RGB of 8 bits), and whose pixels end in the first row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", _GIANT, _GIANT, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = {b"IHDR": header, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks.items())


def _giant_jpeg(jpeg: bytes) -> bytes:
    """A JPEG with another size in its frame header (ITU-T T.81, B.2.2)."""
    place = 2
    while jpeg[place + 1] not in (0xC0, 0xC1, 0xC2):  # segments: marker, length with itself, data
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return jpeg[: place + 5] + struct.pack(">HH", _GIANT, _GIANT) + jpeg[place + 9 :]


def peak_mib() -> float:
    """The most memory that this process has held, MiB.

    Linux tells it of the program alone; a child's ru_maxrss begins with that of its parent.
    """
    try:
        with open("/proc/self/status") as file:
            (line,) = (line for line in file if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def said(error: Exception) -> str:
    """The first line of an error that says what is wrong, not where in the graph."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(_PLACES)), "")


def _call(signatures: Any, name: str, values: Sequence[Any]) -> dict[str, np.ndarray]:
    """Calls a signature with its inputs in the order of their names."""
    import tensorflow as tf

    if name not in signatures:
        raise RefusedError(f"no signature {name}, only {', '.join(signatures)}")
    call = signatures[name]
    inputs = sorted(call.structured_input_signature[1])
    tensors = {key: tf.constant(value) for key, value in zip(inputs, values, strict=True)}
    return {key: value.numpy() for key, value in call(**tensors).items()}


def _only(answer: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in answer:
        raise RefusedError(f"no {name} in the answer, only {', '.join(answer)}")
    return answer[name]


def _example(jpeg: bytes) -> bytes:
    import tensorflow as tf

    photo = tf.train.Feature(bytes_list=tf.train.BytesList(value=[jpeg]))
    features = tf.train.Features(feature={"image/encoded": photo})
    data: bytes = tf.train.Example(features=features).SerializeToString()
    return data


def _png(jpeg: bytes) -> bytes:
    """The pixels of a record, as PNG."""
    import tensorflow as tf

    image = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
    data: bytes = tf.io.encode_png(image).numpy()
    return data


def _at_most(name: str, given: np.ndarray, expected: np.ndarray, most: float) -> str:
    _comparable(given, expected)
    apart = np.abs(given - expected).max()
    return _passed(apart <= most, f"{name} {apart:.2g} apart, {most:g} is the most")


def _comparable(given: np.ndarray, expected: np.ndarray) -> None:
    if given.shape != expected.shape:
        raise RefusedError(f"the answer has the shape {given.shape}, not {expected.shape}")
    if wrong := int((~np.isfinite(given)).sum()):
        raise RefusedError(f"{wrong} of {given.size} numbers are not finite")


def _passed(passed: Any, reason: str) -> str:
    if not passed:
        raise RefusedError(reason)
    return reason


if __name__ == "__main__":
    Probe(*sys.argv[1:]).run()
