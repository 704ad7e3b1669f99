public import EspalierBasics

extension Problem.Code {
  /// A recipe whose values are to be searched, or a mistake in what is to be searched.
  public static let recipeSearch = Problem.Code("recipe.search")
}

/// A recipe with open values: `search:` names them and lists what each may be, `$name` stands where the value goes.
///
/// ```yaml
/// search:
///   w: [0.2, 0.4, 0.6]
///   d: [0.3, 0.5]
/// merge_method: ties
/// base_model: base
/// models:
///   - {model: one, parameters: {weight: $w, density: $d}}
///   - {model: two, parameters: {weight: $w, density: $d}}
/// ```
///
/// A name may stand in several places, for any scalar: a parameter, a point of a gradient, the end of a `layer_range`,
/// the method, a model. In quotes `"$name"` is text. With several documents one of them has the `search:`, or it is a
/// document of its own; its names hold in all.
///
/// What is to be found is another matter: ``RecipeSearch/run(_:objective:progress:)`` asks a closure.
public struct RecipeSearch: Sendable {
  /// A name and what it may stand for.
  public struct Variable: Sendable {
    public var name: String
    /// The values as they were written, in their order.
    public var values: [String] { nodes.map { $0.text ?? "" } }
    public var line: Int
    let nodes: [RecipeNode]
  }

  /// One recipe without open values.
  public struct Candidate: Sendable, Hashable {
    /// Index of every variable's value.
    public var choice: [Int]
    /// Every variable's value as it was written, in the order of the variables.
    public var values: [String]
    /// The recipe as YAML; paths in it are relative to where the search's recipe lies.
    public var text: String
    /// Of the text.
    public var digest: Digest
  }

  /// In the order of the text.
  public let variables: [Variable]
  private let documents: [RecipeNode]

  /// Reads a recipe with a `search:`.
  ///
  /// - Parameters:
  ///   - file: the name of the recipe, for messages.
  ///   - warnings: receives what is suspicious but allowed in the recipes.
  /// - Throws: everything that is wrong with the search, or with the recipe for any value of any variable.
  public init(parsing text: String, file: String, warnings: inout [Problem]) throws(Problems) {
    var problems = Problems()
    var reader = SearchReader(file: file)
    do throws(Problem) {
      documents = try reader.read(text)
    } catch { throw Problems([error]) }
    variables = reader.variables
    problems.all += reader.problems.all
    guard problems.errors.isEmpty else { throw problems }
    // Every value once, the others at their first.
    var choices = [variables.map { _ in 0 }]
    for (index, variable) in variables.enumerated() {
      for value in variable.nodes.indices.dropFirst() {
        choices.append(choices[0])
        choices[choices.count - 1][index] = value
      }
    }
    var noted: [Problem] = []
    for choice in choices {
      do throws(Problems) {
        _ = try Recipe.read(filled(choice), file: file, warnings: &noted)
      } catch { problems.all += error.all }
    }
    problems.all = problems.all.uniqued()
    guard problems.errors.isEmpty else { throw problems }
    warnings += noted.uniqued()
  }

  /// How many recipes there are; nil beyond what an integer holds.
  public var count: Int? {
    var count = 1
    for variable in variables {
      let (product, overflow) = count.multipliedReportingOverflow(by: variable.nodes.count)
      guard !overflow else { return nil }
      count = product
    }
    return count
  }

  /// The recipe with every variable's value of this index.
  public func candidate(_ choice: [Int]) -> Candidate {
    let text = RecipeText.yaml(filled(choice))
    return Candidate(
      choice: choice, values: zip(variables, choice).map { $0.nodes[$1].text ?? "" }, text: text,
      digest: Digest(of: text))
  }

  /// The documents with their open values filled in.
  private func filled(_ choice: [Int]) -> [RecipeNode] {
    var values: [ExactString: RecipeNode] = [:]
    for (variable, index) in zip(variables, choice) { values[ExactString(variable.name)] = variable.nodes[index] }
    return documents.map { $0.replacingVariables { values[ExactString($0)] } }
  }
}

/// Takes the `search:` out of a recipe and checks that names and places belong together.
private struct SearchReader {
  let file: String
  var problems = Problems()
  var variables: [RecipeSearch.Variable] = []

