/// How references print a card.
extension MethodCard {
  /// Names and summaries, one line a method, aligned.
  public static func list(_ cards: [MethodCard]) -> String {
    let width = cards.map(\.name.count).max() ?? 0
    return cards.map { card in
      card.name + String(repeating: " ", count: width + 2 - card.name.count) + card.summary
    }.joined(separator: "\n")
  }

  /// Everything about the method, for a terminal.
  ///
  /// - Parameters:
  ///   - inputs: what it is applied to, in words.
  ///   - scope: what a parameter has one value for; nil where that goes without saying.
  public func text(inputs: String, scope: (ParameterCard) -> String? = { _ in nil }) -> String {
    var lines = ["\(name): \(summary)", "inputs: \(inputs)", "source: \(source)"]
    for parameter in parameters {
      let about = [scope(parameter), parameter.expected, parameter.standardText].compactMap { $0 }
      lines.append("  \(parameter.name) (\(about.joined(separator: ", ")))")
      lines.append("      \(parameter.meaning)")
    }
    if !notes.isEmpty { lines.append(notes) }
    return lines.joined(separator: "\n")
  }

  /// The same as a section of a Markdown document.
  public func markdown(inputs: String, scope: ((ParameterCard) -> String)? = nil) -> [String] {
    var lines = ["", "## \(name)", "", summary, "", "Inputs: \(inputs). Source: `\(source)`."]
    if !parameters.isEmpty {
      let titles = ["parameter"] + (scope == nil ? [] : ["for"]) + ["value", "default", "meaning"]
      lines += ["", "| \(titles.joined(separator: " | ")) |", "|" + String(repeating: "---|", count: titles.count)]
      for parameter in parameters {
        let expected = parameter.expected.split(separator: "|").joined(separator: "or")
        let cells =
          ["`\(parameter.name)`"] + (scope.map { [$0(parameter)] } ?? [])
          + [expected, parameter.standardText, parameter.meaning]
        lines.append("| \(cells.joined(separator: " | ")) |")
      }
    }
    if !notes.isEmpty { lines += ["", notes] }
    return lines
  }
}

extension ParameterCard {
  fileprivate var standardText: String {
    standard.map { "default \($0)" } ?? (isRequired ? "required" : "optional")
  }
}
