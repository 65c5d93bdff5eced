// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0

// Reads every header under include/segue and every other source of the project, and names what breaks the rules of the
// house: arrows that run up, cycles, heavy includes outside their room, long files, loose macros, missing licences.
//
//   check_floors ROOT         exits 1 if anything was found
//   check_floors --self-test  plants each violation in a small house and expects it to be found

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

constexpr int open_roof = 100;  // umbrellas and leaves: they see everything, nothing of ours sees them

const std::map<std::string, int> floors = {{"core", 1},        {"policy", 1},          {"ops", 2},
                                           {"io", 2},          {"autograd", 3},        {"functional", 4},
                                           {"nn", 5},          {"adapters", 5},        {"models", 6},
                                           {"schedulers", 6},  {"train", 7},           {"tasks", 7},
                                           {"distributed", 8}, {"testing", open_roof}, {"interop", open_roof}};

constexpr int highest_floor_of_testing = 4;
constexpr std::size_t longest_header = 500;

struct Header {
  std::string path;                // below include/, as in an #include: segue/core/view.hpp
  std::vector<std::string> lines;  // as written
  std::vector<std::string> code;   // without comments, and with empty string literals except after #include
};

struct Include {
  std::size_t line;
  std::string name;
};

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines(1);
  for (char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back() += c;
    }
  }
  if (lines.back().empty()) lines.pop_back();
  return lines;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Blanks comments and the inside of literals, and keeps the line breaks. An #include keeps its name.
std::string strip(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  bool include_line = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\n') {
      include_line = false;
      out += text[i++];
    } else if (text.compare(i, 2, "//") == 0 && !include_line) {
      while (i < text.size() && text[i] != '\n') ++i;
    } else if (text.compare(i, 2, "/*") == 0) {
      const std::size_t end = text.find("*/", i + 2);
      const std::size_t stop = end == std::string::npos ? text.size() : end + 2;
      for (; i < stop; ++i) {
        if (text[i] == '\n') out += '\n';
      }
    } else if (c == '#' && !include_line) {
      std::size_t word = i + 1;
      while (word < text.size() && (text[word] == ' ' || text[word] == '\t')) ++word;
      include_line = text.compare(word, 7, "include") == 0;
      out += text[i++];
    } else if (text.compare(i, 2, "R\"") == 0 && !include_line) {
      const std::size_t open = text.find('(', i);
      const std::string close = open == std::string::npos ? "" : ")" + text.substr(i + 2, open - i - 2) + "\"";
      const std::size_t end = close.empty() ? std::string::npos : text.find(close, open);
      const std::size_t stop = end == std::string::npos ? text.size() : end + close.size();
      for (; i < stop; ++i) {
        if (text[i] == '\n') out += '\n';
      }
      out += "\"\"";
    } else if (c == '"' && !include_line) {
      out += '"';
      for (++i; i < text.size() && text[i] != '"' && text[i] != '\n'; ++i) {
        if (text[i] == '\\') ++i;
      }
      if (i < text.size() && text[i] == '"') out += text[i++];
    } else if (c == '\'' && (i == 0 || std::isalnum(static_cast<unsigned char>(text[i - 1])) == 0)) {
      out += "' '";
      for (++i; i < text.size() && text[i] != '\'' && text[i] != '\n'; ++i) {
        if (text[i] == '\\') ++i;
      }
      if (i < text.size() && text[i] == '\'') ++i;
    } else {
      out += text[i++];
    }
  }
  return out;
}

bool starts_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }
bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// What follows `#word` on a line of code, without the blanks around it; empty if the line is another one.
std::string directive(const std::string& line, std::string_view word) {
  std::size_t i = line.find_first_not_of(" \t");
  if (i == std::string::npos || line[i] != '#') return "";
  i = line.find_first_not_of(" \t", i + 1);
  if (i == std::string::npos || line.compare(i, word.size(), word) != 0) return "";
  i = line.find_first_not_of(" \t", i + word.size());
  if (i == std::string::npos) return "";
  return line.substr(i, line.find_last_not_of(" \t\r") + 1 - i);
}

