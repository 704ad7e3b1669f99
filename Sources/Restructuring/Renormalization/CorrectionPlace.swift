internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks

/// Where a site's correction can be put so that the network computes with `s x + t` in place of x.
///
///     W (s x + t) + b  =  (W diag(s)) x + (b + W t)          the maps that read the site
///     s (n w + b) + t  =  n (s w) + (s b + t)                a norm that makes it for them alone
struct CorrectionPlace {
  /// A matrix that reads the site, and its bias.
  struct Map {
    let weight: Parameter
    /// Dimension of the matrix along which the site's channels lie.
    let inputs: Int
    let bias: Parameter?
  }

  let site: String
  let maps: [Map]
  /// Nil where the columns of the maps are scaled instead.
  let norm: (weight: Parameter, added: Double, bias: Parameter?)?

  /// Whether shifts have a place: the norm's bias, or one of every map.
  var canShift: Bool { norm?.bias != nil || maps.allSatisfy { $0.bias != nil } }

  /// The places of a block's sites; of sites whose scale has none, nothing.
  static func all(
    ofBlock index: Int, of network: Network, _ checkpoint: any Checkpoint, _ description: ModelDescription
  ) throws(Problem) -> [CorrectionPlace] {
    let stored = storedParameters(of: checkpoint, description)
    let (readers, sources) = (try network.readers(ofBlock: index), try network.sources(ofBlock: index))
    var seen = Set<String>()
    var found: [CorrectionPlace] = []
    for site in readers.map(\.site) where seen.insert(site).inserted {
      let own = readers.filter { $0.site == site }
      let maps = own.compactMap { reader -> Map? in
        guard let weight = stored[reader.weight], weight.shape.count == 2,
          let described = description.parameter(named: reader.weight),
          let inputs = described.dimensions.indices.first(where: { UnitGroup.isInput($0, of: described) }),
          reader.bias == nil || reader.bias.flatMap({ stored[$0] }) != nil
        else { return nil }
        return Map(weight: weight, inputs: inputs, bias: reader.bias.flatMap { stored[$0] })
      }
      // A map that is not understood would read what the others do not.
      let all = description.parameters.filter { $0.inputSite == site && stored[$0.name] != nil && $0.shape.count > 1 }
      guard maps.count == own.count, all.allSatisfy({ map in own.contains { $0.weight == map.name } }) else { continue }
      var norm: (weight: Parameter, added: Double, bias: Parameter?)?
      if case .norm(let weight, let added, let bias)? = sources.first(where: { $0.site == site })?.maker {
        norm = (weight, Double(added), bias)
      }
      guard norm != nil || !own.contains(where: \.isShared) else { continue }
      found.append(CorrectionPlace(site: site, maps: maps, norm: norm))
    }
    return found
  }

  private static func storedParameters(
    of checkpoint: any Checkpoint, _ description: ModelDescription
  ) -> [String: Parameter] {
    let byName = checkpoint.parametersByName()
    return description.fit(names: checkpoint.parameters.map(\.name)).described.reduce(into: [:]) { found, entry in
      found[entry.parameter.name] = byName[ExactString(entry.name)]
    }
  }

  /// Of a correction the part that the maps take, so that it does not show in what reaches them.
  func unseen(of correction: ChannelCorrection) -> ChannelCorrection {
    var part = correction
    if norm != nil { part.scales = part.scales.map { _ in 1 } }
    if norm?.bias != nil { part.shifts = part.shifts.map { _ in 0 } }
    return part
  }

  /// New values of the parameters that a correction changes.
  func values(
    after correction: ChannelCorrection, files: FilePool
  ) throws(Problem) -> [(parameter: Parameter, values: [Float])] {
    var changed: [(parameter: Parameter, values: [Float])] = []
    if let norm {
      let weights = try norm.weight.values(files: files)
      changed.append(
        (
          norm.weight,
          zip(weights, correction.scales).map { Float((Double($0) + norm.added) * $1 - norm.added) }
        ))
      if let bias = norm.bias {
        let biases = try bias.values(files: files)
        changed.append(
          (bias, biases.indices.map { Float(Double(biases[$0]) * correction.scales[$0] + correction.shifts[$0]) }))
        return changed
      }
    }
    for map in maps {
      var weights = try map.weight.values(files: files)
      if let bias = map.bias, correction.shiftsAnything {
        var sums = try bias.values(files: files).map { Double($0) }
        map.forEachElement { place, output, input in sums[output] += Double(weights[place]) * correction.shifts[input] }
        changed.append((bias, sums.map { Float($0) }))
      }
      guard norm == nil, correction.scales.contains(where: { $0 != 1 }) else { continue }
      map.forEachElement { place, _, input in
        weights[place] = Float(Double(weights[place]) * correction.scales[input])
      }
      changed.append((map.weight, weights))
    }
    return changed
  }
}

extension CorrectionPlace.Map {
  fileprivate func forEachElement(_ body: (_ place: Int, _ output: Int, _ input: Int) -> Void) {
    let (rows, columns) = (weight.shape[0], weight.shape[1])
    for row in 0..<rows {
      for column in 0..<columns {
        body(row * columns + column, inputs == 1 ? row : column, inputs == 1 ? column : row)
      }
    }
  }
}
