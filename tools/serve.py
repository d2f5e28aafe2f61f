"""A page in the browser over a gallery: python tools/serve.py --gallery people

Drop a crop on it, see the ranked gallery, and click a match to see why. It is for this machine
alone unless --host says otherwise; it has no password. docs/search.md shows it.
"""

import argparse
import contextlib
import socket
from importlib.util import find_spec

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import startup
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded

_CONNECTIONS = 1000


def main(arguments: list[str] | None = None) -> None:
    """Serve until Ctrl-C. Raises InputError for what the user can mend."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", required=True, help="its folder, or its name on a server")
    parser.add_argument("--run", help="the model's folder, if it is not where index found it")
    parser.add_argument("--url", help="of a Qdrant server that holds the gallery")
    parser.add_argument("--root", default=".", help="the folder that names in it are relative to")
    parser.add_argument("--host", default="127.0.0.1", help="for others too: 0.0.0.0")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    given = parser.parse_args(arguments)
    startup.tune()
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise InputError(f'the page needs {name}: pip install -e ".[web]"')
    import uvicorn

    from fgsam_jax.retrieval.opened import opened
    from fgsam_jax.web.app import LOOPBACK, Page

    with (
        _listening(given.host, given.port) as listener,
        opened(given.gallery, given.run, given.url) as (gallery, embedder),
        contextlib.closing(Page(gallery, embedder, expanded(given.root))) as page,
    ):
        settings = uvicorn.Config(
            page.application(LOOPBACK if given.host in LOOPBACK else None),
            log_level="error",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        host, port = listener.getsockname()[:2]
        place = f"[{host}]" if ":" in host else host
        print(f"{len(gallery):,} crops at http://{place}:{port}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(settings).run([listener])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise InputError(f"{host}:{port} cannot be served: {reason}. Pass --port") from None


if __name__ == "__main__":
    with one_line():
        main()
