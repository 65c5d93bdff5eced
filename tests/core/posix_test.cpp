// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#include "segue/core/posix.hpp"

#include <sys/wait.h>

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/paths.hpp"

using namespace segue;
using support::contains;
using support::message_of;

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A folder with a file "a" that holds "old".
struct Folder {
  support::TempDir dir;
  std::string path = dir.path().string();
  std::string a = path + "/a";
  Folder() { write_file_atomically(a, "old"); }
  std::vector<std::string> names() const { return list_directory(path); }
};

}  // namespace

TEST_CASE("A mapped file shows its bytes for as long as it lives", "[core]") {
  const Folder folder;
  MappedFile first(folder.a);
  CHECK(text_of(first.bytes()) == "old");
  CHECK(first.path() == folder.a);
  write_file_atomically(folder.a, "newer");
  CHECK(text_of(first.bytes()) == "old");
  MappedFile second(std::move(first));
  CHECK(text_of(second.bytes()) == "old");
  first = MappedFile(folder.a);
  CHECK(text_of(first.bytes()) == "newer");
  first = std::move(second);
  CHECK(text_of(first.bytes()) == "old");
  CHECK(MappedFile().bytes().empty());
}

TEST_CASE("Advice about a mapping does not change its bytes", "[core]") {
  const Folder folder;
  const std::string text(100'000, 'x');
  write_file_atomically(folder.a, text);
  const MappedFile file(folder.a);
  file.advise_sequential();
  file.advise_dontneed(file.bytes());
  file.advise_dontneed(file.bytes().subspan(5000, 50'000));
  file.advise_dontneed(file.bytes().subspan(1, 2));
  CHECK(text_of(file.bytes()) == text);
}

TEST_CASE("What cannot be mapped or read is named with its reason", "[core]") {
  const Folder folder;
  write_file_atomically(folder.path + "/empty", "");
  const auto map = [](const std::string& path) { return message_of<InputError>([&] { MappedFile file(path); }); };
  const auto read = [](const std::string& path) { return message_of<InputError>([&] { read_text_file(path); }); };
  for (const auto& open : {+map, +read}) {
    CHECK(open(folder.path + "/none") == folder.path + "/none: cannot be read: No such file or directory");
    CHECK(open(folder.path) == folder.path + ": is a folder, expected a file");
    CHECK(open("/dev/null") == "/dev/null: is not a regular file");
    CHECK(contains(open(folder.a + "/b"), ": cannot be read: Not a directory"));
  }
  CHECK(map(folder.path + "/empty") == folder.path + "/empty: is empty");
  CHECK(read_text_file(folder.path + "/empty").empty());
  CHECK(read_text_file(folder.a, 3) == "old");
  CHECK(message_of<InputError>([&] { read_text_file(folder.a, 2); }) == folder.a + ": is larger than 2 bytes");
  // Files of /proc say that they are empty, and are not.
  CHECK(contains(read_text_file("/proc/self/status"), "VmHWM:"));
}

TEST_CASE("An atomic file appears whole at its commit", "[core]") {
  const Folder folder;
  std::string expected;
  {
    AtomicFile file(folder.a);
    // Pieces smaller than, equal to and larger than the buffer, in an order that fills it at odd places.
    for (const std::size_t size : {1u, 65536u, 65535u, 2u, 200'000u, 0u, 65536u, 7u}) {
      const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
      file.write(piece);
      expected += piece;
    }
    CHECK(read_text_file(folder.a) == "old");
    CHECK(folder.names().size() == 2);
    CHECK(contains(folder.names()[1], "a.tmp." + std::to_string(::getpid())));
    file.commit();
    CHECK(read_text_file(folder.a) == expected);
    CHECK_THROWS_AS(file.commit(), InputError);
    CHECK_THROWS_AS(file.write("more"), InputError);
  }
  CHECK(read_text_file(folder.a) == expected);
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("An atomic file that is not committed leaves nothing", "[core]") {
  const Folder folder;
  {
    AtomicFile file(folder.a);
    file.write(std::string(100'000, 'x'));
  }
  CHECK(read_text_file(folder.a) == "old");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("A remainder of a killed process is written over", "[core]") {
  const Folder folder;
  const std::string remainder = folder.a + ".tmp." + std::to_string(::getpid());
  write_file_atomically(remainder, "a long remainder");
  write_file_atomically(folder.a, "new");
  CHECK(read_text_file(folder.a) == "new");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("A place that cannot be written is named with its reason", "[core]") {
  const Folder folder;
  const auto write = [](const std::string& path) {
    return message_of<InputError>([&] { write_file_atomically(path, "text"); });
  };
  CHECK(write(folder.a + "/b") == folder.a + "/b: cannot be written: Not a directory");
  CHECK(write(folder.path + "/none/b") == folder.path + "/none/b: cannot be written: No such file or directory");
  // A folder at the very place fails only when the rename is tried: the temporary file must go.
  CHECK(contains(write(folder.path), ": cannot be written: "));
  make_directories(folder.path + "/c");
  CHECK(contains(write(folder.path + "/c"), "/c: cannot be written: Is a directory"));
  CHECK(folder.names() == std::vector<std::string>{"a", "c"});
  CHECK(
      contains(message_of<InputError>([&] { AppendLog log(folder.a + "/b"); }), "cannot be written: Not a directory"));
}

TEST_CASE("A full disk is an error and leaves nothing", "[core]") {
  const Folder folder;
  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // A limit on the size of files stands for the full disk.
    const struct ::rlimit limit { 1000, 1000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, SIG_IGN);
    const std::string message =
        message_of<InputError>([&] { write_file_atomically(folder.a, std::string(5000, 'x')); });
    ::_exit(contains(message, "/a: cannot be written: File too large") ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(read_text_file(folder.a) == "old");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("A log grows by lines and closes a line that was cut", "[core]") {
  const Folder folder;
  const std::string path = folder.path + "/log";
  {
    AppendLog log(path);
    AppendLog other(path, AppendLog::Sync::every_line);
    log.line("one");
    other.line("two");
    log.line("three");
  }
  CHECK(read_text_file(path) == "one\ntwo\nthree\n");
  { AppendLog(path).line("four"); }
  CHECK(read_text_file(path) == "one\ntwo\nthree\nfour\n");
  write_file_atomically(path, "one\n{\"cut");
  { AppendLog(path).line("two"); }
  CHECK(read_text_file(path) == "one\n{\"cut\ntwo\n");
}

TEST_CASE("Folders are made, looked at and listed in byte order", "[core]") {
  const Folder folder;
  make_directories(folder.path + "/x/y//z/");
  make_directories(folder.path + "/x/y");
  CHECK(is_directory(folder.path + "/x/y/z"));
  CHECK(!is_directory(folder.a));
  CHECK(is_file(folder.a));
  CHECK(!is_file(folder.path));
  CHECK(!is_file(folder.path + "/none"));
  CHECK(contains(message_of<InputError>([&] { make_directories(folder.a + "/b"); }),
                 "cannot be made a folder: Not a dir"));
  CHECK(contains(message_of<InputError>([&] { make_directories(folder.a); }), "cannot be made a folder: Not a dir"));
  for (const std::string name : {"10", "9", "B", "b", "\xC3\xA4"})
    write_file_atomically(folder.path + "/x/" + name, "");
  CHECK(list_directory(folder.path + "/x") == std::vector<std::string>{"10", "9", "B", "b", "y", "\xC3\xA4"});
  CHECK(contains(message_of<InputError>([&] { list_directory(folder.a); }), "cannot be listed: Not a directory"));
  CHECK(join_path("a", "b") == "a/b");
  CHECK(join_path("a/", "b") == "a/b");
  CHECK(join_path("", "b") == "b");
}

TEST_CASE("The first interrupt is noted, the second ends the process", "[core]") {
  const int number = GENERATE(SIGINT, SIGTERM);
  {
    const InterruptGuard guard;
    CHECK(!interrupted());
    ::raise(number);
    CHECK(interrupted());
  }
  CHECK(interrupted());
  const InterruptGuard fresh;
  CHECK(!interrupted());

  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(number, SIG_DFL);
    const InterruptGuard guard;
    ::raise(number);
    if (!interrupted()) ::_exit(1);
    ::raise(number);
    ::_exit(2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == number);
}

TEST_CASE("A guard gives the old handlers back and respects ignored signals", "[core]") {
  const auto old = ::signal(SIGTERM, SIG_IGN);
  {
    const InterruptGuard guard;
    ::raise(SIGTERM);
    CHECK(!interrupted());
  }
  CHECK(::signal(SIGTERM, old) == SIG_IGN);
}

TEST_CASE("The process knows its peak and its terminal", "[core]") {
  const std::int64_t before = peak_resident_bytes();
  CHECK(before > 1'000'000);
  std::vector<char> block(before < 500'000'000 ? 64'000'000 : 0, 'x');
  CHECK(peak_resident_bytes() >= before);
  if (!block.empty() && block[block.size() / 2] == 'x') CHECK(peak_resident_bytes() >= 64'000'000);
  const Folder folder;
  const detail::FileDescriptor file(::open(folder.a.c_str(), O_RDONLY));
  CHECK(!is_terminal(file.get()));
  CHECK(terminal_width(file.get()) == 80);
  CHECK(terminal_width(file.get(), 100) == 100);
}
