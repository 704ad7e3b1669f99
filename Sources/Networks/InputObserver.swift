internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierNumerics

/// Looks at the rows that reach matrices while a section runs.
struct InputObserver {
  /// The site that each matrix of the section shows, by its handle.
  let sites: [String?]
  let body: (_ site: String, _ rows: MatrixView<Float>) throws(Problem) -> Void

  /// Whether it sees what enters some of these.
  func looks(at matrices: [MatrixHandle]) -> Bool { matrices.contains { sites[$0.index] != nil } }

  func see(_ x: Activation, before matrices: [MatrixHandle]) throws(Problem) {
    for matrix in matrices {
      if let site = sites[matrix.index] { try body(site, try MatrixView(x.view, rows: x.rows, columns: x.width)) }
    }
  }
}

/// Where rows enter one matrix or several: what statistics are kept of.
public struct InputSite: Sendable, Hashable {
  /// As in ``EspalierArchitectures/ParameterDescription/inputSite``.
  public let name: String
  /// Numbers in a row.
  public let width: Int
  /// Whether it is an expert's, which sees the rows that are chosen for it.
  public let isExpert: Bool
}

/// Part of a network that runs as one.
public struct NetworkBlock: Sendable {
  /// The tower with the layer's number, `text/3`, or with the part, `text/head`.
  public let name: String
  public let isLayer: Bool
  /// In the order in which rows reach them.
  public let sites: [InputSite]
  /// Bytes of its weights in memory.
  public let weightBytes: Int
}

extension Network {
  /// The parts of the network in the order in which they run.
  ///
  /// - Throws: as ``weightBytes()``.
  public func blocks() throws(Problem) -> [NetworkBlock] {
    var blocks: [NetworkBlock] = []
    for section in plan.sections {
      let matrices = section.requests.filter { $0.form == .matrix }
      var sites: [InputSite] = []
      for (request, site) in zip(matrices, section.sites) {
        guard let site, let parameter = program.description.parameter(named: request.name) else { continue }
        sites.append(
          InputSite(name: site, width: parameter.matrixShape.columns, isExpert: parameter.expert != nil))
      }
      let part =
        switch section.part {
        case .before: "before"
        case .after: "after"
        case .head: "head"
        case .layer(let layer): "\(layer)"
        }
      blocks.append(
        NetworkBlock(
          name: "\(section.tower)/\(part)", isLayer: section.isLayer, sites: sites,
          weightBytes: try store.byteCount(of: section.requests)))
    }
    return blocks
  }
}

extension Plan {
  /// Floats of a row that are held from one section to the next, at most. What the last one makes nobody waits for.
  var carriedWidth: Int {
    var held: Set<Int> = []
    var widest = 0
    for section in sections.dropLast() where !section.isOneMap {
      for step in section.steps {
        for (slot, isLast) in zip(step.inputs, step.isLastUse) where isLast { held.remove(slot) }
        held.formUnion(step.outputs)
      }
      widest = max(widest, held.reduce(0) { $0 + section.floats(in: $1) })
    }
    return widest
  }
}

extension Plan.Section {
  func floats(in slot: Int) -> Int {
    guard layouts.indices.contains(slot), !layouts[slot].holdsIndices else { return 0 }
    return layouts[slot].width ?? 0
  }

  /// Floats of a row in all slots.
  var width: Int { layouts.indices.reduce(0) { $0 + floats(in: $1) } }

  /// A head that does nothing but apply a map: nothing inside it is seen, so it need not run.
  var isOneMap: Bool { part == .head && steps.count == 1 && steps[0].operation is MapOperation }
}