std::vector<Include> includes_of(const Header& header) {
  std::vector<Include> found;
  for (std::size_t n = 0; n < header.code.size(); ++n) {
    const std::string rest = directive(header.code[n], "include");
    if (rest.size() < 3) continue;
    const std::size_t end = rest.find(rest[0] == '<' ? '>' : '"', 1);
    if ((rest[0] == '<' || rest[0] == '"') && end != std::string::npos) {
      found.push_back({n + 1, rest.substr(1, end - 1)});
    }
  }
  return found;
}

bool has_word(const std::string& line, std::string_view word) {
  const auto part_of_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (std::size_t at = line.find(word); at != std::string::npos; at = line.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !part_of_name(line[at - 1])) && (end == line.size() || !part_of_name(line[end]))) return true;
  }
  return false;
}

bool has_using_namespace(const std::string& line) {
  for (std::size_t at = line.find("using"); at != std::string::npos; at = line.find("using", at + 1)) {
    const std::size_t next = line.find_first_not_of(" \t", at + 5);
    if (next != std::string::npos && next > at + 5 && line.compare(next, 9, "namespace") == 0) return true;
  }
  return false;
}

/// "segue/ops/cpu/gemm.hpp" -> "ops"; empty for umbrellas, which stand at the top.
std::string room_of(const std::string& path) {
  const std::size_t first = path.find('/');
  const std::size_t second = path.find('/', first + 1);
  return second == std::string::npos ? "" : path.substr(first + 1, second - first - 1);
}

int floor_of(const std::string& path) {
  const std::string room = room_of(path);
  if (room.empty()) return open_roof;
  const auto found = floors.find(room);
  return found == floors.end() ? 0 : found->second;
}

class House {
 public:
  explicit House(const fs::path& root) : root_(root) {
    const fs::path include = root / "include";
    for (const auto& entry : fs::recursive_directory_iterator(include / "segue")) {
      const std::string path = fs::relative(entry.path(), include).generic_string();
      if (!entry.is_regular_file()) continue;
      const std::string text = read_file(entry.path());
      headers_.push_back({path, split_lines(text), split_lines(strip(text))});
    }
    std::sort(headers_.begin(), headers_.end(), [](const Header& a, const Header& b) { return a.path < b.path; });
  }

  /// One sentence a finding.
  std::vector<std::string> check() {
    for (const Header& header : headers_) {
      check_shape(header);
      check_code(header);
      for (const Include& include : includes_of(header)) check_include(header, include);
    }
    check_cycles();
    check_licences();
    return findings_;
  }

  std::size_t size() const { return headers_.size(); }

 private:
  void report(const std::string& path, std::size_t line, const std::string& sentence) {
    findings_.push_back(path + (line == 0 ? "" : ":" + std::to_string(line)) + ": " + sentence);
  }

  void check_shape(const Header& header) {
    if (!ends_with(header.path, ".hpp") && !ends_with(header.path, ".cuh")) {
      report(header.path, 0, "a public header is called .hpp or .cuh");
    }
    if (floor_of(header.path) == 0) report(header.path, 0, "the room " + room_of(header.path) + "/ has no floor");
    if (header.lines.size() > longest_header) {
      report(
          header.path, 0,
          std::to_string(header.lines.size()) + " lines, at most " + std::to_string(longest_header) + " are allowed");
    }
    if (std::none_of(header.code.begin(), header.code.end(),
                     [](const std::string& line) { return starts_with(line, "#pragma once"); })) {
      report(header.path, 0, "there is no #pragma once");
    }
  }

  void check_code(const Header& header) {
    const bool implementation = header.path == "segue/io/impl.hpp";
    for (std::size_t n = 0; n < header.code.size(); ++n) {
      const std::string& line = header.code[n];
      if (has_using_namespace(line)) report(header.path, n + 1, "a header must not say `using namespace`");
      for (const char* stream : {"cout", "cerr", "clog", "stdout", "stderr", "printf", "puts", "putchar"}) {
        if (has_word(line, stream)) {
          report(header.path, n + 1, "a header prints nothing, `" + std::string(stream) + "` belongs to programs");
        }
      }
      // The element that a span deduces from a range is spelled by a builtin in the C++ that nvcc writes, and from
      // there gets into signatures of templates, where g++ 13 refuses it.
      if (line.find("std::span(") != std::string::npos || line.find("std::span{") != std::string::npos) {
        report(header.path, n + 1,
               "a span names its element: what it deduces, nvcc and g++ 13 cannot compile together");
      }
      const std::string macro = directive(line, "define");
      // The single-file libraries are set up by macros of their own.
      const bool theirs = implementation && (starts_with(macro, "STB") || starts_with(macro, "JSON_"));
      if (!macro.empty() && !starts_with(macro, "SEGUE_") && !theirs) {
        report(header.path, n + 1,
               "the macro " + macro.substr(0, macro.find_first_of(" (\t")) + " does not begin with SEGUE_");
      }
    }
  }

