internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// What makes the rows of a site, and makes them for nothing else, so that each column of them is linear in numbers of its
/// own: what those are divided by, the columns of the site's matrices can be multiplied by.
public struct SiteSource: Sendable {
  public enum Maker: Sendable {
    /// A norm `n(x) (w + added) + b`; w and b `[width]` as they are stored.
    case norm(weight: Parameter, added: Float, bias: Parameter?)
    /// A matrix `[outputs, any]`, by its canonical name, and its bias `[outputs]` as it is stored: the site's column j comes
    /// from the row `rows[j]`, from which several columns may come.
    case matrix(name: String, outputs: Int, bias: Parameter?, rows: [Int])
  }

  public let site: String
  public let maker: Maker
  /// Canonical names of the matrices that read the rows; there are no other readers.
  public let readers: [String]
}

extension Network {
  /// The sources of a block's sites, where there are such:
  ///
  /// * a norm; none that normalizes pieces of rows;
  /// * the map to values before attention, whose outputs are means of values: heads that share values share rows;
  /// * the map `u` before `f(g) * u`, of an expert too, and a map before relu, if factors are positive.
  ///
  /// Left out is what has parameters that are used, or results that are read, a second time.
  ///
  /// - Parameter index: of the block in ``blocks()``.
  public func sources(ofBlock index: Int) throws(Problem) -> [SiteSource] {
    let search = SourceSearch(network: self, section: index)
    var found: [SiteSource] = []
    for place in search.statements.indices {
      if search.statements[place].operation == ExpertsOperation.name {
        found += try search.ofExperts(place)
      } else if let source = try search.source(place) {
        found.append(source)
      }
    }
    return found
  }
}

/// Looks for what makes the rows of sites in one section of a program.
private struct SourceSearch {
  let network: Network
  let section: Int

  var statements: [Statement] { network.program.sections[section].statements }
  private var description: ModelDescription { network.program.description }

  /// What the statement makes, if only maps of one site read it.
  func source(_ place: Int) throws(Problem) -> SiteSource? {
    let statement = statements[place]
    guard statement.outputs.count == 1, let maker = try maker(place), let width = width(maker),
      let (site, names) = site(readers: readers(of: statement.outputs[0], after: place), of: statement, width: width)
    else { return nil }
    return SiteSource(site: site, maker: maker, readers: names)
  }

  private func width(_ maker: SiteSource.Maker) -> Int? {
    switch maker {
    case .norm(let weight, _, _): weight.elementCount
    case .matrix(_, _, _, let rows): rows.count
    }
  }

  private func maker(_ place: Int) throws(Problem) -> SiteSource.Maker? {
    let statement = statements[place]
    switch statement.operation {
    case RMSNormOperation.name, LayerNormOperation.name: return try norm(statement)
    case AttentionOperation.name:
      guard statement.inputs.count > 2, let map = try map(into: statement.inputs[2], readAt: place) else { return nil }
      let heads = try statement.integer("heads")
      let groups = statement.has("keyValueHeads") ? try statement.integer("keyValueHeads") : heads
      guard groups > 0, heads % groups == 0, map.rows.count % groups == 0 else { return nil }
      let (width, together) = (map.rows.count / groups, heads / groups)
      return .matrix(
        name: map.name, outputs: map.outputs, bias: map.bias,
        rows: (0..<heads * width).map { map.rows[$0 / width / together * width + $0 % width] })
    case GateOperation.name:
      guard statement.inputs.count == 2 else { return nil }
      return try map(into: statement.inputs[1], readAt: place)?.maker
    case ActivateOperation.name:
      guard case .text("relu")? = statement.settings["f"] else { return nil }
      return try map(into: statement.inputs[0], readAt: place)?.maker
    default: return nil
    }
  }

  /// The map up of each expert, which its map down alone reads.
  func ofExperts(_ place: Int) throws(Problem) -> [SiteSource] {
    let parameters = statements[place].parameters
    guard Set(parameters.keys) == ["gate", "up", "down"], let up = parameters["up"], let down = parameters["down"],
      up.count == down.count
    else { return [] }
    var found: [SiteSource] = []
    for (up, down) in zip(up, down) {
      guard let matrix = description.parameter(named: up), isUsedOnce(up), let site = readSite(down),
        let reader = description.parameter(named: down), reader.matrixShape.columns == matrix.matrixShape.rows
      else { continue }
      let outputs = matrix.matrixShape.rows
      found.append(
        SiteSource(
          site: site, maker: .matrix(name: up, outputs: outputs, bias: nil, rows: Array(0..<outputs)), readers: [down]))
    }
    return found
  }

  // MARK: - Readers

