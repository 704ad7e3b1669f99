public import EspalierBasics

/// Which chat template the output gets: mergekit's `chat_template:` entry.
public enum ChatTemplateChoice: Sendable, Hashable {
  /// The most frequent among the inputs, the earliest of equally frequent ones.
  case auto
  /// One of ``builtInChatTemplates``, by name.
  case builtIn(String)
  /// Jinja text.
  case literal(String)

  /// Reads the recipe's word.
  ///
  /// - Throws: ``Problem/Code/chatTemplateUnknown`` if it is neither `auto` nor a known name and cannot be a template,
  ///   since nothing in it would be filled in.
  public init(_ text: String) throws(Problem) {
    if text == "auto" {
      self = .auto
    } else if builtInChatTemplates[text] != nil {
      self = .builtIn(text)
    } else if text.utf8.contains(UInt8(ascii: "{")) {
      self = .literal(text)
    } else {
      let known = builtInChatTemplates.keys.sorted().joined(separator: ", ")
      throw Problem(
        .chatTemplateUnknown, "the chat template \"\(text)\" is not known, and is no template itself",
        remedy: "known are auto, \(known); or give Jinja text")
    }
  }

  /// The template, given the inputs' own; nil if `auto` finds none.
  public func template(among inputs: [TokenizerFiles]) -> String? {
    switch self {
    case .auto: Self.mostFrequent(inputs.compactMap { $0.chatTemplate?.trimmingSpace })
    case .builtIn(let name): builtInChatTemplates[name]
    case .literal(let text): text
    }
  }

  private static func mostFrequent(_ templates: [String]) -> String? {
    var counts: [ExactString: Int] = [:]
    for template in templates where !template.isEmpty { counts[ExactString(template), default: 0] += 1 }
    let most = counts.values.max()
    return templates.first { counts[ExactString($0)] == most }
  }
}

extension String {
  /// Without white space at its ends.
  var trimmingSpace: String {
    let scalars = unicodeScalars.drop { $0.properties.isWhitespace }
    guard let last = scalars.lastIndex(where: { !$0.properties.isWhitespace }) else { return "" }
    return String(scalars[...last])
  }
}
