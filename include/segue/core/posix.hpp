// SPDX-FileCopyrightText: The segue authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one header that knows POSIX: files, signals, the terminal, the process. Everything else of the library reaches
// the operating system through these names.

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "segue/core/config.hpp"
#include "segue/core/error.hpp"

SEGUE_NAMESPACE_BEGIN

namespace detail {

/// Throws `InputError("<path>: <what>: <reason of the operating system>")`.
[[noreturn]] inline void throw_os(std::string_view path, std::string_view what, int error) {
  throw_input(path, std::string(what).append(": ").append(std::strerror(error)));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~FileDescriptor() { reset(); }
  int get() const noexcept { return fd_; }
  bool valid() const noexcept { return fd_ >= 0; }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

/// Opens an existing regular file for reading; anything else is an error that says what was found.
inline FileDescriptor open_for_reading(const std::string& path, struct ::stat& status) {
  // O_NONBLOCK: opening a pipe without a writer would hang before its kind can be looked at.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) throw_os(path, "cannot be read", errno);
  if (::fstat(fd.get(), &status) != 0) throw_os(path, "cannot be read", errno);
  if (S_ISDIR(status.st_mode)) throw_input(path, "is a folder, expected a file");
  if (!S_ISREG(status.st_mode)) throw_input(path, "is not a regular file");
  return fd;
}

inline void write_all(int fd, const std::byte* data, std::size_t size, std::string_view path) {
  while (size > 0) {
    const ::ssize_t n = ::write(fd, data, size);
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_os(path, "cannot be written", errno);
    }
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

}  // namespace detail

/// Asks the system for a part of the processor's state that it keeps only for processes that ask, by the number that
/// XCR0 has for it. Costs a system call.
inline bool request_processor_state([[maybe_unused]] int component) noexcept {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long request = 0x1023;  // ARCH_REQ_XCOMP_PERM
  return ::syscall(SYS_arch_prctl, request, static_cast<long>(component)) == 0;
#else
  return false;
#endif
}

/// Zeroed pages of the process's own, which `unmap_memory` gives back to the system at once; null when there are none.
/// Two MiB and more begin on a large page and ask for such pages: products walk through more small pages than a
/// processor keeps translations for.
inline void* map_memory(std::size_t bytes) noexcept {
  constexpr std::size_t large_page = std::size_t{2} << 20;
  const std::size_t spare = bytes >= large_page ? large_page : 0;
  if (bytes > SIZE_MAX - spare) return nullptr;
  void* address = ::mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  if (spare == 0) return address;
  auto* begin = static_cast<std::byte*>(address);
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t whole = (bytes + page - 1) / page * page;
  const std::size_t before = (large_page - reinterpret_cast<std::uintptr_t>(begin) % large_page) % large_page;
  if (before > 0) ::munmap(begin, before);
  begin += before;
  ::munmap(begin + whole, bytes + spare - before - whole);
#ifdef MADV_HUGEPAGE
  ::madvise(begin, whole, MADV_HUGEPAGE);
#endif
  return begin;
}
inline void unmap_memory(void* address, std::size_t bytes) noexcept { ::munmap(address, bytes); }

/// Lets the kernel drop the pages of a file's read-only mapping that hold `part`; a later access reads them from the
/// file again. Nothing if `part` lies elsewhere. Costs microseconds.
inline void release_pages(std::span<const std::byte> mapping, std::span<const std::byte> part) noexcept {
  if (part.empty() || part.data() < mapping.data() || part.data() + part.size() > mapping.data() + mapping.size())
    return;
  // An access maps neighbours along with its page, up to a large page: they would pile up around small tensors.
  constexpr std::size_t around = std::size_t{2} << 20;
  const auto offset = static_cast<std::size_t>(part.data() - mapping.data());
  const std::size_t first = offset / around * around;
  const std::size_t last = std::min(mapping.size(), (offset + part.size() + around - 1) / around * around);
  ::madvise(const_cast<std::byte*>(mapping.data() + first), last - first, MADV_DONTNEED);
}

/// A file mapped read-only into memory. Pages are read when they are touched first.
/// The mapping stays valid if the file is replaced or deleted; a file that another process shortens in place is not
/// protected against (the kernel answers such an access with SIGBUS).
class MappedFile {
 public:
  MappedFile() = default;
  /// Raises InputError when `path` is missing, a folder, not a regular file, unreadable or empty.
  explicit MappedFile(std::string path) : path_(std::move(path)) {
    struct ::stat status {};
    const detail::FileDescriptor fd = detail::open_for_reading(path_, status);
    if (status.st_size == 0) throw_input(path_, "is empty");
    size_ = static_cast<std::size_t>(status.st_size);
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) detail::throw_os(path_, "cannot be mapped", errno);
    data_ = static_cast<const std::byte*>(address);
  }
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    MappedFile(std::move(other)).swap(*this);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::string& path() const noexcept { return path_; }

  /// Tells the kernel that the file will be read once, front to back.
  void advise_sequential() const noexcept {
    if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL);
  }
  /// `release_pages` of a part of the file.
  void advise_dontneed(std::span<const std::byte> part) const noexcept { release_pages(bytes(), part); }

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Writes a file that readers see either whole or not at all: bytes go to `<path>.tmp.<pid>` in the same folder, and
/// `commit()` puts them in place. Without `commit()` nothing stays behind. One writer a path and process.
/// Every failure raises InputError with the path and the reason of the operating system.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path)
      : path_(std::move(path)), temporary_(path_ + ".tmp." + std::to_string(::getpid())) {
    fd_ =
        detail::FileDescriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (!fd_.valid()) detail::throw_os(path_, "cannot be written", errno);
    buffer_.reserve(buffer_size);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (fd_.valid()) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    if (!fd_.valid()) throw_input(path_, "is written to after its commit");
    if (buffer_.size() + bytes.size() > buffer_size) flush();
    if (bytes.size() >= buffer_size) {
      detail::write_all(fd_.get(), bytes.data(), bytes.size(), path_);
    } else {
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span<const char>(text))); }

  /// Flushes, syncs, renames over `path`, and syncs the folder, so that the new name survives a power cut.
  void commit() {
    if (!fd_.valid()) throw_input(path_, "is committed twice");
    flush();
    if (::fsync(fd_.get()) != 0) detail::throw_os(path_, "cannot be written", errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) detail::throw_os(path_, "cannot be written", errno);
    fd_.reset();
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const detail::FileDescriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some file systems cannot sync a folder: the file itself is complete, so that is not an error.
    if (parent.valid() && ::fsync(parent.get()) != 0 && errno == EIO) {
      detail::throw_os(folder, "cannot be synced", errno);
    }
  }

  const std::string& path() const noexcept { return path_; }

 private:
  static constexpr std::size_t buffer_size = std::size_t{1} << 16;

  void flush() {
    detail::write_all(fd_.get(), buffer_.data(), buffer_.size(), path_);
    buffer_.clear();
  }

  std::string path_;
  std::string temporary_;
  detail::FileDescriptor fd_;
  std::vector<std::byte> buffer_;
};

