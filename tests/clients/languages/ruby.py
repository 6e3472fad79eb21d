"""The Ruby client, run from its folder with Debian's gems: `tokenwire.gemspec` names newer ones, from rubygems.org."""

from pathlib import Path

from clients.languages import DRIVER_PROTO, PROTO, ROOT, Language, is_newer, run

CLIENT = ROOT / "clients/ruby"
BUILD = CLIENT / "build"
RUBY = ("ruby", "-I", CLIENT / "lib")

_STUBS = BUILD / "tokenwire/conformance/driver_pb.rb"
_CHECKED = BUILD / ".checked"
_CHECK = """
def Warning.warn(message, category: nil) = abort(message)
ARGV.each { |path| RubyVM::InstructionSequence.compile_file(path) }
"""
_GEMS = Path("/usr/lib").glob("*/rubygems-integration/*/specifications/grpc-*.gemspec")
"""Its folder has the processor's and Ruby's own names."""


def build() -> None:
    """The driver's messages, which are no part of the gem; the gem has its stubs. No file may have a warning."""
    BUILD.mkdir(exist_ok=True)
    proto = DRIVER_PROTO / "tokenwire/conformance/driver.proto"
    if not is_newer(_STUBS, [proto]):
        run("protoc", f"-I{PROTO}", f"-I{DRIVER_PROTO}", f"--ruby_out={BUILD}", proto, cwd=ROOT)
    sources = [path for path in sorted(CLIENT.rglob("*.rb")) if not path.is_relative_to(BUILD)]
    if not is_newer(_CHECKED, sources):
        run("ruby", "-w", "-e", _CHECK, *sources, cwd=CLIENT)
        _CHECKED.touch()


LANGUAGE = Language(
    name="ruby",
    build=build,
    driver=(*RUBY, "-I", BUILD, CLIENT / "test/driver.rb"),
    example=lambda name: (*RUBY, CLIENT / f"examples/{name}.rb"),
    programs=("ruby", "protoc"),
    files=(next(_GEMS, Path("/usr/lib/rubygems-integration/grpc.gemspec")),),
    packages=("ruby", "ruby-grpc", "protobuf-compiler"),
)
