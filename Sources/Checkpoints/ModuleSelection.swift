internal import EspalierBasics

/// Which modules of a base model an adapter's configuration means, by their paths (`model.layers.0.mlp.up_proj`).
///
/// The rules are PEFT's: a list names modules or ends of their paths, a string is a regular expression for the path.
enum ModuleSelection: Sendable {
  case none
  case all
  case matching(RegularExpression)
  /// Layers restrict modules named by an end of their path, not those named in full.
  case named([String], layers: LayerSelection?)

  func contains(_ module: String) -> Bool {
    switch self {
    case .none: false
    case .all: true
    case .matching(let pattern): pattern.matches(module)
    case .named(let names, let layers):
      names.contains(module)
        || names.contains { module.hasSuffix(".\($0)") } && layers?.contains(module) != false
    }
  }
}

/// `layers_to_transform`, with `layers_pattern` for what stands before the number.
struct LayerSelection: Sendable {
  private let indices: Set<Int>
  private let patterns: [RegularExpression]

  init(indices: Set<Int>, patterns: [String]) throws(Problem) {
    self.indices = indices
    var compiled: [RegularExpression] = []
    // PEFT searches `.*\.PATTERN\.(\d+)\.`, with any one component for an absent pattern.
    for pattern in patterns.isEmpty ? ["[^.]*"] : patterns { compiled.append(try RegularExpression(".*\\.\(pattern)")) }
    self.patterns = compiled
  }

  func contains(_ module: String) -> Bool {
    let components = module.split(separator: ".", omittingEmptySubsequences: false)
    for pattern in patterns {
      for position in components.indices.dropLast().reversed() {
        guard let index = Int(components[position]), index >= 0 else { continue }
        if pattern.matches(components[..<position].joined(separator: ".")) { return indices.contains(index) }
      }
    }
    return false
  }
}

/// A key of `rank_pattern` or `alpha_pattern`: a regular expression for the end of a path, from a dot on.
struct ModuleSuffix: Sendable {
  /// A pattern without operators but the dot, which stands for any character: the usual case, compared directly.
  private let plain: [UInt8]?
  private let expression: RegularExpression

  init(_ pattern: String) throws(Problem) {
    // As PEFT writes it.
    expression = try RegularExpression("(.*\\.)?(\(pattern))")
    let isPlain = pattern.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
        true
      default: false
      }
    }
    plain = isPlain ? Array(pattern.utf8) : nil
  }

  func matches(_ module: String) -> Bool {
    let dot = UInt8(ascii: ".")
    guard let plain, module.utf8.allSatisfy({ $0 < 0x80 }) else { return expression.matches(module) }
    let bytes = Array(module.utf8)
    let start = bytes.count - plain.count
    guard start >= 0, start == 0 || bytes[start - 1] == dot else { return false }
    return zip(bytes[start...], plain).allSatisfy { $0 == $1 || $1 == dot }
  }
}