/// Puts `text` at `path`, whole or not at all (see AtomicFile).
inline void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// Reads a whole file. Raises InputError when it is missing, a folder, unreadable, or larger than `max_bytes`.
inline std::string read_text_file(const std::string& path, std::size_t max_bytes = std::size_t{64} << 20) {
  struct ::stat status {};
  const detail::FileDescriptor fd = detail::open_for_reading(path, status);
  std::string text;
  std::size_t used = 0;
  for (;;) {
    // One byte more than the stated size, so that the end is met without another round.
    if (used == text.size()) text.resize(std::max(static_cast<std::size_t>(status.st_size) + 1, used + 4096));
    const ::ssize_t n = ::read(fd.get(), text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) detail::throw_os(path, "cannot be read", errno);
    if (n == 0) break;
    used += static_cast<std::size_t>(n);
    if (used > max_bytes) throw_input(path, "is larger than " + std::to_string(max_bytes) + " bytes");
  }
  text.resize(used);
  return text;
}

/// A log that only grows: each line is one write at the end of the file, so that several writers do not tear lines.
/// Opening a file whose last line was cut by a crash closes that line first.
class AppendLog {
 public:
  enum class Sync { never, every_line };

  explicit AppendLog(std::string path, Sync sync = Sync::never) : path_(std::move(path)), sync_(sync) {
    fd_ = detail::FileDescriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    if (!fd_.valid()) detail::throw_os(path_, "cannot be written", errno);
    char last = '\n';
    const ::off_t size = ::lseek(fd_.get(), 0, SEEK_END);
    if (size > 0 && ::pread(fd_.get(), &last, 1, size - 1) == 1 && last != '\n') line("");
  }

