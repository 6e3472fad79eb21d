# Finds gRPC and protobuf: the target `tokenwire::grpc` links both, TOKENWIRE_PROTOC and TOKENWIRE_GRPC_PLUGIN make stubs.
# Read by our own build and by programs that use the installed package.

# Newer protobufs need what only their own config files know; CMake's module serves the older ones.
find_package(Protobuf CONFIG QUIET)
if(NOT Protobuf_FOUND)
  find_package(Protobuf QUIET)
endif()
find_package(Threads QUIET)
find_package(gRPC CONFIG QUIET)

if(NOT TARGET tokenwire::grpc)
  add_library(tokenwire::grpc INTERFACE IMPORTED GLOBAL)
  if(TARGET gRPC::grpc++ AND TARGET protobuf::libprotobuf)
    target_link_libraries(tokenwire::grpc INTERFACE gRPC::grpc++ protobuf::libprotobuf)
  else()
    # Some distributions leave these config files out.
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(TOKENWIRE_GRPC REQUIRED IMPORTED_TARGET GLOBAL grpc++ protobuf)
    target_link_libraries(tokenwire::grpc INTERFACE PkgConfig::TOKENWIRE_GRPC)
  endif()
endif()
