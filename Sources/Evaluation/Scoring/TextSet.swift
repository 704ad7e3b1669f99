public import EspalierBasics

/// Documents that a text metric is taken over.
public struct TextSet: Sendable {
  public struct Document: Sendable, Hashable {
    public var name: String
    public var text: String

    public init(name: String, text: String) {
      self.name = name
      self.text = text
    }
  }

  /// What reports call it, usually the file's name.
  public var name: String
  public var documents: [Document]

  public init(name: String, documents: [Document]) {
    self.name = name
    self.documents = documents
  }

  /// Reads a file: with the ending `.jsonl` a document a line, `{"text": ..., "name": ...}` (the name may be missing)
  /// or a string; else the whole file is one document.
  ///
  /// - Throws: what cannot be read or is not UTF-8; of JSON lines, all problems at once.
  public static func reading(_ path: String) throws(Problems) -> TextSet {
    let name = FileSystem.lastComponent(of: path)
    if path.utf8.suffix(6).elementsEqual(".jsonl".utf8) {
      return TextSet(name: name, documents: try documents(jsonLines: JSONLines.bytes(of: path), file: path))
    }
    return TextSet(name: name, documents: [Document(name: name, text: try text(of: path))])
  }

  /// The lines of a text file that are not empty.
  ///
  /// - Throws: what cannot be read or is not UTF-8; `evaluation.data` if there is no line.
  public static func lines(of path: String) throws(Problems) -> [String] {
    let lines = try text(of: path).unicodeScalars.split { $0 == "\n" || $0 == "\r" }
    guard !lines.isEmpty else { throw Problems([Problem(.evaluationData, "the file has no lines", file: path)]) }
    return lines.map { String($0) }
  }

  private static func text(of path: String) throws(Problems) -> String {
    guard let text = String(validating: try JSONLines.bytes(of: path), as: UTF8.self) else {
      throw Problems([Problem(.evaluationData, "the text is not valid UTF-8", file: path)])
    }
    return text
  }

  static func documents(jsonLines bytes: [UInt8], file: String) throws(Problems) -> [Document] {
    try JSONLines.items(in: bytes, file: file) { (line, number) throws(Problem) in
      if let text = line.string { return Document(name: "line \(number)", text: text) }
      let text = try line.require(["text"], "a text") { $0.string }
      return Document(name: line["name"]?.string ?? "line \(number)", text: text)
    }
  }
}
