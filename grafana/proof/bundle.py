"""The page that draws: npm packages and the bundle of `src/`, built into `.proof/` and anew when they change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CACHE: Final = HERE.parents[1] / ".proof"
NODE: Final = 18
INSTALL_S: Final = 600.0
FONTS: Final = {
    f"Inter-{name}.woff2": f"inter-latin-{weight}-{style}.woff2"
    for name, weight, style in (
        ("Regular", 400, "normal"),
        ("Italic", 400, "italic"),
        ("Medium", 500, "normal"),
        ("MediumItalic", 500, "italic"),
    )
}
"""Grafana's name of a font's file -> the package's: texts are as wide as they are in Grafana."""
LOADERS: Final = ("svg", "woff", "woff2", "ttf", "png", "gif")


class MissingError(Exception):
    """Something of this machine is needed and not there; the text says how to get it."""


def built() -> Path:
    """The folder with `main.js`, `main.css` and `public/`.

    Raises:
        MissingError: node, npm or the registry is not there.
    """
    _programs()
    if _changed("modules", ("package.json", "package-lock.json")):
        _install()
        _mark("modules", ("package.json", "package-lock.json"))
    sources = ("package-lock.json", *sorted(f"src/{p.name}" for p in (HERE / "src").iterdir()))
    if _changed("bundle", sources):
        _bundle()
        _mark("bundle", sources)
    return CACHE / "dist"


def _programs() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingError(f"{program} is not installed: apt-get install nodejs npm (or make system-deps)")
    text = subprocess.run(("node", "--version"), capture_output=True, text=True, check=True).stdout.strip()
    if int(text.removeprefix("v").split(".")[0]) < NODE:
        raise MissingError(f"node: got {text}, expected version {NODE} or later: apt-get install nodejs, or nodejs.org")


def _digest(names: tuple[str, ...]) -> str:
    return hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in names)).hexdigest()


def _changed(what: str, names: tuple[str, ...]) -> bool:
    mark = CACHE / f"{what}.sha256"
    return not mark.exists() or mark.read_text(encoding="ascii") != _digest(names)


def _mark(what: str, names: tuple[str, ...]) -> None:
    (CACHE / f"{what}.sha256").write_text(_digest(names), encoding="ascii")


def _install() -> None:
    """A minute or two and 430 MB: `@grafana/ui` brings its whole world."""
    print(f"proof: npm packages into {CACHE} (once; a minute or two)", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    (CACHE / "bundle.sha256").unlink(missing_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, CACHE / name)
    # No script of 385 packages runs here; peers ask for React versions that disagree, and the lock file decides.
    options = ("--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--loglevel=error")
    done = subprocess.run(
        ("npm", "ci", *options), cwd=CACHE, capture_output=True, text=True, check=False, timeout=INSTALL_S
    )
    if done.returncode:
        raise MissingError(
            f"npm ci failed (exit {done.returncode}); is its registry reachable? {done.stderr.strip()[-600:]}"
        )


def _bundle() -> None:
    dist = CACHE / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    modules = CACHE / "node_modules"
    options = [f"--loader:.{ending}=dataurl" for ending in LOADERS]
    defined = {"process.env.NODE_ENV": '"production"', "process.env": "{}", "global": "globalThis"}
    options += [f"--define:{name}={value}" for name, value in defined.items()]
    command = ["node", str(modules / "esbuild/bin/esbuild"), str(HERE / "src/main.jsx"), "--bundle", "--minify"]
    command += ["--format=iife", "--platform=browser", "--target=es2022", "--jsx=automatic", "--log-level=error"]
    done = subprocess.run(
        [*command, *options, f"--outfile={dist / 'main.js'}"],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the bundle of {HERE / 'src'} does not build: {done.stderr.strip()[-2000:]}")
    (dist / "public").symlink_to(modules / "@grafana/ui/dist/public")
    (dist / "fonts").mkdir()
    for name, file in FONTS.items():
        shutil.copy(modules / "@fontsource/inter/files" / file, dist / "fonts" / name)
