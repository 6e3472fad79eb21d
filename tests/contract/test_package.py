"""The wheel: what is in it, and that its base dependencies are enough for clients."""

import subprocess
import sys
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=120)
    return next(folder.glob("tokenwire-*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def installed_by(extra: str = "") -> set[str]:
    """What `pip install tokenwire`, or `tokenwire[extra]`, installs."""
    found = {"tokenwire"}
    queue = ["tokenwire"]
    while queue:
        owner = queue.pop()
        for line in distribution(owner).requires or []:
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            marker = {"extra": extra if owner == "tokenwire" else ""}
            wanted = requirement.marker is None or requirement.marker.evaluate(marker)
            if wanted and name not in found:
                found.add(name)
                queue.append(name)
    return found


def run_installed(folder: Path, code: str, *, extra: str = "") -> str:
    """What the code prints where the packages are those of the wheel and of what it depends on."""
    installed = installed_by(extra)
    others = [
        name
        for name, owners in packages_distributions().items()
        if not installed.intersection(map(canonicalize_name, owners)) and name.isidentifier()
    ]
    # `None` in `sys.modules` makes an import fail as if the module were not installed.
    start = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.modules.update(dict.fromkeys({others!r}))\n"
    result = subprocess.run(
        [sys.executable, "-c", start + code], timeout=60, check=True, capture_output=True, text=True, cwd=folder
    )
    return result.stdout


def test_wheel_holds_both_packages_with_their_types_and_stubs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"tokenwire/py.typed", "tokenwire_client/py.typed", "tokenwire_client/__init__.py"} <= names
    for proto in (ROOT / "proto/tokenwire/v1").glob("*.proto"):
        assert {f"tokenwire/v1/{proto.stem}_pb2{ending}" for ending in (".py", ".pyi")} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"tokenwire", "tokenwire_client"}


def test_client_imports_without_the_serve_extra(unpacked: Path) -> None:
    code = "import tokenwire.v1.chat_pb2_grpc, tokenwire_client as client; print(client.__file__)"
    assert run_installed(unpacked, code).strip() == str(unpacked / "tokenwire_client/__init__.py")


@pytest.mark.parametrize(
    "command", [[], ["chat"], ["generate"], ["cancel"], ["load"], ["bench"], ["serve"], ["gateway"]]
)
def test_help_needs_no_extra(unpacked: Path, command: list[str]) -> None:
    code = f"sys.argv = ['tokenwire', *{command}, '--help']; from tokenwire.cli.app import main; main()"
    assert f"Usage: {' '.join(['tokenwire', *command])}" in run_installed(unpacked, code)


def test_serve_extra_is_not_in_the_base() -> None:
    assert not installed_by() & {"torch", "transformers", "starlette"}


def test_the_gateway_needs_its_extra_only(unpacked: Path) -> None:
    code = "import tokenwire.gateway.gateway as gateway; print(gateway.__file__)"
    assert run_installed(unpacked, code, extra="gateway").strip() == str(unpacked / "tokenwire/gateway/gateway.py")


def test_the_files_of_the_playground_are_in_the_wheel(unpacked: Path) -> None:
    page = Path("tokenwire/rest/playground/page")
    names = {file.name for file in (unpacked / page).iterdir()}
    assert "index.html" in names
    assert names == {file.name for file in (ROOT / "service" / page).iterdir()}
