/// What was wrong, where, and what to do about it: the one error type of Espalier.
///
/// Preflight collects problems and reports all of them at once, so a problem is a value first and an error second.
/// A room adds its own codes by extending ``Problem/Code``; callers match on the code, people read the text.
public struct Problem: Error, Sendable, Hashable, Codable {
  /// Names a kind of problem, stable across versions: `safetensors.overlap`, `recipe.unknown-key`.
  public struct Code: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public init(_ rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }
  }

  public enum Severity: String, Sendable, Hashable, Codable { case warning, error }

  /// Where a problem was found. Everything is optional; what is known is printed.
  public struct Context: Sendable, Hashable, Codable {
    public var file: String?
    public var tensor: String?
    public var byteOffset: Int?
    /// Line of the recipe, counted from 1.
    public var recipeLine: Int?

    public init(file: String? = nil, tensor: String? = nil, byteOffset: Int? = nil, recipeLine: Int? = nil) {
      self.file = file
      self.tensor = tensor
      self.byteOffset = byteOffset
      self.recipeLine = recipeLine
    }
  }

  public var severity: Severity
  public var code: Code
  /// What is wrong, with what was expected and what was found.
  public var message: String
  /// What the user can do.
  public var remedy: String?
  public var context: Context

  public init(
    _ code: Code, _ message: String, remedy: String? = nil, file: String? = nil, tensor: String? = nil,
    byteOffset: Int? = nil, recipeLine: Int? = nil, severity: Severity = .error
  ) {
    self.severity = severity
    self.code = code
    self.message = message
    self.remedy = remedy
    self.context = Context(file: file, tensor: tensor, byteOffset: byteOffset, recipeLine: recipeLine)
  }

  /// The same problem with parts of its context filled in where they were not known below.
  public func at(file: String? = nil, tensor: String? = nil, recipeLine: Int? = nil) -> Problem {
    var problem = self
    problem.context.file = context.file ?? file
    problem.context.tensor = context.tensor ?? tensor
    problem.context.recipeLine = context.recipeLine ?? recipeLine
    return problem
  }

  /// The same problem of one of many: its message begins with which, and its place is the file they are from.
  public func of(_ item: String, file: String? = nil) -> Problem {
    Problem(code, "\(item): \(message)", remedy: remedy, file: file, severity: severity)
  }
}

extension Problem: CustomStringConvertible {
  /// `error: message [recipe line 3, tensor T, file F, byte 12] (code)`, then the remedy on a line of its own.
  public var description: String {
    var places: [String] = []
    if let line = context.recipeLine { places.append("recipe line \(line)") }
    if let tensor = context.tensor { places.append("tensor \(tensor)") }
    if let file = context.file { places.append("file \(file)") }
    if let offset = context.byteOffset { places.append("byte \(offset)") }
    let place = places.isEmpty ? "" : " [\(places.joined(separator: ", "))]"
    let help = remedy.map { "\n  \($0)" } ?? ""
    return "\(severity): \(message)\(place) (\(code))\(help)"
  }
}

/// Several problems found at once, thrown together.
public struct Problems: Error, Sendable, CustomStringConvertible {
  public var all: [Problem]

  public init(_ all: [Problem] = []) { self.all = all }

  public var errors: [Problem] { all.filter { $0.severity == .error } }
  public var warnings: [Problem] { all.filter { $0.severity == .warning } }
  public var description: String { all.map(\.description).joined(separator: "\n") }

  public mutating func add(_ problem: Problem) { all.append(problem) }

  /// Runs `body`; a problem it throws joins the list, and the result is nil.
  public mutating func collect<T>(_ body: () throws(Problem) -> T) -> T? {
    do { return try body() } catch {
      all.append(error)
      return nil
    }
  }
}
