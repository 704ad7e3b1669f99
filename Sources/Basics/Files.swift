internal import CPlatform

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

// Every call to the operating system's file interface is in this file.

extension Problem.Code {
  public static let fileMissing = Problem.Code("file.missing")
  public static let fileExists = Problem.Code("file.exists")
  public static let fileAccess = Problem.Code("file.access")
  public static let fileRead = Problem.Code("file.read")
  public static let fileTruncated = Problem.Code("file.truncated")
  public static let fileWrite = Problem.Code("file.write")
  public static let diskFull = Problem.Code("file.no-space")
  public static let fileLocked = Problem.Code("file.locked")
}

/// What tells whether a file is still the one that was opened.
public struct FileIdentity: Sendable, Hashable, Codable {
  public var size: Int
  public var modifiedNanoseconds: Int
  public var changedNanoseconds: Int
}

/// An open file with positional reads and writes; safe to use from several threads.
public final class File: ByteSource {
  public let path: String
  private let descriptor: Int32

  private init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { _ = close(descriptor) }

  /// Opens a regular file for reading.
  public static func reading(_ path: String) throws(Problem) -> File {
    // Opening a pipe would wait for its writer.
    let file = try File.open(path, O_RDONLY | O_NONBLOCK)
    guard try file.status().st_mode & S_IFMT == S_IFREG else {
      throw Problem(.fileAccess, "not a regular file", file: path)
    }
    return file
  }

  /// Opens a file for writing (and reading back), creating it if needed.
  public static func writing(_ path: String, truncate: Bool = false) throws(Problem) -> File {
    try File.open(path, O_RDWR | O_CREAT | (truncate ? O_TRUNC : 0))
  }

  private static func open(_ path: String, _ flags: Int32) throws(Problem) -> File {
    #if canImport(Darwin)
      let descriptor = Darwin.open(path, flags | O_CLOEXEC, 0o644)
    #elseif canImport(Musl)
      let descriptor = Musl.open(path, flags | O_CLOEXEC, 0o644)
    #else
      let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o644)
    #endif
    guard descriptor >= 0 else { throw FileSystem.problem("cannot open", path) }
    return File(path: path, descriptor: descriptor)
  }

  private func status() throws(Problem) -> stat {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw FileSystem.problem("cannot examine", path) }
    return status
  }

  public func identity() throws(Problem) -> FileIdentity {
    let status = try status()
    #if canImport(Darwin)
      let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
    #else
      let (modified, changed) = (status.st_mtim, status.st_ctim)
    #endif
    return FileIdentity(
      size: Int(status.st_size),
      // Wrapping: dates centuries away are other dates, not errors.
      modifiedNanoseconds: Int(modified.tv_sec) &* 1_000_000_000 &+ Int(modified.tv_nsec),
      changedNanoseconds: Int(changed.tv_sec) &* 1_000_000_000 &+ Int(changed.tv_nsec))
  }

  public func size() throws(Problem) -> Int { Int(try status().st_size) }

  /// Whether the path still leads to this very file: another may have taken its name, or it may have none any more.
  public func hasItsName() throws(Problem) -> Bool {
    let own = try status()
    var named = stat()
    return stat(path, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino
  }

  /// Fills `buffer` from `offset`; an error if the file ends before.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Problem) {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
      if count > 0 {
        done += count
      } else if count == 0 {
        throw Problem(
          .fileTruncated, "the file ends at byte \(offset + done), \(buffer.count - done) bytes too early",
          remedy: "The file was cut while it was read; restore it and start again.", file: path)
      } else if errno != EINTR {
        throw FileSystem.problem("cannot read", path, code: .fileRead)
      }
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Problem) {
    var done = 0
    while done < bytes.count {
      let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if count >= 0 {
        done += count
      } else if errno != EINTR {
        throw FileSystem.problem("cannot write", path, code: .fileWrite)
      }
    }
  }

  public func write(_ bytes: [UInt8], at offset: Int) throws(Problem) {
    let result: Result<Void, Problem> = bytes.withUnsafeBytes { buffer in
      Result { () throws(Problem) in try write(buffer, at: offset) }
    }
    try result.get()
  }

  /// Sets the length; new bytes are zero and take no room until they are written.
  public func resize(to size: Int) throws(Problem) {
    guard ftruncate(descriptor, off_t(size)) == 0 else {
      throw FileSystem.problem("cannot set the length of", path, code: .fileWrite)
    }
  }

  /// Returns when the contents are on the device.
  public func sync() throws(Problem) {
    guard fsync(descriptor) == 0 else { throw FileSystem.problem("cannot sync", path, code: .fileWrite) }
  }

  /// Takes the file's lock for this process; false if another process has it. Released when the file is closed.
  public func tryLock() -> Bool { flock(descriptor, LOCK_EX | LOCK_NB) == 0 }

  /// Waits for the file's lock: `shared` with others that wait so, else for this process alone. Released when the file is
  /// closed.
  public func lock(shared: Bool) throws(Problem) {
    while flock(descriptor, shared ? LOCK_SH : LOCK_EX) != 0 {
      guard errno == EINTR else { throw FileSystem.problem("cannot lock", path) }
    }
  }

  /// Takes from everybody the right to write the file.
  public func protect() throws(Problem) {
    guard fchmod(descriptor, 0o444) == 0 else { throw FileSystem.problem("cannot protect", path) }
  }
}