  void check_include(const Header& header, const Include& include) {
    const std::string& name = include.name;
    if (starts_with(name, "segue/")) {
      check_own_include(header, include);
      return;
    }
    const std::string room = room_of(header.path);
    if ((starts_with(name, "Eigen/") || starts_with(name, "unsupported/Eigen")) &&
        !starts_with(header.path, "segue/ops/cpu/") && header.path != "segue/interop/eigen.hpp") {
      report(header.path, include.line, "Eigen is included only in ops/cpu/");
    }
    if ((starts_with(name, "nlohmann/") || starts_with(name, "stb")) && header.path != "segue/io/impl.hpp") {
      report(header.path, include.line, "<" + name + "> is included only in io/impl.hpp");
    }
    for (const char* posix :
         {"unistd.h", "fcntl.h", "sys/", "dirent.h", "pthread.h", "poll.h", "termios.h", "signal.h"}) {
      if (starts_with(name, posix) && header.path != "segue/core/posix.hpp") {
        report(header.path, include.line, "<" + name + "> is included only in core/posix.hpp");
      }
    }
  }

  void check_own_include(const Header& header, const Include& include) {
    const std::string& name = include.name;
    if (std::none_of(headers_.begin(), headers_.end(), [&](const Header& h) { return h.path == name; })) {
      report(header.path, include.line, name + " does not exist");
      return;
    }
    if (name == "segue/io/impl.hpp") {
      report(header.path, include.line, "io/impl.hpp is included by one .cpp of a program, never by a header");
    }
    if (ends_with(header.path, ".hpp") && ends_with(name, ".cuh")) {
      report(header.path, include.line, "a .hpp must not include the device header " + name);
    }
    if (room_of(header.path).empty()) return;  // an umbrella sees everything

    if (room_of(name).empty()) {
      report(header.path, include.line, name + " is an umbrella for users, include what is needed");
      return;
    }
    for (const char* device : {"segue/ops/cpu/", "segue/ops/cuda/"}) {
      if (starts_with(name, device) && !starts_with(header.path, device)) {
        report(header.path, include.line,
               "an implementation (" + name +
                   ") is reached through an umbrella, never "
                   "from a front door or above it");
      }
    }
    if (room_of(header.path) == room_of(name)) return;
    const int from = room_of(header.path) == "testing" ? highest_floor_of_testing : floor_of(header.path);
    const int to = floor_of(name);
    if (to > from || (room_of(header.path) == "interop" && to > 1)) {
      report(header.path, include.line, "the arrow to " + name + " runs up");
    }
  }

  void check_cycles() {
    std::map<std::string, std::vector<std::string>> arrows;
    for (const Header& header : headers_) {
      for (const Include& include : includes_of(header)) arrows[header.path].push_back(include.name);
    }
    std::set<std::string> done;
    std::vector<std::string> way;
    const auto walk = [&](const auto& self, const std::string& path) -> void {
      const auto again = std::find(way.begin(), way.end(), path);
      if (again != way.end()) {
        std::string cycle;
        for (auto step = again; step != way.end(); ++step) cycle += *step + " -> ";
        report(path, 0, "headers include each other in a cycle: " + cycle + path);
        return;
      }
      if (!done.insert(path).second) return;
      way.push_back(path);
      for (const std::string& next : arrows[path]) self(self, next);
      way.pop_back();
    };
    for (const Header& header : headers_) walk(walk, header.path);
  }

