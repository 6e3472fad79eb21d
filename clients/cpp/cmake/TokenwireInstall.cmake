# Installs the library, its headers and the package that `find_package(tokenwire)` finds.

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tokenwire")
install(TARGETS tokenwire_client EXPORT tokenwire-targets)
install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${generated}/tokenwire" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.pb.h")
install(EXPORT tokenwire-targets NAMESPACE tokenwire:: DESTINATION "${package_dir}")

configure_package_config_file(
  cmake/tokenwire-config.cmake.in "${PROJECT_BINARY_DIR}/tokenwire-config.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tokenwire-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES
    "${PROJECT_BINARY_DIR}/tokenwire-config.cmake"
    "${PROJECT_BINARY_DIR}/tokenwire-config-version.cmake"
    cmake/TokenwireDependencies.cmake
  DESTINATION "${package_dir}")