  /// Appends `text` and a newline.
  void line(std::string_view text) {
    std::string whole;
    whole.reserve(text.size() + 1);
    whole.append(text).push_back('\n');
    detail::write_all(fd_.get(), std::as_bytes(std::span<const char>(whole)).data(), whole.size(), path_);
    if (sync_ == Sync::every_line && ::fsync(fd_.get()) != 0 && errno == EIO) {
      detail::throw_os(path_, "cannot be written", errno);
    }
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  Sync sync_;
  detail::FileDescriptor fd_;
};

/// True if `path` names a folder.
inline bool is_directory(const std::string& path) noexcept {
  struct ::stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// True if `path` names a regular file.
inline bool is_file(const std::string& path) noexcept {
  struct ::stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// `folder/name`, with exactly one slash between them.
inline std::string join_path(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.empty() && path.back() != '/') path.push_back('/');
  return path.append(name);
}

/// The names in a folder, in byte order, without "." and "..". Raises InputError when it cannot be listed.
inline std::vector<std::string> list_directory(const std::string& path) {
  ::DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) detail::throw_os(path, "cannot be listed", errno);
  std::vector<std::string> names;
  errno = 0;
  while (const ::dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(folder);
  if (error != 0) detail::throw_os(path, "cannot be listed", error);
  std::sort(names.begin(), names.end());
  return names;
}

/// Makes a folder and its missing parents; an existing folder is fine. Raises InputError otherwise.
inline void make_directories(const std::string& path) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0777) == 0) continue;
    const int error = errno;
    if (!is_directory(part)) detail::throw_os(path, "cannot be made a folder", error == EEXIST ? ENOTDIR : error);
  }
}

/// True if `fd` (1 is stdout, 2 is stderr) is a terminal.
inline bool is_terminal(int fd) noexcept { return ::isatty(fd) == 1; }

/// Columns of the terminal behind `fd`, or `fallback` where there is none.
inline int terminal_width(int fd, int fallback = 80) noexcept {
  struct ::winsize size {};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : fallback;
}

namespace detail {

inline std::atomic<bool> interrupt_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");
inline void on_interrupt(int) noexcept { interrupt_flag.store(true, std::memory_order_relaxed); }

}  // namespace detail

/// True once SIGINT (Ctrl-C) or SIGTERM arrived while an InterruptGuard lives. Cheap enough for every step.
inline bool interrupted() noexcept { return detail::interrupt_flag.load(std::memory_order_relaxed); }

/// While it lives, the first SIGINT or SIGTERM only sets `interrupted()`, so that a loop can finish its step and save;
/// a second one of the same kind takes its default action: it ends the process. The constructor clears the flag.
/// One guard at a time; a signal that the process ignores (nohup) stays ignored.
class InterruptGuard {
 public:
  InterruptGuard() noexcept {
    detail::interrupt_flag.store(false, std::memory_order_relaxed);
    install(SIGINT, old_int_);
    install(SIGTERM, old_term_);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard() {
    ::sigaction(SIGINT, &old_int_, nullptr);
    ::sigaction(SIGTERM, &old_term_, nullptr);
  }

 private:
  static void install(int number, struct ::sigaction& old) noexcept {
    ::sigaction(number, nullptr, &old);
    if (old.sa_handler == SIG_IGN) return;
    struct ::sigaction action {};
    action.sa_handler = detail::on_interrupt;
    // RESETHAND gives the second signal its default action; RESTART keeps file operations whole.
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(number, &action, nullptr);
  }

  struct ::sigaction old_int_ {};
  struct ::sigaction old_term_ {};
};

/// Seconds of a clock that never goes back, from an arbitrary start. <chrono> would do the same for 3,700
/// more lines in every translation unit.
inline double monotonic_seconds() noexcept {
  struct ::timespec now {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// The largest resident set of this process so far, in bytes.
inline std::int64_t peak_resident_bytes() noexcept {
  // getrusage alone would mislead: Linux lets a program inherit the peak of the process that started it.
  if (std::FILE* status = std::fopen("/proc/self/status", "re")) {
    char line[256];
    long long kib = -1;
    while (std::fgets(line, sizeof line, status) != nullptr) {
      if (std::strncmp(line, "VmHWM:", 6) == 0) kib = std::strtoll(line + 6, nullptr, 10);
    }
    std::fclose(status);
    if (kib >= 0) return static_cast<std::int64_t>(kib) * 1024;
  }
  struct ::rusage usage {};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return static_cast<std::int64_t>(usage.ru_maxrss);
#else
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
#endif
}

SEGUE_NAMESPACE_END
