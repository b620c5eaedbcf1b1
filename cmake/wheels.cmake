# Only for building over the ros-kilted-* or ros-jazzy-* wheels of PyPI: -DCMAKE_PROJECT_INCLUDE=<this file>
#
# Two things about include folders stop CMake there, both put right once the project has been read and
# before anything is generated:
# - the wheels' exports carry folders of the machine that built them (/opt/python/...), which don't exist;
# - numpy's headers lie in a venv inside the source folder, where an installed target must not point.
function(_repair_includes)
  get_property(imported DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  get_property(own DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS imported own)
    get_target_property(includes "${target}" INTERFACE_INCLUDE_DIRECTORIES)
    if(includes)
      list(FILTER includes EXCLUDE REGEX "^/opt/python/")
      list(TRANSFORM includes REPLACE "^(.*/site-packages/numpy/.*)$" "$<BUILD_INTERFACE:\\1>")
      set_target_properties("${target}" PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${includes}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" CALL _repair_includes)
