"""The Node client, built with npm as its README says."""

from pathlib import Path

from clients.languages import DRIVER_PROTO, PROTO, ROOT, Language, is_newer, run

CLIENT = ROOT / "clients/node"
INSTALLED = CLIENT / "node_modules/.package-lock.json"
"""npm writes it last."""
BUILT = CLIENT / "build/.built"


def build() -> None:
    """The dependencies, where the lock file is newer; then client, driver and examples, where a source is."""
    if not is_newer(INSTALLED, [CLIENT / "package-lock.json"]):
        run("npm", "ci", "--no-fund", "--no-audit", cwd=CLIENT)
    sources = [path for folder in ("src", "test", "examples", "proto", "scripts") for path in _files(CLIENT / folder)]
    sources += [*_files(PROTO), *_files(DRIVER_PROTO), *CLIENT.glob("*.json"), INSTALLED, Path(__file__)]
    if not is_newer(BUILT, sources):
        run("npm", "run", "build:all", cwd=CLIENT)
        BUILT.touch()


def _files(folder: Path) -> list[Path]:
    """What is in a folder, but for generated code."""
    return [path for path in folder.rglob("*") if path.is_file() and "gen" not in path.relative_to(ROOT).parts]


LANGUAGE = Language(
    name="node",
    build=build,
    driver=("node", CLIENT / "build/test/driver.js"),
    example=lambda name: ("node", CLIENT / f"build/examples/{name.replace('_', '-')}.js"),
    programs=("protoc", "node", "npm"),
    packages=("protobuf-compiler", "nodejs", "npm"),
)
