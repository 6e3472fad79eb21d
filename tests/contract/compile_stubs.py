"""Generates and compiles the Go, Java, C++ and Node stubs of the contract with the toolchains of this machine.

    python tests/contract/compile_stubs.py [--require] [go|java|cpp|node ...]

A language whose toolchain is missing is skipped; with `--require` that is an error. `--packages` names the Debian
packages of what is missing. Standard library only.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
NODE_PROJECT = Path(__file__).parent / "node"
GOPATH = Path("/usr/share/gocode")
JARS = Path("/usr/share/java")
CLASSPATH = [JARS / f"{name}.jar" for name in ("protobuf", "guava", "grpc-api", "grpc-stub", "grpc-protobuf")]

# Debian's Java stubs carry `javax.annotation.Generated`, which left the JDK after Java 8.
GENERATED_ANNOTATION = """
package javax.annotation;
public @interface Generated { String value(); String comments() default ""; }
"""


def run(*command: str | Path, cwd: Path = PROTO, env: Mapping[str, str] | None = None) -> None:
    """Run a command. Raises `CalledProcessError` with its output when it fails, `TimeoutExpired` after ten minutes."""
    subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def protos() -> list[str]:
    """The files of the contract, relative to `PROTO`."""
    return sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))


def plugin(name: str, program: str) -> str:
    """The option that tells protoc where a plugin is."""
    return f"--plugin={name}={shutil.which(program)}"


def compile_go(work: Path) -> None:
    sources = work / "src"
    sources.mkdir()
    run("protoc", "-I.", f"--go_out={sources}", f"--go-grpc_out={sources}", *protos())
    # Debian ships Go libraries as a GOPATH, without modules.
    env = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": f"{work}:{GOPATH}", "GOCACHE": str(work / "cache")}
    run("go", "build", "tokenwire.dev/gen/tokenwire/v1", cwd=work, env=env)


def compile_java(work: Path) -> None:
    annotation = work / "javax/annotation/Generated.java"
    annotation.parent.mkdir(parents=True)
    annotation.write_text(GENERATED_ANNOTATION)
    outputs = (f"--java_out={work}", f"--grpc-java_out={work}")
    run("protoc", "-I.", plugin("protoc-gen-grpc-java", "grpc_java_plugin"), *outputs, *protos())
    classpath = os.pathsep.join(map(str, CLASSPATH))
    run("javac", "-nowarn", "-proc:none", "-d", work / "classes", "-cp", classpath, *sorted(work.rglob("*.java")))


def compile_cpp(work: Path) -> None:
    outputs = (f"--cpp_out={work}", f"--grpc_out={work}")
    run("protoc", "-I.", plugin("protoc-gen-grpc", "grpc_cpp_plugin"), *outputs, *protos())
    run("g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Werror", "-I", work, *sorted(work.rglob("*.cc")))


def compile_node(work: Path) -> None:
    shutil.copytree(NODE_PROJECT, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    run("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=work)
    binaries = work / "node_modules/.bin"
    types = ("--grpcLib=@grpc/grpc-js", "--keepCase", "--longs=String", "--enums=String", f"--includeDirs={PROTO}")
    run(binaries / "proto-loader-gen-types", *types, f"--outDir={work / 'generated'}", *protos(), cwd=work)
    run(binaries / "tsc", cwd=work)
    run("node", "stubs.js", PROTO, *protos(), cwd=work)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """How one language's stubs are compiled, and what that needs."""

    compile: Callable[[Path], None]
    """Generates and compiles in an empty folder."""
    programs: Sequence[str]
    files: Sequence[Path] = ()
    packages: Sequence[str] = ()
    """Debian packages that have it all, beside `protobuf-compiler`."""

    def missing(self) -> list[str]:
        """What this machine lacks."""
        programs = [program for program in self.programs if shutil.which(program) is None]
        return programs + [str(path) for path in self.files if not path.exists()]


TOOLCHAINS: Mapping[str, Toolchain] = {
    "go": Toolchain(
        compile_go,
        programs=("protoc", "go", "protoc-gen-go", "protoc-gen-go-grpc"),
        files=[GOPATH / "src/google.golang.org" / name for name in ("grpc", "protobuf")],
        packages=(
            "golang-go",
            "golang-google-grpc-dev",
            "golang-google-protobuf-dev",
            "protoc-gen-go",
            "protoc-gen-go-grpc",
        ),
    ),
    "java": Toolchain(
        compile_java,
        programs=("protoc", "javac", "grpc_java_plugin"),
        files=CLASSPATH,
        packages=("default-jdk-headless", "libgrpc-java", "libprotobuf-java", "protobuf-compiler-grpc-java-plugin"),
    ),
    "cpp": Toolchain(
        compile_cpp,
        programs=("protoc", "g++", "grpc_cpp_plugin"),
        files=(Path("/usr/include/grpcpp/grpcpp.h"),),
        packages=("g++", "libgrpc++-dev", "protobuf-compiler-grpc"),
    ),
    # Node comes from wherever the machine has it: Debian's npm brings some hundred packages.
    "node": Toolchain(compile_node, programs=("node", "npm"), packages=("nodejs", "npm")),
}


def compile_stubs(language: str, *, require: bool) -> bool:
    """Compile one language's stubs and print a line about it. False where it failed."""
    toolchain = TOOLCHAINS[language]
    if missing := toolchain.missing():
        print(f"{language}: {'FAILED' if require else 'skipped'}, not installed here: {', '.join(missing)}", flush=True)
        return not require
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        try:
            toolchain.compile(Path(work))
        except subprocess.CalledProcessError as error:
            print(f"{language}: FAILED: {' '.join(error.cmd)}\n{error.stdout}", flush=True)
            return False
    print(f"{language}: the stubs compile ({time.monotonic() - started:.0f} s)", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate and compile the stubs of the contract.")
    parser.add_argument("language", nargs="*", help=f"of {', '.join(TOOLCHAINS)}; default: all")
    parser.add_argument("--require", action="store_true", help="fail where a toolchain is missing")
    parser.add_argument(
        "--packages", action="store_true", help="print the Debian packages that are not there yet, and end"
    )
    options = parser.parse_args()
    if unknown := set(options.language) - TOOLCHAINS.keys():
        parser.error(f"no such language: {', '.join(sorted(unknown))}; there are {', '.join(TOOLCHAINS)}")
    languages = options.language or list(TOOLCHAINS)
    if options.packages:
        missing = [TOOLCHAINS[language] for language in languages if TOOLCHAINS[language].missing()]
        print(*(package for toolchain in missing for package in (*toolchain.packages, "protobuf-compiler")))
        return 0
    results = [compile_stubs(language, require=options.require) for language in languages]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
