// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "cells.hpp"
#include "segue/io/json.hpp"

namespace experiments {

/// The result files of OUT/cells by the 16 digits that end their names; empty where there is no such folder.
std::map<std::string, std::string> cell_files(const std::string& out);

/// Reads a result file. @throws segue::InputError that names it, for one that is no result.
segue::io::Json read_cell(const std::string& path);

/// OUT/cells/LABEL-KEY.json.
std::string cell_path(const std::string& out, const Cell& cell, const std::string& key);

/// A search's result as the choice needs it.
Tried tried_of(const segue::io::Json& cell, const std::string& path);

}  // namespace experiments
