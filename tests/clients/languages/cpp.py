"""The C++ client, built with Debian's gRPC and protobuf; `conanfile.py` names current ones."""

from pathlib import Path

from clients.languages import ROOT, Language, run

CLIENT = ROOT / "clients/cpp"
BUILD = CLIENT / "build"


def build() -> None:
    """With few optimizations, for they take most of the time of a compiler."""
    if not (BUILD / "Makefile").exists():
        options = ("TOKENWIRE_BUILD_EXAMPLES=ON", "TOKENWIRE_BUILD_TESTS=ON", "CMAKE_CXX_FLAGS_RELEASE=-O1")
        run("cmake", "-S", CLIENT, "-B", BUILD, *(f"-D{option}" for option in options), cwd=CLIENT)
    run("cmake", "--build", BUILD, "--parallel", "2", cwd=CLIENT)


LANGUAGE = Language(
    name="cpp",
    build=build,
    driver=(BUILD / "tests/driver",),
    example=lambda name: (BUILD / f"examples/{name}",),
    programs=("cmake", "make", "g++", "protoc", "grpc_cpp_plugin"),
    files=(Path("/usr/include/grpcpp/grpcpp.h"), Path("/usr/include/google/protobuf/message.h")),
    packages=(
        "cmake",
        "make",
        "g++",
        "libgrpc++-dev",
        "libprotobuf-dev",
        "protobuf-compiler",
        "protobuf-compiler-grpc",
    ),
)
