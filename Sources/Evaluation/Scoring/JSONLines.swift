public import EspalierBasics

/// Files of one JSON value a line.
enum JSONLines {
  static func bytes(of path: String) throws(Problems) -> [UInt8] {
    do throws(Problem) { return try FileSystem.read(path) } catch { throw Problems([error]) }
  }

  /// What `item` makes of each line and its number (from 1); empty lines are passed over.
  ///
  /// - Throws: the problems of all lines at once, each naming its line; `evaluation.data` if there is no item.
  static func items<Item>(
    in bytes: [UInt8], file: String, _ item: (JSON, Int) throws(Problem) -> Item
  ) throws(Problems) -> [Item] {
    var problems = Problems()
    var items: [Item] = []
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      do throws(Problem) { items.append(try item(JSON(parsing: line), index + 1)) } catch {
        // The offset counts from the line's beginning; the line is what helps.
        var problem = error.of("line \(index + 1)", file: file)
        if let offset = error.context.byteOffset { problem.message += ", at byte \(offset) of the line" }
        problems.add(problem)
      }
    }
    guard problems.all.isEmpty else { throw problems }
    guard !items.isEmpty else {
      throw Problems([Problem(.evaluationData, "the file has no items: every line is empty", file: file)])
    }
    return items
  }
}

/// An item that data sets write as one line of JSON.
public protocol JSONLineItem {
  /// - Throws: `evaluation.data`.
  init(json: JSON) throws(Problem)
}

extension JSONLineItem {
  /// Reads a file of JSON lines, see ``init(json:)``.
  ///
  /// - Throws: the problems of all lines at once.
  public static func reading(_ path: String) throws(Problems) -> [Self] {
    try items(in: JSONLines.bytes(of: path), file: path)
  }

  static func items(in bytes: [UInt8], file: String) throws(Problems) -> [Self] {
    try JSONLines.items(in: bytes, file: file) { (line, _) throws(Problem) in try Self(json: line) }
  }
}

extension JSON {
  /// The value under the first of `keys` that is there and not null.
  func first(of keys: [String]) -> JSON? {
    for key in keys {
      if let value = self[key], !value.isNull { return value }
    }
    return nil
  }

  /// What `read` makes of the value under the first of `keys` that is there.
  ///
  /// - Throws: `evaluation.data` with the keys if none is there, or if `read` gives nil.
  func require<T>(_ keys: [String], _ what: String, _ read: (JSON) -> T?) throws(Problem) -> T {
    let spelled = keys.map { "\"\($0)\"" }.joined(separator: ", ")
    guard members != nil else { throw Problem(.evaluationData, "expected an object with \(what) (\(spelled))") }
    guard let value = first(of: keys) else { throw Problem(.evaluationData, "\(what) is missing (\(spelled))") }
    guard let result = read(value) else {
      throw Problem(.evaluationData, "\(what) is not of the right kind (\(spelled))")
    }
    return result
  }
}
