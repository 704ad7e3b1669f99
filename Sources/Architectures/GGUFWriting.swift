internal import EspalierBasics
internal import EspalierCheckpoints

/// How GGUF files of a family are written, where that is not the inverse of reading them: what metadata they have, and
/// what of a model they cannot hold.
///
/// Only families whose files were compared with those of llama.cpp's own converter have it; the others are refused.
struct GGUFWriting: Sendable {
  /// A metadata entry before the config is known; left out where the formula reads a key that is not there.
  struct Entry: Sendable {
    /// Without the architecture's name, unless it begins with `general.` or `tokenizer.`.
    var key: String
    /// float32, however the number is written in the config; all others are stored as what they are.
    var isFloat: Bool
    var formula: Expression
  }

  var metadata: [Entry] = []
  /// Conditions under which llama.cpp would compute something else, with what they are about: as an error.
  var refusals: [(condition: Expression, what: String)] = []
  /// The same, as a warning.
  var warnings: [(condition: Expression, what: String)] = []
  /// Config keys that need not be read back as they were, since a condition above or the metadata look after them.
  var unchecked: [String] = []
  /// Beginnings of parameters that llama.cpp does not compute with.
  var omitted: [String] = []
  /// Rotary scalings that llama.cpp reads in this architecture.
  var scalings: [String] = []
  /// Every how many layers one attends to everything, where the file is silent.
  var slidingPeriod: Int?
  /// Whether the way that token states are pooled is taken from the folder.
  var hasPooling = false

  /// With what this family shares with another.
  func completed(by other: GGUFWriting) -> GGUFWriting {
    var whole = self
    whole.metadata = other.metadata.filter { entry in !metadata.contains { $0.key == entry.key } } + metadata
    if scalings.isEmpty { whole.scalings = other.scalings }
    return whole
  }

  /// The entries with their values.
  ///
  /// - Parameters:
  ///   - architecture: of the file, which its own keys begin with.
  ///   - problems: gets what cannot be stored.
  func entries(
    architecture: String, in scope: Scope, problems: inout Problems
  ) -> [(key: String, value: GGUFTypedValue)] {
    var found: [(key: String, value: GGUFTypedValue)] = []
    for entry in metadata {
      let value = problems.collect { () throws(Problem) -> GGUFTypedValue? in
        let value = try entry.formula.evaluate(in: scope)
        if case .absent = value { return nil }
        guard let typed = GGUFTypedValue(value, isFloat: entry.isFloat) else {
          throw Problem(.ggufConfig, "`\(entry.formula)` is \(value.json.text()), which \(entry.key) cannot hold")
        }
        return typed
      }
      let isShared = entry.key.hasPrefix("general.") || entry.key.hasPrefix("tokenizer.")
      if let value = value ?? nil { found.append((isShared ? entry.key : "\(architecture).\(entry.key)", value)) }
    }
    return found
  }
}

extension GGUFTypedValue {
  /// A value of a formula; nil if the format has no type for it.
  init?(_ value: Value, isFloat: Bool) {
    switch value {
    case .integer(let number) where isFloat: self = .f32(Float(number))
    case .fraction(let number) where isFloat: self = .f32(Float(number))
    case .integer(let number):
      guard let number = UInt32(exactly: number) else { return nil }
      self = .u32(number)
    case .truth(let truth): self = .truth(truth)
    case .text(let text): self = .text(text)
    case .absent, .fraction, .list: return nil
    }
  }
}

// MARK: - Reading

extension DescriptionReader {
  /// The `writes` section of a family's `gguf` section.
  mutating func ggufWriting(_ json: JSON, at path: String) -> GGUFWriting? {
    let keys = ["metadata", "refuses", "warns", "unchecked", "omits", "scalings", "slidingPeriod", "pooling"]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    var writing = GGUFWriting()
    writing.metadata = ggufEntries(members["metadata"], at: path + ".metadata")
    writing.refusals = conditions(members["refuses"], at: path + ".refuses")
    writing.warnings = conditions(members["warns"], at: path + ".warns")
    writing.unchecked = members["unchecked"].map { texts($0, at: path + ".unchecked") } ?? []
    writing.omitted = members["omits"].map { texts($0, at: path + ".omits") } ?? []
    writing.scalings = members["scalings"].map { texts($0, at: path + ".scalings") } ?? []
    writing.hasPooling = flag(members["pooling"], at: path + ".pooling")
    if let period = members["slidingPeriod"] {
      writing.slidingPeriod = period.integer ?? complain(path + ".slidingPeriod", "expected a whole number")
    }
    return writing
  }

  /// Metadata entries with their formulas.
  mutating func ggufEntries(_ json: JSON?, at path: String) -> [GGUFWriting.Entry] {
    named(json, at: path) { reader, key, json, path in
      guard let members = json.members else {
        return reader.formula(json, at: path).map { .init(key: key, isFloat: false, formula: $0) }
      }
      _ = reader.object(json, at: path, keys: ["f32"])
      return reader.formula(members["f32"], at: path + ".f32").map { .init(key: key, isFloat: true, formula: $0) }
    }
  }

  mutating func conditions(_ json: JSON?, at path: String) -> [(condition: Expression, what: String)] {
    named(json, at: path) { reader, condition, json, path in
      guard let what = reader.text(json, at: path) else { return nil }
      return reader.formula(.string(condition), at: path).map { (condition: $0, what: what) }
    }
  }
}
