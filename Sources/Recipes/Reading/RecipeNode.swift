public import EspalierBasics
internal import Yams

/// YAML with the line of every value, free of the parser's types.
struct RecipeNode: Sendable {
  enum Content: Sendable {
    case null
    case scalar(String, isQuoted: Bool)
    case list([RecipeNode])
    case map([(key: String, line: Int, value: RecipeNode)])
  }

  var content: Content
  var line: Int

  /// Every document of a YAML text.
  static func documents(in text: String, file: String) throws(Problem) -> [RecipeNode] {
    do {
      // Aliases could otherwise expand a few lines into billions of nodes.
      var budget = 1_000_000
      var nodes = try Yams.compose_all(yaml: text)
      var documents: [RecipeNode] = []
      while let node = nodes.next() { documents.append(try RecipeNode(node, budget: &budget, depth: 0)) }
      // The sequence ends at the first error and says so only when asked.
      if let error = nodes.error { throw error }
      return documents
    } catch let problem as Problem {
      throw problem.at(file: file)
    } catch let error as YamlError {
      throw Problem(.recipeSyntax, "the recipe is not YAML: \(error)", file: file)
    } catch {
      throw Problem(.recipeSyntax, "the recipe cannot be read: \(error)", file: file)
    }
  }

  private init(_ node: Node, budget: inout Int, depth: Int) throws {
    line = node.mark?.line ?? 1
    budget -= 1
    guard budget > 0, depth < 64 else {
      throw Problem(.recipeSyntax, "the recipe is nested too deeply or repeats itself endlessly", recipeLine: line)
    }
    switch node {
    case .scalar(let scalar):
      let plain = scalar.style == .plain || scalar.style == .any
      if plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string) {
        content = .null
      } else {
        content = .scalar(scalar.string, isQuoted: !plain)
      }
    case .sequence(let sequence):
      content = .list(try sequence.map { try RecipeNode($0, budget: &budget, depth: depth + 1) })
    case .mapping(let mapping):
      var pairs: [(key: String, line: Int, value: RecipeNode)] = []
      for (key, value) in mapping {
        guard case .scalar(let name) = key else {
          throw Problem(.recipeSyntax, "a key is not a word", recipeLine: key.mark?.line ?? line)
        }
        if pairs.contains(where: { $0.key == name.string }) {
          throw Problem(
            .recipeSyntax, "the key \"\(name.string)\" appears twice", recipeLine: key.mark?.line ?? line)
        }
        pairs.append(
          (name.string, key.mark?.line ?? line, try RecipeNode(value, budget: &budget, depth: depth + 1)))
      }
      content = .map(pairs)
    case .alias:
      throw Problem(.recipeSyntax, "an alias has no anchor", recipeLine: line)
    }
  }

  // MARK: - Looking inside

  var isNull: Bool { if case .null = content { true } else { false } }
  var text: String? { if case .scalar(let text, _) = content { text } else { nil } }
  var list: [RecipeNode]? { if case .list(let nodes) = content { nodes } else { nil } }
  var pairs: [(key: String, line: Int, value: RecipeNode)]? {
    if case .map(let pairs) = content { pairs } else { nil }
  }

  /// The value of a key; nil if it is absent or null.
  subscript(key: String) -> RecipeNode? { pairs?.first { $0.key == key && !$0.value.isNull }?.value }

  /// A number, written as one or as text that looks like one.
  var number: Double? {
    guard let text else { return nil }
    switch text {
    case ".inf", "+.inf", ".Inf": return .infinity
    case "-.inf", "-.Inf": return -.infinity
    default: return Double(text.filter { $0 != "_" })
    }
  }

  var integer: Int? { text.flatMap { Int($0) } }

  var flag: Bool? {
    guard case .scalar(let text, false) = content else { return nil }
    switch text.lowercased() {
    case "true", "yes", "on": return true
    case "false", "no", "off": return false
    default: return nil
    }
  }
}

extension Problem.Code {
  public static let recipeSyntax = Problem.Code("recipe.syntax")
  public static let recipeKey = Problem.Code("recipe.unknown-key")
  public static let recipeValue = Problem.Code("recipe.value")
  public static let recipeIgnored = Problem.Code("recipe.ignored")
}
