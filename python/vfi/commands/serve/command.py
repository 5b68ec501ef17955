"""`vfi serve`: its arguments, and the server from its beginning to its end."""

import argparse
import hmac
import importlib.util
import os
import socket
import tempfile
import time
from pathlib import Path

from vfi.commands import option_values
from vfi.engines.names import ENGINES
from vfi.errors import UserError
from vfi.models.registry import DEFAULT, MODELS

_LOCAL = ("127.0.0.1", "localhost", "::1")
_PASSWORD = "VFI_PASSWORD"
_SWEEP, _OLD = 60, 900  # seconds from one look for old uploads to the next, and what is old


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    what = "a page in the browser: drop a video or two pictures, get a smoother or slower one"
    parser = commands.add_parser("serve", help=what, description=f"Starts {what}. Ctrl-C ends it.")
    argument = parser.add_argument
    argument(
        "--host",
        default=_LOCAL[0],
        help="address to listen at; others than this machine need a password (default: %(default)s)",
    )
    argument("--port", type=int, default=7860, help="0: any that is free (default: %(default)s)")
    argument(
        "--password", help=f"asked for by the page, with any name; also from the variable {_PASSWORD} (default: none)"
    )
    argument("--open", action="store_true", help="open the page in the browser")
    what = "a model that needs a file, such as rife=flownet.pkl, to be chosen on the page as well"
    argument("--weights", nargs="+", default=[], metavar="MODEL=FILE", help=f"{what} (default: those that need none)")
    argument("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    limits = parser.add_argument_group("limits").add_argument
    limits(
        "--max-size",
        type=option_values.memory,
        default="4G",
        metavar="BYTES",
        help="of an upload, 1M or more (default: %(default)s)",
    )
    what = "of a video: seconds or H:MM:SS (default: %(default)s)"
    limits("--max-length", type=option_values.seconds, default="1:00:00", metavar="TIME", help=what)
    what = "that a job may take: seconds or H:MM:SS (default: %(default)s)"
    limits("--max-time", type=option_values.seconds, default="6:00:00", metavar="TIME", help=what)
    limits("--jobs", type=int, default=1, help="videos that are made at the same time (default: %(default)s)")
    limits("--waiting", type=int, default=20, help="jobs that may wait for their turn (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    password = options.password or os.environ.get(_PASSWORD)
    if options.host not in _LOCAL and not password:
        raise UserError(f"--host {options.host} lets others in: it needs --password, or the variable {_PASSWORD}")
    for name in ("jobs", "waiting"):
        if vars(options)[name] < 1:
            raise UserError(f"expected --{name} to be at least 1, got {vars(options)[name]}")
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"expected --port to be from 0 to 65535, got {options.port}")
    models = models_of(options.weights)
    check_port(options.host, options.port)
    with tempfile.TemporaryDirectory(prefix="vfi-serve-", ignore_cleanup_errors=True) as folder:
        # Before Gradio is imported, which would ask two hosts otherwise, and keep what is sent where others find it.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": folder}
        _serve(options, password, models, Path(folder))


def models_of(given: list[str]) -> dict[str, str | None]:
    """Those that are offered, and the file of weights of each that has one."""
    models: dict[str, str | None] = {DEFAULT: None}
    models |= {name: None for name, entry in MODELS.items() if entry.weights is None or entry.shipped is not None}
    for each in given:
        name, _, weights = each.partition("=")
        if name not in MODELS or not weights:
            raise UserError(f"expected --weights MODEL=FILE with a model of {', '.join(MODELS)}, got {each!r}")
        if not Path(weights).exists():
            raise UserError(f"{weights} does not exist")
        models[name] = str(Path(weights).resolve())
    return models


def check_port(host: str, port: int) -> None:
    """Raises:
    UserError: if nobody can listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen at {host}, port {port}: {what}; another --port or --host may do") from error


def engines() -> tuple[str, ...]:
    """Those that can be chosen here."""
    needed = {"auto": "torch", "compile": "torch"}
    return tuple(name for name in ENGINES if importlib.util.find_spec(needed.get(name, name)) is not None)


def _serve(options: argparse.Namespace, password: str | None, models: dict[str, str | None], folder: Path) -> None:
    from vfi.commands.serve import layout
    from vfi.commands.serve.page import Page, Settings, files_of
    from vfi.commands.serve.sessions import Sessions
    from vfi.commands.serve.workers import Workers

    settings = Settings(
        models, engines(), options.device, float(options.max_length), float(options.max_time),
        options.jobs, options.waiting, options.max_size,
    )  # fmt: skip
    workers, sessions = Workers(), Sessions(folder)
    page = Page(settings, workers, sessions)
    blocks = layout.layout(page, settings)
    try:
        page.check()
        _, url, _ = blocks.launch(
            server_name=options.host,
            server_port=options.port or None,
            auth=(lambda name, given: hmac.compare_digest(given.encode(), password.encode())) if password else None,
            max_file_size=settings.size,
            inbrowser=options.open,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            footer_links=[],
            enable_monitoring=False,
            show_error=False,
            theme=layout.theme(),
            css=layout.CSS,
            app_kwargs={"routes": files_of(sessions)},
        )
        print(f"the page is at {url} (Ctrl-C ends it)", flush=True)
        if options.host not in _LOCAL:
            print(f"others reach it at http://{socket.gethostname()}:{blocks.server_port}/", flush=True)
        while True:
            time.sleep(_SWEEP)
            sessions.sweep(_OLD)
    finally:
        workers.close()
        blocks.close(verbose=False)
