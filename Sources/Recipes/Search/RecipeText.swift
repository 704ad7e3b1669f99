internal import EspalierBasics

/// Recipes written as YAML again, in one way for one meaning: block style, no comments, quotes where there were some.
enum RecipeText {
  static func yaml(_ documents: [RecipeNode]) -> String {
    documents.map { lines($0).joined(separator: "\n") + "\n" }.joined(separator: "---\n")
  }

  private static func lines(_ node: RecipeNode) -> [String] {
    switch node.content {
    case .null: return ["null"]
    case .scalar(let text, let isQuoted): return [scalar(text, isQuoted: isQuoted)]
    case .list(let nodes):
      guard !nodes.isEmpty else { return ["[]"] }
      return nodes.flatMap { node in
        lines(node).enumerated().map { ($0 == 0 ? "- " : "  ") + $1 }
      }
    case .map(let pairs):
      guard !pairs.isEmpty else { return ["{}"] }
      return pairs.flatMap { pair in
        let value = lines(pair.value)
        return pair.value.isNested
          ? [key(pair.key) + ":"] + value.map { "  " + $0 } : [key(pair.key) + ": " + value[0]]
      }
    }
  }

  /// A plain scalar without line breaks means the same in block style wherever it stood. JSON's escapes are YAML's.
  private static func scalar(_ text: String, isQuoted: Bool) -> String {
    isQuoted || text.utf8.contains(UInt8(ascii: "\n")) ? JSON.string(text).text() : text
  }

  private static func key(_ text: String) -> String {
    let isPlain = !text.isEmpty && text.utf8.allSatisfy { isLetter($0) || $0 == UInt8(ascii: "_") }
    return isPlain ? text : JSON.string(text).text()
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }
}

extension RecipeNode {
  /// Whether it takes lines of its own below its key.
  fileprivate var isNested: Bool {
    switch content {
    case .null, .scalar: false
    case .list(let nodes): !nodes.isEmpty
    case .map(let pairs): !pairs.isEmpty
    }
  }
}
