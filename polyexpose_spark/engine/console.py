"""The page at ``/console``: GraphiQL beside a list of the published root fields, from files of this engine only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from polyexpose_spark.engine.console_page import CSS, HTML, JAVASCRIPT

# The browser builds in the npm packages graphiql 3, react 18 and react-dom 18, and how browsers are told what they are.
ASSETS = {
    "react.production.min.js": "text/javascript; charset=utf-8",
    "react-dom.production.min.js": "text/javascript; charset=utf-8",
    "graphiql.min.js": "text/javascript; charset=utf-8",
    "graphiql.min.css": "text/css; charset=utf-8",
}
_HTML = "text/html; charset=utf-8"
_HEADERS = {
    # Nothing is loaded from elsewhere, and nothing can be sent elsewhere.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Page:
    """An answer to a browser."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Console:
    """Serves the page and its files; ``assets`` is the folder the four files were put into at set-up."""

    def __init__(self, assets: Path | None) -> None:
        self._assets = assets
        self._own = {
            "/console/page.js": Page(200, JAVASCRIPT.encode(), ASSETS["graphiql.min.js"], _HEADERS),
            "/console/page.css": Page(200, CSS.encode(), ASSETS["graphiql.min.css"], _HEADERS),
        }

    def get(self, path: str) -> Page:
        """The page, or one of its files; 404 for anything else."""
        if path.rstrip("/") == "/console":
            missing = [name for name in ASSETS if self._assets is None or not (self._assets / name).is_file()]
            if missing:
                text = (
                    f"The console is not installed: {', '.join(missing)} not found (--console-assets); "
                    "python -m polyexpose_spark.engine.console_assets fetches what it needs.\n"
                )
                return Page(404, text.encode(), "text/plain; charset=utf-8")
            return Page(200, HTML.encode(), _HTML, _HEADERS)
        if path in self._own:
            return self._own[path]
        name = path.removeprefix("/console/")
        if name in ASSETS and self._assets is not None:
            try:
                return Page(200, (self._assets / name).read_bytes(), ASSETS[name], _HEADERS)
            except OSError:
                pass
        return Page(404, b"not found\n", "text/plain; charset=utf-8")
