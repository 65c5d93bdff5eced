# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# How this project builds its own tests, examples and benchmarks. Users of the library see none of it.

include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)

set(segue_native_flags "")
if(SEGUE_NATIVE)
  check_cxx_compiler_flag(-march=native SEGUE_HAS_MARCH_NATIVE)
  if(SEGUE_HAS_MARCH_NATIVE)
    set(segue_native_flags -march=native)
  endif()
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(CMAKE_REQUIRED_FLAGS "${CMAKE_CXX_FLAGS} ${segue_native_flags}")
  unset(SEGUE_HAS_AVX2 CACHE)
  check_cxx_source_compiles("#ifndef __AVX2__\n#error\n#endif\nint main() {}" SEGUE_HAS_AVX2)
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT SEGUE_HAS_AVX2)
    message(STATUS "segue: built without AVX2, matrix products run at about a third of their speed "
                   "(62 against 190 GFLOP/s where it was measured).")
  endif()
endif()

# segue_program(<target>): language, warnings and processor flags for one of our own executables or objects.
function(segue_program target)
  target_link_libraries(${target} PRIVATE segue::segue)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_SCAN_FOR_MODULES OFF)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow ${segue_native_flags}
                                           $<$<BOOL:${SEGUE_WERROR}>:-Werror>)
endfunction()
