// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace support {

inline std::string error_text(double error) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", error);
  return text;
}

/// What tests found, quantity by configuration. Written at the end, as Markdown, to the file that $SEGUE_PARITY_TABLE
/// names, if it names one.
class ParityTable {
 public:
  static ParityTable& get() {
    static ParityTable table;
    return table;
  }
  ParityTable(const ParityTable&) = delete;
  ParityTable& operator=(const ParityTable&) = delete;

  void add(const std::string& configuration, const std::string& quantity, const std::string& found,
           const std::string& allowed) {
    remember(configurations_, configuration);
    remember(quantities_, quantity);
    found_[{quantity, configuration}] = found;
    allowed_[quantity] = allowed;
  }

 private:
  ParityTable() = default;
  ~ParityTable() {
    const char* path = std::getenv("SEGUE_PARITY_TABLE");
    if (path == nullptr || *path == '\0' || quantities_.empty()) return;
    std::ofstream file(path);
    file << "<!-- SPDX-FileCopyrightText: The segue authors -->\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
            "# The Wan family beside diffusers and PEFT\n"
            "Tiny random models that `tests/golden/make_wan_family.py` wrote with the packages of "
            "`tests/golden/requirements.txt`;\n|difference| / |theirs| in norm, float32 on the CPU where nothing else "
            "is "
            "said, PyTorch's own error in brackets. Written by\n"
            "`SEGUE_PARITY_TABLE=docs/parity.md build/dev/tests/test_models`.\n\n| |";
    for (const auto& c : configurations_) file << ' ' << c << " |";
    file << " allowed |\n|---|";
    for (std::size_t i = 0; i <= configurations_.size(); ++i) file << "---|";
    file << '\n';
    for (const auto& q : quantities_) {
      file << "| " << q << " |";
      for (const auto& c : configurations_) file << ' ' << found_[{q, c}] << " |";
      file << ' ' << allowed_[q] << " |\n";
    }
  }

  static void remember(std::vector<std::string>& names, const std::string& name) {
    for (const auto& known : names)
      if (known == name) return;
    names.push_back(name);
  }

  std::vector<std::string> configurations_, quantities_;
  std::map<std::pair<std::string, std::string>, std::string> found_;
  std::map<std::string, std::string> allowed_;
};

}  // namespace support
