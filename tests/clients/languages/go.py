"""The Go client, with Debian's Go and Debian's gRPC."""

import os
from pathlib import Path

from clients.languages import DRIVER_PROTO, PROTO, ROOT, Language, run

CLIENT = ROOT / "clients/go"
BUILD = CLIENT / "build"
PROGRAMS = BUILD / "bin"
DEBIAN = Path("/usr/share/gocode")

# Debian ships Go libraries as a GOPATH, without modules. Its first folder has the module's own packages, by a link; the
# second those that are generated for the driver, which are no part of the module.
OWN, DRIVER_STUBS = BUILD / "own", BUILD / "driver"
ENVIRONMENT = {
    "GO111MODULE": "off",
    "GOFLAGS": "",
    "GOPATH": f"{OWN}:{DRIVER_STUBS}:{DEBIAN}",
    "GOCACHE": str(BUILD / "cache"),
}


def build() -> None:
    """The Go tools themselves know what is left to do."""
    (OWN / "src").mkdir(parents=True, exist_ok=True)
    if not (link := OWN / "src/tokenwire.dev").is_symlink():
        link.symlink_to(os.path.relpath(CLIENT, link.parent))
    generate_driver_stubs()
    packages = ["tokenwire.dev/testdata/driver", *examples()]
    go("build", "-o", f"{PROGRAMS}/", *packages)
    go("vet", "tokenwire.dev/tokenwire", *packages)
    go("test", "tokenwire.dev/tokenwire")


def go(*arguments: str) -> None:
    """Run a Go tool."""
    run("go", *arguments, cwd=BUILD, environment=ENVIRONMENT)


def examples() -> list[str]:
    """Import paths."""
    return [f"tokenwire.dev/examples/{main.parent.name}" for main in sorted(CLIENT.glob("examples/*/main.go"))]


def generate_driver_stubs() -> None:
    """Unless they are newer than what they are made of."""
    source = DRIVER_PROTO / "tokenwire/conformance/driver.proto"
    made = DRIVER_STUBS / "src/tokenwire.dev/gen/tokenwire/conformance/driver.pb.go"
    if made.exists() and made.stat().st_mtime > source.stat().st_mtime:
        return
    (DRIVER_STUBS / "src").mkdir(parents=True, exist_ok=True)
    run("protoc", f"-I{PROTO}", f"-I{DRIVER_PROTO}", f"--go_out={DRIVER_STUBS / 'src'}", source, cwd=BUILD)


LANGUAGE = Language(
    name="go",
    build=build,
    driver=(PROGRAMS / "driver",),
    example=lambda name: (PROGRAMS / name,),
    programs=("protoc", "go", "protoc-gen-go", "protoc-gen-go-grpc"),
    files=[DEBIAN / "src/google.golang.org" / name for name in ("grpc", "protobuf", "genproto")],
    packages=(
        "golang-go",
        "golang-google-grpc-dev",
        "golang-google-protobuf-dev",
        "golang-google-genproto-dev",
        "protobuf-compiler",
        "protoc-gen-go",
        "protoc-gen-go-grpc",
    ),
    # Off by default in the gRPC that Debian has; users' has them on.
    environment={"GRPC_GO_RETRY": "on"},
    fails={
        f"details that do not parse do not hide the status ({call})": "up to gRPC 1.58 they make the status INTERNAL"
        for call in ("create", "stream")
    },
)
