# SPDX-FileCopyrightText: The segue authors
# SPDX-License-Identifier: Apache-2.0

# segue::image is what the one .cpp of a program needs that includes segue/io/impl.hpp: nlohmann-json, and stb for
# pictures. The same file serves the source tree and the installed package, so that no path is written into either.
# There is no such target without nlohmann-json; without stb pictures are refused at run time, in one sentence.
if(NOT TARGET segue::image)
  find_package(nlohmann_json 3 QUIET)
  find_path(SEGUE_STB_INCLUDE_DIR NAMES stb_image.h PATH_SUFFIXES stb
            DOC "Folder that holds stb_image.h and stb_image_write.h")
  mark_as_advanced(SEGUE_STB_INCLUDE_DIR)
  if(TARGET nlohmann_json::nlohmann_json)
    add_library(segue::image INTERFACE IMPORTED GLOBAL)
    get_target_property(segue_json_dirs nlohmann_json::nlohmann_json INTERFACE_INCLUDE_DIRECTORIES)
    set_target_properties(segue::image PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${segue_json_dirs}")
    unset(segue_json_dirs)
    if(SEGUE_STB_INCLUDE_DIR)
      # Debian's header is <stb/stb_image.h> to programs, others' <stb_image.h>: both are found. The system's own
      # folder must not be named again, since that breaks the order in which the standard headers are looked up.
      target_include_directories(segue::image INTERFACE "${SEGUE_STB_INCLUDE_DIR}")
      cmake_path(GET SEGUE_STB_INCLUDE_DIR PARENT_PATH segue_stb_parent)
      if(SEGUE_STB_INCLUDE_DIR MATCHES "/stb$"
         AND NOT segue_stb_parent IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
        target_include_directories(segue::image INTERFACE "${segue_stb_parent}")
      endif()
      unset(segue_stb_parent)
      target_compile_definitions(segue::image INTERFACE SEGUE_HAS_STB=1)
    else()
      target_compile_definitions(segue::image INTERFACE SEGUE_HAS_STB=0)
    endif()
  endif()
endif()
