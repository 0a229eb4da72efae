"""Records a training with Weights & Biases: settings, every epoch, sample predictions, the model.

W&B is a guest: it works in a process of its own, which is started only where it was asked for and
can be ended, keeps to one folder, and nothing that goes wrong with it, or takes it too long, ends a
training. What it can't send stays in that folder, from where `wandb sync` sends it.
"""

import base64
import contextlib
import importlib.util
import itertools
import multiprocessing
import netrc
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from models.progress import log

OFFLINE, ONLINE, OFF = MODES = ("offline", "online", "off")
MODE_VARIABLE, FOLDER_VARIABLE = "SPOTTED_WANDB", "SPOTTED_WANDB_DIR"
SECRET_VARIABLE = "SPOTTED_WANDB_SECRET"  # says where the key lies, and never the key
SECRET = re.compile(r"projects/[a-z0-9-]+/secrets/[A-Za-z0-9_-]+(/versions/(\d+|latest))?")
HOST = "https://api.wandb.ai"
PROJECT = "spotted"
SAMPLES = 32
_FOLDERS = (
    "WANDB_DIR",
    "WANDB_DATA_DIR",
    "WANDB_CACHE_DIR",
    "WANDB_CONFIG_DIR",
    "WANDB_ARTIFACT_DIR",
)
# A server that is gone is given up after about four minutes: only then W&B writes down the last of
# what it was told. It would try for up to forty.
RETRIES, SHORTEST_WAIT, LONGEST_WAIT = 14, 2, 20
_SENDERS = ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL")
# Seconds that training waits for an answer; when all is well the model has to be sent at the end.
PATIENCE, PATIENCE_AT_THE_START, PATIENCE_AT_THE_END = 30.0, 120.0, 300.0


class TrackingError(ValueError):
    """W&B can't be used as asked; the message says what to do."""


def check(mode: str) -> None:
    """Sees, in milliseconds and without importing it, that W&B can be used in a mode.

    Raises:
      TrackingError: it is not installed, or it is to be reached and there is no key.
    """
    if mode == OFF:
        return
    found = importlib.util.find_spec("wandb")
    if found is None or found.origin is None:  # a folder `wandb` of somebody's runs has no origin
        raise TrackingError(
            "Weights & Biases is not installed: pip install 'spotted[tracking]' (or make env)"
        )
    if mode == ONLINE and not _has_key():
        raise TrackingError(
            f"there is no key for {host()}: set WANDB_API_KEY, or run `wandb login` once, which "
            "writes it to ~/.netrc (WANDB_BASE_URL names another server)"
        )


