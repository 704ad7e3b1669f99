internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// The experts of one layer, stored one by one or stacked.
struct ExpertLayer {
  let axis: Axis
  let tower: String
  let layer: Int?
  /// `[experts, inputs]`, one row an expert; nil where it is not stored.
  let router: Parameter?
  /// The weights of every expert, in the same order for all.
  let weights: [[StorageRecipe]]
  /// Where rows enter each of them.
  let sites: [String?]

  var count: Int { axis.size }

  /// - Throws: `restructuring` for units that are no experts.
  init(_ group: UnitGroup, in subject: any StructuralModel) throws(Problem) {
    guard group.axis.name == "experts" || group.axis.name.hasSuffix(".experts") else {
      throw Problem(.restructuring, "`\(group.axis.instance)` are no experts")
    }
    (axis, tower, layer) = (group.axis, group.tower, group.layer)
    router = group.members.first { $0.parameter.role.part == .router && !$0.parameter.role.isBias }?.stored
    let byName = subject.checkpoint.parametersByName()
    var weights: [[StorageRecipe]] = Array(repeating: [], count: group.axis.size)
    var sites = [String?](repeating: nil, count: group.axis.size)
    for parameter in subject.description.parameters where parameter.tower == tower && parameter.layer == layer {
      guard let expert = parameter.expert, weights.indices.contains(expert) else { continue }
      if sites[expert] == nil { sites[expert] = parameter.inputSite }
      if let stored = parameter.names.lazy.compactMap({ byName[ExactString($0)] }).first {
        weights[expert].append(stored.recipe)
      }
    }
    for member in group.members where member.parameter.role.part != .router {
      for expert in weights.indices {
        let entries: [[Int]?] = member.stored.shape.indices.map { $0 == member.dimension ? [expert] : nil }
        let selection = try EntrySelection(of: member.stored.shape, entries: entries)
        weights[expert].append(.selected(member.stored.recipe, selection))
      }
    }
    (self.weights, self.sites) = (weights, sites)
  }

  /// The experts of every layer that has any.
  ///
  /// - Throws: `restructuring` if none has.
  static func all(of subject: any StructuralModel) throws(Problem) -> [(group: UnitGroup, experts: ExpertLayer)] {
    var found: [(group: UnitGroup, experts: ExpertLayer)] = []
    for group in UnitGroup.all(of: subject.description, in: subject.checkpoint)
    where group.axis.name == "experts" || group.axis.name.hasSuffix(".experts") {
      found.append((group, try ExpertLayer(group, in: subject)))
    }
    guard !found.isEmpty else {
      throw Problem(.restructuring, "a \(subject.family.name) has no experts")
    }
    return found
  }

  /// Rows that each expert saw, by statistics.
  func uses(in subject: any StructuralSubject) throws(Problem) -> [Double] {
    var uses: [Double] = []
    for site in sites {
      guard let site else {
        throw Problem(.restructuring, "nothing is known to enter experts of `\(axis.instance)`")
      }
      uses.append(Double(try subject.statistics(ofSite: site).count))
    }
    return uses
  }

  /// Inner products of all weights of each pair of experts, in float64.
  func products(files: FilePool) throws(Problem) -> [[Double]] {
    var products = Array(repeating: [Double](repeating: 0, count: count), count: count)
    for place in weights.first?.indices ?? 0..<0 {
      var readers: [any ParameterReader] = []
      for expert in weights { readers.append(try expert[place].reader(files: files)) }
      let size = readers[0].elementCount
      // A part of every expert at a time.
      for start in stride(from: 0, to: size, by: 1 << 18) {
        let range = start..<min(size, start + 1 << 18)
        var values: [[Float]] = []
        for reader in readers { values.append(try reader.values(in: range)) }
        for a in 0..<count {
          for b in 0...a {
            var sum = 0.0
            for (x, y) in zip(values[a], values[b]) { sum += Double(x) * Double(y) }
            products[a][b] += sum
            if a != b { products[b][a] += sum }
          }
        }
      }
    }
    return products
  }
}

extension ParameterReader {
  fileprivate func values(in range: Range<Int>) throws(Problem) -> [Float] {
    let scratch = try AlignedBuffer(byteCount: max(64, scratchBytes(for: range.count)))
    var values = [Float](repeating: 0, count: range.count)
    let result: Result<Void, Problem> = values.withUnsafeMutableBufferPointer { buffer in
      Result { () throws(Problem) in
        guard let start = buffer.baseAddress, !range.isEmpty else { return }
        try read(range, into: start, scratch: scratch.address)
      }
    }
    try result.get()
    return values
  }
}