  init(file: String) { self.file = file }

  private mutating func complain(_ message: String, remedy: String? = nil, line: Int) {
    problems.add(Problem(.recipeSearch, message, remedy: remedy, file: file, recipeLine: line))
  }

  /// The documents without their search.
  mutating func read(_ text: String) throws(Problem) -> [RecipeNode] {
    var found: RecipeNode?
    var documents: [RecipeNode] = []
    for document in try RecipeNode.documents(in: text, file: file) where !document.isNull {
      var document = document
      if let search = document["search"], let pairs = document.pairs {
        if found != nil { complain("there is a second search", line: search.line) }
        found = search
        document.content = .map(pairs.filter { $0.key != "search" })
        if pairs.count == 1 { continue }
      }
      documents.append(document)
    }
    guard let found else {
      complain(
        "the recipe has nothing to search",
        remedy: "Add search: {NAME: [VALUE, ...]} and put $NAME where the value goes.", line: 1)
      return documents
    }
    readVariables(found)
    checkPlaces(documents)
    return documents
  }

  private mutating func readVariables(_ node: RecipeNode) {
    guard let pairs = node.pairs, !pairs.isEmpty else {
      complain("search must be a map from names to lists of values", line: node.line)
      return
    }
    for (name, line, value) in pairs {
      guard RecipeNode.isVariableName(name) else {
        complain("\"\(name)\" is no name: letters, digits and _, beginning with a letter or _", line: line)
        continue
      }
      guard let nodes = value.list, !nodes.isEmpty, nodes.allSatisfy({ $0.text != nil }) else {
        complain("\(name) must be a list of numbers, flags or words", line: line)
        continue
      }
      let texts = nodes.map { ExactString($0.text ?? "") }
      if Set(texts).count != texts.count { complain("\(name) has a value twice", line: line) }
      variables.append(.init(name: name, line: line, nodes: nodes))
    }
  }

  private mutating func checkPlaces(_ documents: [RecipeNode]) {
    var used: Set<ExactString> = []
    let names = variables.map(\.name)
    for document in documents {
      document.forEachVariable { name, line in
        used.insert(ExactString(name))
        guard !names.contains(where: { ExactString($0) == ExactString(name) }) else { return }
        let near = Spelling.nearest(to: name, among: names)
        complain(
          "search has no \(name)" + (near.map { "; did you mean $\($0)?" } ?? ""),
          remedy: "In quotes \"$\(name)\" is plain text.", line: line)
      }
    }
    for variable in variables where !used.contains(ExactString(variable.name)) {
      complain("$\(variable.name) stands nowhere in the recipe", line: variable.line)
    }
  }
}

extension RecipeNode {
  static func isVariableName(_ text: some StringProtocol) -> Bool {
    let bytes = Array(text.utf8)
    func isLetter(_ byte: UInt8) -> Bool {
      byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
    func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    guard let first = bytes.first, isLetter(first) else { return false }
    return bytes.allSatisfy { isLetter($0) || isDigit($0) }
  }

  /// The name, if the node is `$name`.
  private var variable: String? {
    guard case .scalar(let text, false) = content, text.utf8.first == UInt8(ascii: "$") else { return nil }
    let name = String(text.dropFirst())
    return Self.isVariableName(name) ? name : nil
  }

  /// Calls `body` with every `$name` below and its line.
  func forEachVariable(_ body: (String, Int) -> Void) {
    if let variable { body(variable, line) }
    for node in list ?? [] { node.forEachVariable(body) }
    for pair in pairs ?? [] { pair.value.forEachVariable(body) }
  }

  /// The node with every `$name` replaced by its value; lines stay.
  func replacingVariables(_ value: (String) -> RecipeNode?) -> RecipeNode {
    var node = self
    switch content {
    case .scalar: if let variable, let value = value(variable) { node.content = value.content }
    case .list(let nodes): node.content = .list(nodes.map { $0.replacingVariables(value) })
    case .map(let pairs):
      node.content = .map(pairs.map { ($0.key, $0.line, $0.value.replacingVariables(value)) })
    case .null: break
    }
    return node
  }
}
