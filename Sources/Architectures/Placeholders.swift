// Names with numbers left open: `layers.{layer}.experts.{expert}.w1`. The largest models have tens of thousands of
// names, so these work on UTF-8.
extension String {
  /// The names between braces: `layer` and `expert` above.
  var placeholders: [String] {
    utf8.split(separator: UInt8(ascii: "{"), omittingEmptySubsequences: false).dropFirst().compactMap { part in
      part.firstIndex(of: UInt8(ascii: "}")).map { String(Substring(part[..<$0])) }
    }
  }

  /// The name with `value` for every `{placeholder}`.
  func filling(_ placeholder: String, with value: Int) -> String {
    let parts = utf8.split(separator: UInt8(ascii: "{"), omittingEmptySubsequences: false)
    guard parts.count > 1 else { return self }
    var filled = String(Substring(parts[0]))
    for part in parts.dropFirst() {
      let text = Substring(part)
      if let end = part.firstIndex(of: UInt8(ascii: "}")), text[..<end] == placeholder {
        filled += "\(value)" + text[part.index(after: end)...]
      } else {
        filled += "{" + text
      }
    }
    return filled
  }
}
