internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// The norm that makes the rows of a site, and makes them for nothing else: what its weight is divided by, the matrices of
/// the site can be multiplied by.
public struct NormOfSite: Sendable {
  public let site: String
  /// `[width]`, as it is stored, which is as it is used.
  public let weight: Parameter
  public let bias: Parameter?
  /// Canonical names of the matrices that read the rows; there are no other readers.
  public let readers: [String]
}

extension Network {
  /// The norms of a block whose output only maps of one site read.
  ///
  /// A norm is left out if its weight stands for another number than is stored (gemma's plus one), normalizes pieces of
  /// rows, or is used a second time.
  ///
  /// - Parameter index: of the block in ``blocks()``.
  public func norms(ofBlock index: Int) throws(Problem) -> [NormOfSite] {
    var found: [NormOfSite] = []
    let statements = program.sections[index].statements
    for (place, statement) in statements.enumerated() where Self.norms.contains(statement.operation) {
      guard let norm = try norm(statement, readBy: try readers(of: statement, at: place, inSection: index)) else {
        continue
      }
      found.append(norm)
    }
    return found
  }

  private static let norms = ["rmsNorm", "layerNorm"]

  /// The statements that read what a statement writes, before something else is written there; nil if it is given out.
  private func readers(of statement: Statement, at place: Int, inSection index: Int) throws(Problem) -> [Statement]? {
    guard statement.outputs.count == 1, let slot = statement.outputs.first else { return nil }
    var readers: [Statement] = []
    var first = place + 1
    for section in program.sections[index...] {
      for later in section.statements.dropFirst(first) {
        if later.inputs.contains(slot) { readers.append(later) }
        if later.outputs.contains(slot) { return readers }
      }
      if section.outputs.contains(where: { $0.slot == slot }) { return nil }
      first = 0
    }
    return readers
  }

  private func norm(_ statement: Statement, readBy readers: [Statement]?) throws(Problem) -> NormOfSite? {
    guard let readers, !readers.isEmpty, let weight = try vector("weight", of: statement) else { return nil }
    var bias: Parameter?
    if statement.parameters["bias"]?.isEmpty == false {
      guard let found = try vector("bias", of: statement) else { return nil }
      bias = found
    }
    var names: [String] = []
    var site: String?
    for reader in readers {
      guard reader.operation == "map", reader.inputs == statement.outputs,
        let name = reader.parameters["weight"]?.first, reader.parameters["weight"]?.count == 1,
        let matrix = program.description.parameter(named: name), let own = matrix.inputSite,
        ExactString(site ?? own) == ExactString(own), matrix.matrixShape.columns == weight.elementCount
      else { return nil }
      site = own
      names.append(name)
    }
    return site.map { NormOfSite(site: $0, weight: weight, bias: bias, readers: names) }
  }

  /// A parameter of one dimension that this statement alone uses, as it is stored.
  private func vector(_ label: String, of statement: Statement) throws(Problem) -> Parameter? {
    guard let names = statement.parameters[label], names.count == 1, let source = try store.find(names[0]),
      source.rows == nil, source.description.recipe.value == .identity, source.parameter.shape.count == 1,
      ExactString(source.description.name) == ExactString(names[0])
    else { return nil }
    let uses = program.sections.reduce(0) { count, section in
      count
        + section.statements.count {
          $0.parameters.values.contains { $0.contains { ExactString($0) == ExactString(names[0]) } }
        }
    }
    return uses == 1 ? source.parameter : nil
  }
}