  /// The statements that read what was written to a slot, before something else is written there; nil if it is given out.
  private func readers(of slot: String, after place: Int) -> [Statement]? {
    var readers: [Statement] = []
    var first = place + 1
    for section in network.program.sections[section...] {
      for later in section.statements.dropFirst(first) {
        if later.inputs.contains(slot) { readers.append(later) }
        if later.outputs.contains(slot) { return readers }
      }
      if section.outputs.contains(where: { $0.slot == slot }) { return nil }
      first = 0
    }
    return readers
  }

  /// The site of statements that are all maps of it, with their matrices.
  private func site(
    readers: [Statement]?, of statement: Statement, width: Int
  ) -> (site: String, names: [String])? {
    guard let readers, !readers.isEmpty else { return nil }
    var names: [String] = []
    var site: String?
    for reader in readers {
      guard reader.operation == MapOperation.name, reader.inputs == statement.outputs,
        let name = reader.parameters["weight"]?.first, reader.parameters["weight"]?.count == 1,
        let own = readSite(name), ExactString(site ?? own) == ExactString(own),
        description.parameter(named: name)?.matrixShape.columns == width
      else { return nil }
      site = own
      names.append(name)
    }
    return site.map { ($0, names) }
  }

  private func readSite(_ matrix: String) -> String? { description.parameter(named: matrix)?.inputSite }

  // MARK: - Makers

  private func norm(_ statement: Statement) throws(Problem) -> SiteSource.Maker? {
    guard !statement.has("groups"), let weight = try vector("weight", of: statement, allowingOne: true) else {
      return nil
    }
    var bias: Parameter?
    if statement.parameters["bias"]?.isEmpty == false {
      guard let found = try vector("bias", of: statement) else { return nil }
      bias = found.parameter
    }
    return .norm(weight: weight.parameter, added: weight.added, bias: bias)
  }

  private struct Map {
    let name: String
    let outputs: Int
    let bias: Parameter?
    let rows: [Int]

    var maker: SiteSource.Maker { .matrix(name: name, outputs: outputs, bias: bias, rows: rows) }
  }

  /// The map that makes a slot, perhaps with others that are split off, for the statement at `place` alone.
  private func map(into slot: String, readAt place: Int) throws(Problem) -> Map? {
    guard let made = statements[..<place].lastIndex(where: { $0.outputs.contains(slot) }),
      statements[place].inputs.count(where: { $0 == slot }) == 1, readers(of: slot, after: made)?.count == 1
    else { return nil }
    let statement = statements[made]
    switch statement.operation {
    case SplitOperation.name:
      guard let whole = try map(into: statement.inputs[0], readAt: made),
        let part = statement.outputs.firstIndex(of: slot)
      else { return nil }
      let columns = try SplitOperation.columns(of: statement, in: description)
      guard columns.indices.contains(part), columns[part].allSatisfy(whole.rows.indices.contains) else { return nil }
      return Map(
        name: whole.name, outputs: whole.outputs, bias: whole.bias, rows: columns[part].map { whole.rows[$0] })
    case MapOperation.name:
      guard let name = statement.parameters["weight"]?.first, statement.parameters["weight"]?.count == 1,
        let matrix = description.parameter(named: name), isUsedOnce(name)
      else { return nil }
      var bias: Parameter?
      let outputs = matrix.matrixShape.rows
      if statement.parameters["bias"]?.isEmpty == false {
        guard let found = try vector("bias", of: statement), found.parameter.elementCount == outputs else { return nil }
        bias = found.parameter
      }
      return Map(name: name, outputs: outputs, bias: bias, rows: Array(0..<outputs))
    default: return nil
    }
  }

  /// A parameter of one dimension that this statement alone uses, as it is stored, and what is added to its numbers.
  private func vector(
    _ label: String, of statement: Statement, allowingOne: Bool = false
  ) throws(Problem) -> (parameter: Parameter, added: Float)? {
    guard let names = statement.parameters[label], names.count == 1, let source = try network.store.find(names[0]),
      source.rows == nil, source.parameter.shape.count == 1,
      ExactString(source.description.name) == ExactString(names[0]), isUsedOnce(names[0])
    else { return nil }
    switch source.description.recipe.value {
    case .identity: return (source.parameter, 0)
    case .plusOne where allowingOne: return (source.parameter, 1)
    case .plusOne, .negativeExponential: return nil
    }
  }

  /// Whether one statement uses the parameter, and no other parameter is tied to it.
  private func isUsedOnce(_ name: String) -> Bool {
    let name = ExactString(name)
    var uses = 0
    for section in network.program.sections {
      // A split only names the parameter whose rows it knows.
      uses += section.statements.count { statement in
        statement.operation != SplitOperation.name
          && statement.parameters.values.contains { $0.contains { ExactString($0) == name } }
      }
    }
    return uses == 1 && !description.parameters.contains { $0.tiedTo.map { ExactString($0) } == name }
  }
}
