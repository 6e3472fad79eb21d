# Makes stubs from .proto files at build time.

find_program(TOKENWIRE_PROTOC protoc REQUIRED)
find_program(TOKENWIRE_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)

# tokenwire_stubs(VARIABLE OUTPUT ROOT [GRPC] FILE...): the variable gets the sources that protoc writes below OUTPUT for
# files below ROOT.
function(tokenwire_stubs variable output root)
  cmake_parse_arguments(PARSE_ARGV 3 arg "GRPC" "" "")
  file(MAKE_DIRECTORY "${output}")
  foreach(proto IN LISTS arg_UNPARSED_ARGUMENTS)
    string(REGEX REPLACE "\\.proto$" "" stem "${output}/${proto}")
    set(outputs "${stem}.pb.cc" "${stem}.pb.h")
    set(plugin)
    if(arg_GRPC)
      list(APPEND outputs "${stem}.grpc.pb.cc" "${stem}.grpc.pb.h")
      set(plugin "--grpc_out=${output}" "--plugin=protoc-gen-grpc=${TOKENWIRE_GRPC_PLUGIN}")
      # Most of the time that they take goes into gRPC's headers.
      set_source_files_properties("${stem}.grpc.pb.cc" PROPERTIES UNITY_GROUP grpc)
    endif()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND "${TOKENWIRE_PROTOC}" "-I${root}" "-I${TOKENWIRE_PROTO_DIR}" "--cpp_out=${output}" ${plugin} "${root}/${proto}"
      DEPENDS "${root}/${proto}"
      VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  set(${variable} "${sources}" PARENT_SCOPE)
endfunction()
