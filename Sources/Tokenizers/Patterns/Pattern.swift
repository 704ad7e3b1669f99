public import EspalierBasics

/// What a tokenizer searches a text for: a string, or a regular expression in Oniguruma's dialect.
///
/// The expressions of well-known tokenizers are run by scanners written for them, any other by a backtracking matcher.
public struct Pattern: Sendable {
  private enum Kind: Sendable {
    case literal([UInt8])
    case scanner(WordScanner)
    case program(PatternProgram)
  }

  private let kind: Kind
  /// As it was written.
  public let source: String

  /// As a tree: patterns that are written differently may have the same.
  func tree() throws(Problem) -> PatternNode {
    guard case .literal = kind else { return try PatternParser.parse(source) }
    return .sequence(source.unicodeScalars.map { .set(.only($0.value)) })
  }

  /// Matches the bytes of `literal`; an empty string matches as an empty expression does.
  public init(literal: String) {
    source = literal
    kind = .literal(Array(literal.utf8))
  }

  /// - Throws: ``Problem/Code/tokenizerPattern`` if the expression is malformed or uses something unsupported.
  public init(regularExpression: String) throws(Problem) {
    try self.init(regularExpression: regularExpression, usesScanners: true)
  }

  /// Without scanners, known expressions are matched like all others, which tests compare.
  init(regularExpression: String, usesScanners: Bool) throws(Problem) {
    source = regularExpression
    if usesScanners, let scanner = WordScanner(pattern: regularExpression) {
      kind = .scanner(scanner)
    } else {
      kind = .program(try PatternProgram(PatternParser.parse(regularExpression)))
    }
  }

  /// `{"String": "..."}` or `{"Regex": "..."}`.
  init(json: JSON) throws(Problem) {
    if let text = json["String"]?.string {
      self.init(literal: text)
    } else if let text = json["Regex"]?.string {
      try self.init(regularExpression: text)
    } else if let text = json.string {
      self.init(literal: text)
    } else {
      throw Problem(.tokenizerMalformed, "a pattern is neither {\"String\": ...} nor {\"Regex\": ...}: \(json.text())")
    }
  }

  /// Calls `body` with every match, from left to right; matches do not overlap.
  func forEachMatch(
    in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void
  ) throws(Problem) {
    switch kind {
    case .scanner(let scanner):
      var position = 0
      while position < text.count {
        let end = scanner.end(of: text, from: position)
        body(position..<end)
        position = end
      }
    case .literal(let literal):
      guard let first = literal.first else { return try forEachEmptyMatch(in: text, body) }
      var position = 0
      while position + literal.count <= text.count {
        if text[position] == first,
          literal.count == 1 || text[position..<position + literal.count].elementsEqual(literal)
        {
          body(position..<position + literal.count)
          position += literal.count
        } else {
          position += 1
        }
      }
    case .program(let program):
      var matcher = PatternMatcher(program, in: text)
      var position = 0
      var lastEnd = -1
      while position <= text.count, let match = try matcher.search(from: position) {
        if match.isEmpty, match.lowerBound == lastEnd {
          // No empty match right after another match.
          position += position < text.count ? UTF8Reading.length(text[position]) : 1
          continue
        }
        body(match)
        position = match.upperBound
        lastEnd = match.upperBound
      }
    }
  }

  private func forEachEmptyMatch(in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) throws(Problem) {
    let empty = try Pattern(regularExpression: "", usesScanners: false)
    try empty.forEachMatch(in: text, body)
  }
}

extension Pattern {
  /// Whether it matches one certain scalar and nothing else, so that a text may be cut anywhere.
  var isSingleScalar: Bool {
    guard case .literal(let bytes) = kind, let first = bytes.first else { return false }
    return bytes.count == UTF8Reading.length(first)
  }
}
