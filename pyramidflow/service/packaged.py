"""Scripts, styles and the icon of the pages, out of the package."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Response

FOLDER: Final = Path(__file__).with_name("files")

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@router.get("/files/{name}")
def file(name: str) -> Response:
    """One of the files that lie in the folder: a name that was asked for never makes a path."""
    found = {path.name: path for path in FOLDER.iterdir() if path.suffix in _TYPES}.get(name)
    if found is None:
        raise HTTPException(404, "there is no such file.")
    headers = {"cache-control": "no-cache"}
    return Response(found.read_bytes(), media_type=_TYPES[found.suffix], headers=headers)
