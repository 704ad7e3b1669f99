internal import CPlatform

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// What this process may use, and what it has used.
public enum Machine {
  /// Processors this process may run on.
  public static var processorCount: Int {
    let allowed = Int(es_allowed_processors())
    return allowed > 0 ? allowed : max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  /// Memory in bytes: the machine's, or the limit of a control group this process is in where that is lower.
  public static var memoryBytes: Int {
    let physical = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
    return controlGroupFiles.compactMap { readNumber($0) }.reduce(physical, min)
  }

  /// Where the memory limits of this process's control group and of those above it stand, in versions 2 and 1.
  private static var controlGroupFiles: [String] {
    var files: [String] = []
    for line in (readText("/proc/self/cgroup") ?? "0::/").split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3, fields[1].isEmpty || fields[1].split(separator: ",").contains("memory") else { continue }
      let (root, name) =
        fields[1].isEmpty
        ? ("/sys/fs/cgroup", "memory.max") : ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
      var group = fields[2].split(separator: "/")
      while true {
        files.append(([root] + group.map(String.init) + [name]).joined(separator: "/"))
        guard group.popLast() != nil else { break }
      }
    }
    return files
  }

  /// Peak resident memory of this process in bytes (VmHWM on Linux), or nil where it is not known.
  public static var peakResidentBytes: Int? {
    #if canImport(Darwin)
      var usage = rusage()
      return getrusage(RUSAGE_SELF, &usage) == 0 ? Int(usage.ru_maxrss) : nil
    #else
      guard let text = readText("/proc/self/status"),
        let range = text.split(separator: "\n").first(where: {
          $0.hasPrefix("VmHWM:")
        })
      else { return nil }
      return Int(range.filter(\.isNumber)).map { $0 * 1024 }
    #endif
  }

  /// Seconds of a clock that never goes back.
  public static var monotonicSeconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// Now, in universal time: `2026-11-22T19:17:44Z`.
  public static var date: String {
    var seconds = time(nil)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func digits(_ number: Int32, _ count: Int = 2) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    return "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1))-\(digits(parts.tm_mday))"
      + "T\(digits(parts.tm_hour)):\(digits(parts.tm_min)):\(digits(parts.tm_sec))Z"
  }

  /// Whether standard error is a terminal, and its width in columns.
  public static var terminalColumns: Int? {
    guard isatty(STDERR_FILENO) == 1 else { return nil }
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  public static func writeToStandardError(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Writes at once, after what was printed before.
  public static func writeToStandardOutput(_ text: String) {
    fflush(nil)
    write(text, to: STDOUT_FILENO)
  }

  /// Waits for standard input and reads what is there, at most what fills the buffer.
  ///
  /// - Returns: how many bytes were read; 0 at the end of input.
  /// - Throws: `file.read`.
  public static func readStandardInput(into buffer: inout [UInt8]) throws(Problem) -> Int {
    while true {
      let count = buffer.withUnsafeMutableBytes { read(STDIN_FILENO, $0.baseAddress, $0.count) }
      if count >= 0 { return count }
      let number = errno
      guard number == EINTR else {
        throw Problem(.fileRead, "cannot read standard input: \(String(cString: strerror(number)))")
      }
    }
  }

  private static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var done = 0
      while done < bytes.count {
        #if canImport(Darwin)
          let count = Darwin.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        #elseif canImport(Musl)
          let count = Musl.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        #else
          let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        #endif
        if count <= 0 { return }
        done += count
      }
    }
  }

  /// Ends the process with what was printed written out.
  public static func exit(_ code: Int32) -> Never {
    fflush(nil)
    #if canImport(Darwin)
      Darwin.exit(code)
    #elseif canImport(Musl)
      Musl.exit(code)
    #else
      Glibc.exit(code)
    #endif
  }

  /// Makes every printed line appear at once, on a pipe too.
  public static func printLineByLine() { es_buffer_output_by_lines() }

  /// Makes large blocks of memory go back to the system when they are freed. Left to itself, glibc keeps for later what
  /// it has once seen freed, which a ceiling on resident memory does not allow. A library must not decide this for its
  /// process, so a program does.
  public static func returnFreedMemory() { es_return_freed_memory() }

  /// Turns the signals for a broken pipe and an exceeded file size into errors of the calls that caused them.
  public static func turnSignalsIntoErrors() {
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
  }

  private static func readText(_ path: String) -> String? {
    guard let stream = fopen(path, "r") else { return nil }
    defer { fclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = fread(&bytes, 1, bytes.count, stream)
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  private static func readNumber(_ path: String) -> Int? {
    readText(path).flatMap { Int($0.split(whereSeparator: \.isWhitespace).first ?? "") }
  }
}
