"""Conan's recipe of the C++ client: `conan create clients/cpp`. CI builds with CMake and Debian's packages instead."""

from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class TokenwireConan(ConanFile):
    name = "tokenwire"
    version = "0.1.0"
    description = "LLM chat over gRPC, for teams that host their own model: the C++ client"
    license = "Apache-2.0"
    topics = ("grpc", "llm", "chat")
    package_type = "library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"shared": [True, False], "fPIC": [True, False]}  # noqa: RUF012 (Conan's own form)
    default_options = {"shared": False, "fPIC": True}  # noqa: RUF012
    implements = ["auto_shared_fpic"]  # noqa: RUF012
    generators = "CMakeDeps"
    exports_sources = "CMakeLists.txt", "cmake/*", "include/*", "src/*"

    def export_sources(self):
        root = Path(self.recipe_folder).parents[1]
        copy(self, "tokenwire/v1/*.proto", src=root / "proto", dst=Path(self.export_sources_folder) / "proto")
        copy(self, "LICENSE", src=root, dst=self.export_sources_folder)

    def requirements(self):
        # Our headers include those of both.
        self.requires("grpc/1.72.0", transitive_headers=True)
        self.requires("protobuf/[>=5.27 <7]", transitive_headers=True)  # as gRPC

    def build_requirements(self):
        self.tool_requires("cmake/[>=3.20]")
        self.tool_requires("grpc/<host_version>")
        self.tool_requires("protobuf/<host_version>")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["TOKENWIRE_PROTO_DIR"] = (Path(self.source_folder) / "proto").as_posix()
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", src=self.source_folder, dst=Path(self.package_folder) / "licenses")
        CMake(self).install()

    def package_info(self):
        # The package brings its own config file, with the target tokenwire::client.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/tokenwire"]
        self.cpp_info.libs = ["tokenwire_client"]
