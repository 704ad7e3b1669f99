import EspalierBasics
import Foundation

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// The built program, run as a stranger runs it: a process of its own, with its output in files.
///
/// `posix_spawn` and not `Foundation.Process`, since the tests need the process's id to stop, kill and watch it.
final class Program {
  /// How a process ended and what it printed.
  struct Outcome: CustomStringConvertible {
    /// The exit code, or nil where a signal ended it.
    var code: Int32?
    var output: String
    var errors: String

    /// Objects printed with `--json`, one a line.
    var events: [JSON] { get throws { try output.split(separator: "\n").map { try JSON(parsing: Array($0.utf8)) } } }
    var description: String { "exit code \(code.map { "\($0)" } ?? "none")\n\(output)\(errors)" }
  }

  let id: pid_t
  private let output: String
  private let errors: String

  /// The program beside the running tests.
  static let path: String = {
    #if os(Linux)
      let tests = FileSystem.resolved("/proc/self/exe") ?? "."
    #else
      let tests = Bundle.allBundles.map(\.bundlePath).first { $0.hasSuffix(".xctest") } ?? "."
    #endif
    return "\(FileSystem.parent(of: tests))/espalier"
  }()

  // MARK: - Running

  /// Runs the program to its end.
  static func run(_ arguments: [String]) throws -> Outcome { try Program(arguments).wait() }
  static func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

  /// Runs a shell script to its end; `$espalier` is the program.
  static func shell(_ script: String, prefix: [String] = []) throws -> Outcome {
    try Program(executable: "/usr/bin/env", prefix + ["sh", "-c", script], environment: ["espalier=\(path)"]).wait()
  }

  convenience init(_ arguments: [String]) throws { try self.init(executable: Self.path, arguments) }

  init(executable: String, _ arguments: [String], environment: [String] = []) throws {
    let stem = FileManager.default.temporaryDirectory.path + "/espalier-\(UInt64.random(in: 0 ..< .max))"
    output = stem + ".out"
    errors = stem + ".err"
    #if canImport(Darwin)
      var actions: posix_spawn_file_actions_t?
    #else
      var actions = posix_spawn_file_actions_t()
    #endif
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT, 0o600)
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT, 0o600)
    let inherited = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
    let words = ([executable] + arguments).map { strdup($0) } + [nil]
    let variables = (inherited + environment).map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    var id: pid_t = 0
    let failure = posix_spawn(&id, executable, &actions, nil, words, variables)
    self.id = id
    if failure != 0 {
      throw Problem(.fileAccess, "cannot start \(executable): \(String(cString: strerror(failure)))")
    }
  }

  /// Waits for the end. To be called once.
  @discardableResult
  func wait() throws -> Outcome {
    var status: Int32 = 0
    while waitpid(id, &status, 0) < 0 && errno == EINTR {}
    defer {
      unlink(output)
      unlink(errors)
    }
    return Outcome(
      code: status & 0x7F == 0 ? (status >> 8) & 0xFF : nil,
      output: String(decoding: try FileSystem.read(output), as: UTF8.self),
      errors: String(decoding: try FileSystem.read(errors), as: UTF8.self))
  }

  // MARK: - Disturbing

  var hasEnded: Bool {
    var information = siginfo_t()
    return waitid(P_PID, id_t(id), &information, WEXITED | WNOHANG | WNOWAIT) != 0 || information.si_signo != 0
  }

  /// Ends the process at once, as a loss of power would.
  func killAtOnce() { kill(id, SIGKILL) }
  func pause() { kill(id, SIGSTOP) }
  func pause(forMicroseconds duration: UInt32) { usleep(duration) }
  func proceed() { kill(id, SIGCONT) }

  /// Waits until `condition` holds or the process has ended.
  func wait(until condition: () -> Bool) {
    while !condition() && !hasEnded { usleep(200) }
  }

  /// Peak resident memory so far in bytes (VmHWM), or nil where the system does not tell or the process has ended.
  var peakResidentBytes: Int? {
    guard let status = try? String(contentsOfFile: "/proc/\(id)/status", encoding: .utf8),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
    else { return nil }
    return Int(line.filter(\.isNumber)).map { $0 * 1024 }
  }
}