  void check_licences() {
    static const std::set<std::string> sources = {".hpp", ".cuh", ".cpp", ".cu", ".inl", ".cmake", ".sh", ".py"};
    for (const char* folder : {"include", "tests", "examples", "bench", "cmake"}) {
      if (!fs::exists(root_ / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root_ / folder)) {
        const bool list = entry.path().filename() == "CMakeLists.txt";
        if (!entry.is_regular_file() || (sources.count(entry.path().extension().string()) == 0 && !list)) continue;
        std::vector<std::string> lines = split_lines(read_file(entry.path()));
        if (!lines.empty() && starts_with(lines.front(), "#!")) lines.erase(lines.begin());
        const bool marked = lines.size() >= 2 && lines[0].find("SPDX-FileCopyrightText: ") != std::string::npos &&
                            lines[1].find("SPDX-License-Identifier: Apache-2.0") != std::string::npos;
        // A compile-fail case begins with the message that it expects.
        const bool after_expectation = lines.size() >= 3 && starts_with(lines[0], "// expect: ") &&
                                       lines[1].find("SPDX-FileCopyrightText: ") != std::string::npos &&
                                       lines[2].find("SPDX-License-Identifier: Apache-2.0") != std::string::npos;
        if (!marked && !after_expectation) {
          report(fs::relative(entry.path(), root_).generic_string(), 0, "the two SPDX lines do not stand on top");
        }
      }
    }
  }

  fs::path root_;
  std::vector<Header> headers_;
  std::vector<std::string> findings_;
};

// --- Self-test -------------------------------------------------------------------------------------------------------

const std::string spdx = "// SPDX-FileCopyrightText: The segue authors\n// SPDX-License-Identifier: Apache-2.0\n";

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

void write_header(const fs::path& root, const std::string& path, const std::string& body) {
  write(root / "include" / path, spdx + "#pragma once\n" + body);
}

/// A house without a fault, which also holds what looks like one and is none.
void build_sound_house(const fs::path& root) {
  write_header(root, "segue/core/view.hpp", "#include <vector>\n#define SEGUE_X 1\n");
  write_header(root, "segue/core/posix.hpp", "#include <unistd.h>\n");
  write_header(root, "segue/ops/gemm.hpp",
               "#include \"segue/core/view.hpp\"\n"
               "// using namespace std; #include <Eigen/Core> std::cout\n"
               "/* #define LOOSE\n#include \"segue/cpu.hpp\" */\n"
               "inline const char* text() { return \"using namespace std; stdout\"; }\n"
               "inline int n() { return 1'000; }\n"
               "inline int format() { return snprintf(nullptr, 0, \"\"); }\n");
  write_header(root, "segue/ops/cpu/gemm.hpp", "#include <Eigen/Core>\n#include \"segue/ops/gemm.hpp\"\n");
  write_header(root, "segue/io/impl.hpp", "#define STB_IMAGE_STATIC\n#include <nlohmann/json.hpp>\n");
  write_header(root, "segue/nn/linear.hpp", "#include \"segue/ops/gemm.hpp\"\n");
  write_header(root, "segue/adapters/lora.hpp", "#include \"segue/nn/linear.hpp\"\n");
  write_header(root, "segue/testing/allclose.hpp", "#include \"segue/ops/gemm.hpp\"\n");
  write_header(root, "segue/cpu.hpp", "#include \"segue/ops/cpu/gemm.hpp\"\n#include \"segue/adapters/lora.hpp\"\n");
  write(root / "tests/core/view_test.cpp", spdx + "using namespace std;\n");
}

struct Planted {
  const char* path;
  std::string body;
  const char* finding;
};

