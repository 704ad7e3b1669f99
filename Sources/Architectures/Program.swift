import EspalierBasics

/// What one tower computes, as a description writes it: statements over named activation slots, section by section.
///
/// ```json
/// "program": {
///   "module": "model.layers.{layer}",
///   "before": ["x = embedding(tokens, @model.embed_tokens)"],
///   "layer":  ["n = norm(x, @.input_layernorm, epsilon: rms_norm_eps)", "x = add(x, n) if residual"],
///   "after":  ["final = norm(x, @model.norm, epsilon: rms_norm_eps)"],
///   "head":   ["logits = map(final, @lm_head)"],
///   "outputs": {"before": {"embed": "x"}, "layer": {"layer.{layer}": "x"}, "head": {"logits": "logits"}},
///   "refuses": {"is_decoder": "attention to another model's states"}
/// }
/// ```
struct ProgramTemplate: Sendable {
  var before: [StatementTemplate] = []
  var layer: [StatementTemplate] = []
  var after: [StatementTemplate] = []
  var head: [StatementTemplate] = []
  /// For each section, the names under which slots are seen from outside when the section has run.
  var outputs: [String: [(name: String, slot: String)]] = [:]
  /// Conditions under which a model cannot be run, each with what it asks for.
  var refusals: [(condition: Expression, what: String)] = []
  /// Where the position of a sequence's first token is not 0, or padding has none.
  var positions: PositionsTemplate?

  static let sections = ["before", "layer", "after", "head"]

  /// The slots that statements write.
  var written: [String] { ProgramTemplate.sections.flatMap { statements(of: $0).flatMap(\.outputs) } }

  func statements(of section: String) -> [StatementTemplate] {
    switch section {
    case "before": before
    case "layer": layer
    case "after": after
    default: head
    }
  }
}

/// RoBERTa's positions: padding has the position `padding`, other tokens count from the one after it.
struct PositionsTemplate: Sendable {
  var padding: Expression
}

/// One operation of a program.
///
/// ```
/// statement = slot {"," slot} "=" operation "(" [argument {"," argument}] ")" ["if" expression]
/// argument  = slot | reference | label ":" (reference | expression)
/// reference = "@" name          beginning with a dot: inside the program's module
/// ```
struct StatementTemplate: Sendable {
  /// A parameter or module of the family; `weight` is the label of what is given without one.
  struct Reference: Sendable {
    var label: String
    /// The name of a template, or of a module whose `.weight` and `.bias` are templates.
    var name: String
  }

  var outputs: [String]
  var operation: String
  var inputs: [String]
  var references: [Reference]
  var settings: [(label: String, formula: Expression)]
  var condition: Expression?
  let source: String

  /// Reads one statement; references that begin with a dot continue `module`.
  init(parsing source: String, module: String) throws(Problem) {
    self.source = source
    var parser = try FormulaParser(source)
    outputs = try parser.slots()
    try parser.expect("=")
    operation = try parser.name("the name of an operation")
    (inputs, references, settings) = ([], [], [])
    try parser.expect("(")
    while !parser.accept(")") {
      try readArgument(from: &parser, module: module)
      if parser.accept(",") { continue }
      try parser.expect(")")
      break
    }
    if parser.next == .name("if") {
      parser.advance()
      condition = try parser.expression()
    }
    try parser.expectEnd()
  }

  private mutating func readArgument(from parser: inout FormulaParser, module: String) throws(Problem) {
    if case .reference(let name) = parser.next {
      parser.advance()
      references.append(Reference(label: "weight", name: StatementTemplate.full(name, module)))
      return
    }
    let name = try parser.name("a slot, a label or a parameter")
    guard parser.accept(":") else {
      inputs.append(name)
      return
    }
    if case .reference(let target) = parser.next {
      parser.advance()
      references.append(Reference(label: name, name: StatementTemplate.full(target, module)))
    } else {
      settings.append((name, try parser.expression()))
    }
  }

  private static func full(_ name: String, _ module: String) -> String {
    name.hasPrefix(".") ? module + name : name
  }
}

extension FormulaParser {
  fileprivate mutating func name(_ expected: String) throws(Problem) -> String {
    guard case .name(let name) = next else { throw unexpected(expected) }
    advance()
    return name
  }

  fileprivate mutating func slots() throws(Problem) -> [String] {
    var slots = [try name("a slot")]
    while accept(",") { slots.append(try name("a slot")) }
    return slots
  }
}
