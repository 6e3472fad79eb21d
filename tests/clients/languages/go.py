"""The Go client, with Debian's Go and Debian's gRPC."""

import os
from pathlib import Path

from clients.languages import DRIVER_PROTO, PROTO, ROOT, Language, is_newer, run

CLIENT = ROOT / "clients/go"
BUILD = CLIENT / "build"
PROGRAMS = BUILD / "bin"
DEBIAN = Path("/usr/share/gocode")

# Debian ships Go libraries as a GOPATH, without modules. Its first folder has the module's own packages, by a link; the
# second those that are made for the tests, which are no part of the module.
OWN, MADE = BUILD / "own", BUILD / "made"
ENVIRONMENT = {
    "GO111MODULE": "off",
    "GOFLAGS": "",
    "GOPATH": f"{OWN}:{MADE}:{DEBIAN}",
    "GOCACHE": str(BUILD / "cache"),
}

# Debian's Go is older than iterators. All that they need is this type, and the tag by which Go would choose their file.
ITER = """package iter

type Seq2[K, V any] func(yield func(K, V) bool)
"""
WITH_ITERATORS = "-tags=go1.23"


def build() -> None:
    """The Go tools themselves know what is left to do."""
    (OWN / "src").mkdir(parents=True, exist_ok=True)
    if not (link := OWN / "src/tokenwire.dev").is_symlink():
        link.symlink_to(os.path.relpath(CLIENT, link.parent))
    make_packages()
    programs = ["tokenwire.dev/testdata/driver", *examples()]
    go("build", "-o", f"{PROGRAMS}/", *programs)
    go("vet", WITH_ITERATORS, "tokenwire.dev/tokenwire", *programs)
    go("test", WITH_ITERATORS, "tokenwire.dev/tokenwire")


def go(*arguments: str) -> None:
    """Run a Go tool."""
    run("go", *arguments, cwd=BUILD, environment=ENVIRONMENT)


def examples() -> list[str]:
    """Import paths."""
    return [f"tokenwire.dev/examples/{main.parent.name}" for main in sorted(CLIENT.glob("examples/*/main.go"))]


def make_packages() -> None:
    """The driver's stubs, unless they are newer than what they are made of, and `iter`."""
    iterators = MADE / "src/iter/iter.go"
    iterators.parent.mkdir(parents=True, exist_ok=True)
    iterators.write_text(ITER)
    source = DRIVER_PROTO / "tokenwire/conformance/driver.proto"
    stubs = MADE / "src/tokenwire.dev/gen/tokenwire/conformance/driver.pb.go"
    if not is_newer(stubs, [source]):
        run("protoc", f"-I{PROTO}", f"-I{DRIVER_PROTO}", f"--go_out={MADE / 'src'}", source, cwd=BUILD)


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