std::vector<Planted> violations() {
  std::string long_body;
  for (int i = 0; i < 500; ++i) long_body += "\n";
  return {
      {"segue/core/up.hpp", "#include \"segue/ops/gemm.hpp\"\n", "segue/core/up.hpp:4: the arrow to segue/ops"},
      {"segue/ops/up.hpp", "  #  include \"segue/nn/linear.hpp\"\n", "the arrow to segue/nn/linear.hpp runs up"},
      {"segue/testing/up.hpp", "#include \"segue/nn/linear.hpp\"\n", "the arrow to segue/nn/linear.hpp runs up"},
      {"segue/nn/up.hpp", "#include \"segue/testing/allclose.hpp\"\n", "the arrow to segue/testing"},
      {"segue/interop/up.hpp", "#include \"segue/nn/linear.hpp\"\n", "the arrow to segue/nn/linear.hpp runs up"},
      {"segue/nn/linear.hpp", "#include \"segue/adapters/lora.hpp\"\n", "in a cycle: segue/adapters/lora.hpp -> "},
      {"segue/core/view.hpp", "#include \"segue/core/view.hpp\"\n", "in a cycle: "},
      {"segue/functional/e.hpp", "#include <Eigen/Core>\n", "Eigen is included only in ops/cpu/"},
      {"segue/ops/cuda/e.cuh", "#include <Eigen/Dense>\n", "Eigen is included only in ops/cpu/"},
      {"segue/io/json.hpp", "#include <nlohmann/json.hpp>\n", "<nlohmann/json.hpp> is included only in io/impl.hpp"},
      {"segue/io/image.hpp", "#include <stb/stb_image.h>\n", "is included only in io/impl.hpp"},
      {"segue/io/read.hpp", "#include <sys/mman.h>\n", "<sys/mman.h> is included only in core/posix.hpp"},
      {"segue/train/all.hpp", "#include \"segue/cpu.hpp\"\n", "segue/cpu.hpp is an umbrella for users"},
      {"segue/cpu.hpp", "#include \"segue/io/impl.hpp\"\n", "io/impl.hpp is included by one .cpp of a program"},
      {"segue/nn/fast.hpp", "#include \"segue/ops/cpu/gemm.hpp\"\n", "never from a front door or above it"},
      {"segue/nn/lost.hpp", "#include \"segue/core/gone.hpp\"\n", "segue/core/gone.hpp does not exist"},
      {"segue/attic/a.hpp", "", "the room attic/ has no floor"},
      {"segue/core/a.h", "", "a public header is called .hpp or .cuh"},
      {"segue/core/long.hpp", long_body, "503 lines, at most 500 are allowed"},
      {"segue/core/using.hpp", "using  namespace std;\n", "must not say `using namespace`"},
      {"segue/core/print.hpp", "inline void f() { std::cout << 1; }\n", "a header prints nothing, `cout`"},
      {"segue/core/macro.hpp", "# define CHECK(x) x\n", "the macro CHECK does not begin with SEGUE_"},
      {"segue/core/span.hpp", "inline auto f(std::vector<int>& x) { return std::span(x); }\n",
       "a span names its element"},
      {"segue/core/late.hpp", "/* \" */ #define A\n#define LOOSE\n", "the macro LOOSE does not begin with SEGUE_"},
  };
}

bool contains(const std::vector<std::string>& findings, const std::string& part) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const std::string& finding) { return finding.find(part) != std::string::npos; });
}

int self_test() {
  const fs::path root = fs::temp_directory_path() /
                        ("segue-floors-" + std::to_string(std::hash<std::string>{}(fs::current_path().string())));
  int failed = 0;
  const auto expect = [&](bool good, const std::string& what) {
    if (!good) {
      std::printf("not found: %s\n", what.c_str());
      ++failed;
    }
  };
  const auto fresh = [&] {
    fs::remove_all(root);
    build_sound_house(root);
  };

  fresh();
  for (const std::string& finding : House(root).check()) {
    std::printf("found where nothing is wrong: %s\n", finding.c_str());
    ++failed;
  }
  const std::vector<Planted> planted = violations();
  for (const Planted& violation : planted) {
    fresh();
    write_header(root, violation.path, violation.body);
    expect(contains(House(root).check(), violation.finding), violation.finding);
  }
  fresh();
  write(root / "include/segue/core/bare.hpp", "int x;\n");
  const std::vector<std::string> bare = House(root).check();
  expect(contains(bare, "include/segue/core/bare.hpp: the two SPDX lines"), "a header without SPDX lines");
  expect(contains(bare, "there is no #pragma once"), "a header without #pragma once");
  fresh();
  write(root / "tests/core/a_test.cpp", "// " + spdx.substr(3, 20) + "\n");
  expect(contains(House(root).check(), "tests/core/a_test.cpp: the two SPDX"), "a test without SPDX lines");

  fs::remove_all(root);
  std::printf("%zu planted violations, %d mistakes\n", planted.size() + 3, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::printf("usage: check_floors ROOT | --self-test\n");
    return 2;
  }
  if (std::string_view(argv[1]) == "--self-test") return self_test();
  House house(argv[1]);
  const std::vector<std::string> findings = house.check();
  for (const std::string& finding : findings) std::printf("%s\n", finding.c_str());
  std::printf("%zu headers, %zu findings\n", house.size(), findings.size());
  return findings.empty() && house.size() > 0 ? 0 : 1;
}