/// Folders, names and space.
public enum FileSystem {
  public enum Kind: Sendable { case file, folder, other }

  /// What is at `path` (links followed), or nil.
  public static func kind(_ path: String) -> Kind? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .file
    case S_IFDIR: return .folder
    default: return .other
    }
  }

  public static func isFile(_ path: String) -> Bool { kind(path) == .file }
  public static func isFolder(_ path: String) -> Bool { kind(path) == .folder }

  /// Names in a folder, sorted by their bytes, without `.` and `..`.
  public static func list(_ path: String) throws(Problem) -> [String] {
    guard let folder = opendir(path) else { throw problem("cannot list", path) }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
  }

  /// The whole of a small file; larger than `limit` bytes is an error.
  public static func read(_ path: String, limit: Int = 1 << 30) throws(Problem) -> [UInt8] {
    let file = try File.reading(path)
    let size = try file.size()
    guard size <= limit else {
      throw Problem(.fileRead, "the file has \(size) bytes, more than the \(limit) expected of it", file: path)
    }
    return try file.read(size, at: 0)
  }

  /// Writes a small file through a temporary name, so that a reader sees the old bytes or the new ones.
  public static func write(_ bytes: [UInt8], to path: String) throws(Problem) {
    let temporary = path + ".tmp"
    let file = try File.writing(temporary, truncate: true)
    try file.write(bytes, at: 0)
    try file.sync()
    try rename(temporary, to: path)
  }

  public static func createFolder(_ path: String) throws(Problem) {
    guard mkdir(path, 0o755) == 0 else { throw problem("cannot create the folder", path) }
  }

  /// Creates the folders above `path` that are missing.
  public static func createParents(of path: String) throws(Problem) {
    let parent = parent(of: path)
    guard kind(parent) == nil else { return }
    try createParents(of: parent)
    do throws(Problem) { try createFolder(parent) } catch {
      // Another process may have been first.
      guard isFolder(parent) else { throw error }
    }
  }

  /// Removes a file, a link or a folder with everything in it; links are not followed.
  public static func remove(_ path: String) throws(Problem) {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw problem("cannot remove", path) }
    if status.st_mode & S_IFMT == S_IFDIR {
      for name in try list(path) { try remove(path + "/" + name) }
      guard rmdir(path) == 0 else { throw problem("cannot remove the folder", path) }
    } else {
      guard unlink(path) == 0 else { throw problem("cannot remove", path) }
    }
  }

  /// Renames within a file system; replaces an existing file.
  public static func rename(_ old: String, to new: String) throws(Problem) {
    #if canImport(Darwin)
      let result = Darwin.rename(old, new)
    #elseif canImport(Musl)
      let result = Musl.rename(old, new)
    #else
      let result = Glibc.rename(old, new)
    #endif
    guard result == 0 else { throw problem("cannot rename to \(new)", old, code: .fileWrite) }
  }

  /// Gives a file a name that no other has; in one step, whoever else may try it.
  ///
  /// - Throws: `file.exists` if the name is taken.
  public static func renameAnew(_ old: String, to new: String) throws(Problem) {
    #if canImport(Darwin)
      let result = Darwin.link(old, new)
    #elseif canImport(Musl)
      let result = Musl.link(old, new)
    #else
      let result = Glibc.link(old, new)
    #endif
    guard result == 0 else { throw problem("cannot rename \(old) to", new, code: .fileWrite) }
    try remove(old)
  }

  /// Makes a symbolic link that leads to `target`, a path from the link's own folder.
  public static func link(_ path: String, to target: String) throws(Problem) {
    guard symlink(target, path) == 0 else { throw problem("cannot make the link", path, code: .fileWrite) }
  }

  /// Where a symbolic link leads, as it is written; nil for what is no link.
  public static func linkTarget(_ path: String) -> String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes {
      readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }

  /// Exchanges two folders in one step, so that a reader sees one or the other whole.
  public static func exchange(_ a: String, _ b: String) throws(Problem) {
    guard es_exchange_names(a, b) == 0 else { throw problem("cannot exchange with \(b)", a, code: .fileWrite) }
  }

  /// Makes names created or changed in a folder durable.
  public static func syncFolder(_ path: String) throws(Problem) {
    try File.openFolder(path).sync()
  }

  /// Makes the names in a folder and in all folders in it durable; links are not followed.
  public static func syncFolders(in path: String) throws(Problem) {
    for name in try list(path) where isOwnFolder("\(path)/\(name)") { try syncFolders(in: "\(path)/\(name)") }
    try syncFolder(path)
  }

  /// Removes a folder and the folders in it as far as there are no files in them; links are not followed.
  ///
  /// - Returns: whether nothing is left.
  public static func removeEmptyFolders(in path: String) throws(Problem) -> Bool {
    var isEmpty = true
    for name in try list(path) {
      let inner = "\(path)/\(name)"
      let isGone = isOwnFolder(inner) ? try removeEmptyFolders(in: inner) : false
      isEmpty = isEmpty && isGone
    }
    if isEmpty { try remove(path) }
    return isEmpty
  }

  private static func isOwnFolder(_ path: String) -> Bool { isFolder(path) && linkTarget(path) == nil }

  /// Bytes that an ordinary user can still write on the file system that holds `path` (or its nearest parent).
  public static func freeBytes(at path: String) -> Int? {
    var folder = path
    while kind(folder) == nil, folder != "/", folder != "." { folder = parent(of: folder) }
    var status = statvfs()
    guard statvfs(folder, &status) == 0 else { return nil }
    let (bytes, overflow) = Int(clamping: status.f_bavail).multipliedReportingOverflow(
      by: Int(clamping: status.f_frsize))
    return overflow ? Int.max : bytes
  }

  /// The path with `.`, `..`, links and relative beginnings resolved; nil if nothing is there.
  public static func resolved(_ path: String) -> String? {
    guard let pointer = realpath(path, nil) else { return nil }
    defer { free(pointer) }
    return String(cString: pointer)
  }

  public static func parent(of path: String) -> String {
    var parts = path.split(separator: "/", omittingEmptySubsequences: true)
    if !parts.isEmpty { parts.removeLast() }
    if path.hasPrefix("/") { return "/" + parts.joined(separator: "/") }
    return parts.isEmpty ? "." : parts.joined(separator: "/")
  }

  public static func lastComponent(of path: String) -> String {
    path.split(separator: "/", omittingEmptySubsequences: true).last.map(String.init) ?? path
  }

  /// `child` seen from `folder`; absolute paths stay as they are, and `~/` is the home folder.
  public static func join(_ folder: String, _ child: String) -> String {
    if child.hasPrefix("/") { return child }
    if child == "~" || child.hasPrefix("~/"), let home = environment("HOME") { return home + child.dropFirst(1) }
    return folder == "." ? child : folder + "/" + child
  }

  public static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  /// A problem from `errno`, with the remedy where there is an obvious one.
  static func problem(_ doing: String, _ path: String, code: Problem.Code = .fileAccess) -> Problem {
    let number = errno
    let reason = String(cString: strerror(number))
    switch number {
    case ENOENT:
      return Problem(.fileMissing, "\(doing) \(path): there is no such file or folder", file: path)
    case EEXIST:
      return Problem(.fileExists, "\(doing) \(path): it exists already", file: path)
    case ENOSPC, EDQUOT, EFBIG:
      return Problem(
        .diskFull, "\(doing) \(path): no room (\(reason))",
        remedy: "Make room on that file system or choose another output; what is finished is kept for --resume.",
        file: path)
    default:
      return Problem(code, "\(doing) \(path): \(reason)", file: path)
    }
  }
}

extension File {
  fileprivate static func openFolder(_ path: String) throws(Problem) -> File {
    try File.open(path, O_RDONLY | O_DIRECTORY)
  }
}