def host() -> str:
    """The address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL", HOST).rstrip("/")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    usual = (os.environ.get("NETRC"), "~/.netrc", "~/_netrc")
    paths = [os.path.expanduser(path) for path in usual if path]
    path = next((path for path in paths if os.path.exists(path)), None)
    try:
        entry = netrc.netrc(path).authenticators(urlsplit(host()).netloc) if path else None
    except (netrc.NetrcParseError, OSError):
        return False
    return bool(entry and entry[2])


def environment(folder: str) -> dict[str, str]:
    """The variables that keep W&B in a folder, quiet, and from trying for ever.

    Left alone it writes to the working folder, to the home folder, and copies models to both; and
    it reports its errors to a third party.
    """
    tries = {"MAX": RETRIES, "WAIT_MIN_SECONDS": SHORTEST_WAIT, "WAIT_MAX_SECONDS": LONGEST_WAIT}
    return {
        **dict.fromkeys(_FOLDERS, os.path.abspath(folder)),
        **{f"WANDB__{who}_RETRY_{what}": str(n) for who in _SENDERS for what, n in tries.items()},
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }


class Tracker:
    """One training as a W&B run; a context manager that ends it as finished or as failed.

    Args:
      mode: one of `MODES`; off does nothing at all.
      folder: all that W&B writes lies there.
      name: of the run.
      settings: what decided the training; JSON values.
    """

    def __init__(self, mode: str, folder: str, name: str, settings: Mapping[str, Any]):
        self._mode, self._folder, self._name = mode, os.path.abspath(folder), name
        self._settings = dict(settings)
        self._guest: _Guest | None = None

    @classmethod
    def from_environment(cls, name: str, settings: Mapping[str, Any]) -> "Tracker":
        """A tracker of the mode and the folder that the runner left in the environment.

        They are no parameters of a node: tracking a training is no reason to train again.
        """
        mode = os.environ.get(MODE_VARIABLE, OFF)
        return cls(mode, os.environ.get(FOLDER_VARIABLE, "wandb"), name, settings)

    def __enter__(self) -> "Tracker":
        if self._mode != OFF:
            try:
                self._guest = _Guest(self._folder, key_of(os.environ.get(SECRET_VARIABLE, "")))
            except (OSError, TrackingError) as error:
                self._warn(str(error))
            what = (self._mode, self._folder, self._name, self._settings)
            self._ask("start", *what, seconds=PATIENCE_AT_THE_START)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._ask("finish", 0, seconds=PATIENCE_AT_THE_END)
        else:
            self._ask("finish", 1)
        self._leave()

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Records what an epoch, counted from 1, came to."""
        self._ask("epoch", number, {name: float(value) for name, value in metrics.items()})

    def predictions(self, rows: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        """Records up to `SAMPLES` predictions as a table.

        Args:
          rows: asked only when somebody tracks; of `photo`, uint8 [H, W, 3] (a pair of photos side
            by side); `true` and `predicted`, names; and `probability` of what was predicted.
        """
        if self._guest:
            self._ask("predictions", list(itertools.islice(rows(), SAMPLES)))

    def model(self, folder: str, name: str) -> None:
        """Records a SavedModel as an artifact of type "model".

        Args:
          folder: the SavedModel's. It is not copied: `wandb sync` reads it there.
          name: of the artifact.
        """
        self._ask("model", os.path.abspath(folder), name)

    def _ask(self, what: str, *arguments: Any, seconds: float = PATIENCE) -> None:
        """Has W&B do something; when that fails it is not asked again, and training goes on."""
        problem = self._guest.ask(what, arguments, seconds) if self._guest else ""
        if problem:
            self._leave()
            self._warn(f"{what}: {problem}")

    def _warn(self, problem: str) -> None:
        log.warning(
            "Weights & Biases failed (%s): training goes on without it; what it has so far is in "
            "%s",
            *(problem, self._folder),
        )

    def _leave(self) -> None:
        if self._guest:
            self._guest.leave()
        self._guest = None


def key_of(secret: str) -> dict[str, str]:
    """The key that a secret of Secret Manager holds, as W&B's process takes it, and nobody else.

    https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access

    Raises:
      TrackingError: it can't be read.
    """
    if not secret:
        return {}
    import google.auth
    import requests
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    version = secret if "/versions/" in secret else f"{secret}/versions/latest"
    try:
        credentials, _ = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        answer = AuthorizedSession(credentials).get(
            f"https://secretmanager.googleapis.com/v1/{version}:access", timeout=PATIENCE
        )
    except (GoogleAuthError, requests.RequestException) as error:
        raise TrackingError(f"{secret} can't be asked for: {error}") from None
    if answer.status_code != 200:
        raise TrackingError(
            f"{secret} can't be read ({answer.status_code}): it has to be there, and who trains "
            "needs roles/secretmanager.secretAccessor on it"
        )
    key = base64.b64decode(answer.json()["payload"]["data"]).decode().strip()
    return {"WANDB_API_KEY": key}


class _Guest:
    """The process in which W&B works.

    It outlives Ctrl-C, to end its run in order, and a training that was killed: then it notices
    that nobody speaks to it any more, and ends its run as failed.
    """

    def __init__(self, folder: str, key: Mapping[str, str]):
        os.makedirs(folder, exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(prefix="spotted-wandb-")
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        variables = environment(folder) | {"TMPDIR": self._scratch.name} | dict(key)
        self._process = context.Process(target=_serve, args=(other, variables), daemon=True)
        self._process.start()
        self._asked = 0
        other.close()

    def ask(self, what: str, arguments: Sequence[Any], seconds: float) -> str:
        """Has something done; returns what went wrong, "" when nothing did."""
        self._asked += 1
        end = time.monotonic() + seconds
        try:
            self._pipe.send((self._asked, what, arguments))
            while self._pipe.poll(max(0.0, end - time.monotonic())):
                number, problem = self._pipe.recv()
                if number == self._asked:  # Ctrl-C may have left an answer to something earlier
                    return str(problem)
            return f"no answer in {seconds:.0f} s"
        except (OSError, EOFError):
            return "its process ended"

    def leave(self) -> None:
        """Lets the process end, or ends it."""
        self._pipe.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()
        self._scratch.cleanup()


def _serve(pipe: Connection, variables: Mapping[str, str]) -> None:
    """Does what is asked until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(variables)
    run = _Run()
    with contextlib.suppress(OSError, EOFError):
        while True:
            number, what, arguments = pipe.recv()
            pipe.send((number, _problem(run, what, arguments)))
    run.finish(1)


def _problem(run: "_Run", what: str, arguments: Sequence[Any]) -> str:
    """Does something; returns what went wrong, "" when nothing did."""
    try:
        getattr(run, what)(*arguments)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


class _Run:
    """W&B's run, in W&B's process."""

    def __init__(self) -> None:
        self._run: Any = None

    def start(self, mode: str, folder: str, name: str, settings: Mapping[str, Any]) -> None:
        """Begins it."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            config=dict(settings),
            mode=mode,
            dir=folder,
            settings=wandb.Settings(
                console="off", disable_git=True, save_code=False, init_timeout=PATIENCE
            ),
        )

    def epoch(self, number: int, metrics: dict[str, float]) -> None:
        """Logs an epoch."""
        self._run.log(metrics, step=number)

    def predictions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs a table."""
        import wandb

        table = wandb.Table(columns=["photo", "true", "predicted", "probability"])
        for row in rows:
            photo = wandb.Image(row["photo"])
            table.add_data(photo, row["true"], row["predicted"], float(row["probability"]))
        self._run.log({"predictions": table})

    def model(self, folder: str, name: str) -> None:
        """Logs an artifact."""
        import wandb

        artifact = wandb.Artifact(name, type="model")
        artifact.add_dir(folder, policy="immutable")
        self._run.log_artifact(artifact)

    def finish(self, code: int) -> None:
        """Ends it, once, and W&B with it."""
        run, self._run = self._run, None
        if run is not None:
            import wandb

            run.finish(exit_code=code)
            wandb.teardown(code)
