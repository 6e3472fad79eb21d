"""The Java client, built with Debian's jars: `clients/java/pom.xml` names newer ones, which come from Maven Central."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from google.rpc import error_details_pb2

from clients.languages import DRIVER_PROTO, PROTO, ROOT, Language, is_newer, run

CLIENT = ROOT / "clients/java"
TARGET = CLIENT / "target/debian"
JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in (
        *("protobuf", "guava", "gson", "jsr305", "error-prone-annotations", "perfmark-api"),
        *("grpc-api", "grpc-context", "grpc-core", "grpc-netty", "grpc-protobuf", "grpc-protobuf-lite", "grpc-stub"),
        *("netty-buffer", "netty-codec", "netty-codec-http", "netty-codec-http2", "netty-codec-socks", "netty-common"),
        *("netty-handler", "netty-handler-proxy", "netty-resolver", "netty-transport"),
        *("netty-transport-native-unix-common", "netty-tcnative", "junit4", "hamcrest"),
    )
]

TLS = next(Path("/usr/lib").glob("*/jni/libnetty-tcnative.so"), Path("/usr/lib/jni/libnetty-tcnative.so"))
"""OpenSSL for Netty: Debian's Netty cannot negotiate HTTP/2 with the TLS of the JDK."""

NATIVE = TARGET / "native"
"""Has it under the name by which Netty looks for it; a link would be followed, and refused."""

GENERATED_ANNOTATION = """package javax.annotation;

public @interface Generated {
  String value();

  String comments() default "";
}
"""
"""The stubs of Debian's plugin carry it; it left the JDK after Java 8. Newer ones are generated without."""

GOOGLEAPIS = Path(error_details_pb2.__file__).parents[2]
"""Has the source of google.rpc.ErrorInfo, which Debian's libgoogle-common-protos-java is too old for."""

STRICT = ("-Xlint:all", "-Werror")
# The programs are small: what counts is how soon they run.
JAVA = ("java", f"-Djava.library.path={NATIVE}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def build() -> None:
    """Stubs, client, driver and examples, each into a folder of its own, where its sources are newer than it."""
    stubs = TARGET / "stubs"
    protos = sorted([*PROTO.rglob("*.proto"), *DRIVER_PROTO.rglob("*.proto")])
    protos += [GOOGLEAPIS / "google/rpc" / name for name in ("status.proto", "error_details.proto")]
    if not _is_fresh(stubs, protos):
        _compile(stubs, _generate(protos), [], "-nowarn")
    NATIVE.mkdir(exist_ok=True)
    shutil.copy(TLS, NATIVE / "libnetty_tcnative.so")
    client, tests, examples = TARGET / "client", TARGET / "tests", TARGET / "examples"
    for classes, folder, after in (
        (client, "src/main/java", [stubs]),
        (tests, "src/test/java", [stubs, client]),
        (examples, "examples", [stubs, client]),
    ):
        sources = sorted((CLIENT / folder).rglob("*.java"))
        if not _is_fresh(classes, [*sources, *(_stamp(earlier) for earlier in after)]):
            _compile(classes, sources, after, *STRICT)


def _generate(protos: Sequence[Path]) -> list[Path]:
    """The sources of the stubs."""
    generated = TARGET / "generated"
    shutil.rmtree(generated, ignore_errors=True)
    annotation = generated / "javax/annotation/Generated.java"
    annotation.parent.mkdir(parents=True)
    annotation.write_text(GENERATED_ANNOTATION)
    plugin = f"--plugin=protoc-gen-grpc-java={shutil.which('grpc_java_plugin')}"
    outputs = (f"--java_out={generated}", f"--grpc-java_out={generated}")
    run("protoc", f"-I{PROTO}", f"-I{DRIVER_PROTO}", f"-I{GOOGLEAPIS}", plugin, *outputs, *protos, cwd=ROOT)
    return sorted(generated.rglob("*.java"))


def _compile(classes: Path, sources: Sequence[Path], after: Sequence[Path], *options: str) -> None:
    shutil.rmtree(classes, ignore_errors=True)
    classes.mkdir(parents=True)
    path = os.pathsep.join(map(str, [*after, *JARS]))
    common = ("-encoding", "UTF-8", "--release", "17", "-proc:none", "-d", classes, "-cp", path)
    run("javac", *common, *options, *sources, cwd=CLIENT)
    _stamp(classes).touch()


def _is_fresh(classes: Path, sources: Sequence[Path]) -> bool:
    return is_newer(_stamp(classes), [*sources, Path(__file__)])


def _stamp(classes: Path) -> Path:
    return classes / ".compiled"


def java(main: str) -> list[str]:
    """The command that runs a class."""
    path = [TARGET / "examples", TARGET / "tests", TARGET / "client", TARGET / "stubs", *JARS]
    return [*JAVA, "-cp", os.pathsep.join(map(str, path)), main]


def _example(name: str) -> list[str]:
    """`json_schema` is `JsonSchema`."""
    return java("".join(word.capitalize() for word in name.split("_")))


LANGUAGE = Language(
    name="java",
    build=build,
    driver=java("dev.tokenwire.conformance.ConformanceDriver"),
    example=_example,
    programs=("protoc", "java", "javac", "grpc_java_plugin"),
    files=[*JARS, TLS],
    packages=(
        *("default-jdk-headless", "libgrpc-java", "libprotobuf-java"),
        *("protobuf-compiler", "protobuf-compiler-grpc-java-plugin"),
        *("libguava-java", "libjsr305-java", "liberror-prone-java"),
        *("libnetty-java", "libnetty-tcnative-java", "libperfmark-java", "libgoogle-gson-java", "junit4"),
    ),
)
