internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics

/// Brings the outputs of maps that lost inputs near to those of the original, map after map, on what reaches each in the
/// model as it is by then.
///
/// Of a map that is W on x in the original and W₁ on x̃ in the changed model, on the same tokens, with C = Σ x x̃ᵀ and
/// H̃ = Σ x̃ x̃ᵀ:
///
///     W' = W₁ + (W C - W₁ H̃)(H̃ + λ I)⁻¹,   λ = damp mean(diag H̃)
///
/// minimizes Σ‖W x - W' x̃‖² + λ ‖W' - W₁‖². What comes later sees what became of what comes before. Experts are left out:
/// the router sends them other tokens than it did, whose rows have no partners.
///
/// Cost: two runs of every block for each such map in it; memory of the rows that reach one map, of both models.
struct SequentialRepair {
  let damp: Double

  /// - Parameters:
  ///   - result: with the maps of `changed`, repaired or not.
  ///   - changed: as many layers as the original has.
  func repaired(
    _ result: Restructured, from changed: RestructuredCheckpoint, of subject: any StructuralSubject
  ) throws(Problem) -> Restructured {
    let listed = RepairableMap.all(of: changed).maps
    let maps = listed.filter { !$0.isExpert }
    let files = FilePool()
    var replacements: [Parameter] = []
    var steps = result.steps
    for expert in listed where expert.isExpert {
      steps.append(.init("\(expert.name) stays as it is: the router sends it other tokens than it did"))
    }
    guard !maps.isEmpty else { return Restructured(result.checkpoint, steps: steps) }
    var current = result.checkpoint
    let original = try BlockRun(subject.network, sequences: subject.sequences)
    let network = try subject.network(of: current)
    let run = try BlockRun(network, sequences: subject.sequences)
    var latest = network
    for block in try network.blocks() {
      var seen = Set<String>()
      for site in block.sites where seen.insert(site.name).inserted {
        let read = maps.filter { $0.site == site.name }
        guard !read.isEmpty else { continue }
        let rows = try moments(of: site, block, original, run, latest, subject)
        for listing in read {
          let (name, map) = (listing.name, try listing.read(files))
          guard let known = current.parameters.first(where: { $0.name == name }) else { continue }
          let now = try map.canonical(try known.values(files: files))
          guard let found = try solve(map.whole, now, rows, parallel: subject.workers.forEach) else { continue }
          replacements.append(try subject.store(map.parameter, values: map.stored(found.weight)))
          steps.append(
            .init(
              "\(name) on what reaches it now",
              figures: [("error before", found.before), ("error after", found.after)]))
          subject.progress(steps[steps.count - 1].text)
        }
        current = OverlaidCheckpoint(result.checkpoint, replacing: replacements)
        latest = try subject.network(of: current)
      }
      _ = try original.runBlock(observe: nil)
      _ = try run.runBlock(weightsOf: latest, observe: nil)
    }
    return Restructured(current, steps: steps)
  }

  /// Sums over rows of x xᵀ, x x̃ᵀ and x̃ x̃ᵀ.
  struct Moments {
    var before: Matrix<Double>
    var cross: Matrix<Double>
    var after: Matrix<Double>
  }

  private func moments(
    of site: InputSite, _ block: NetworkBlock, _ original: BlockRun, _ run: BlockRun, _ latest: Network,
    _ subject: any StructuralSubject
  ) throws(Problem) -> Moments {
    var (x, y) = (SiteRows(), SiteRows())
    try original.showBlock(sites: [site.name]) { (name, rows) in
      if name == site.name { x.add(rows, of: name, once: block) }
    }
    _ = try run.runBlock(repeats: true, weightsOf: latest) { (name, rows) in
      if name == site.name { y.add(rows, of: name, once: block) }
    }
    let (before, after) = (try x.matrix(), try y.matrix())
    func product(_ a: Matrix<Double>, _ b: Matrix<Double>) throws(Problem) -> Matrix<Double> {
      try MatrixProduct.product(a, b, transposingFirst: true, parallel: subject.workers.forEach)
    }
    return Moments(
      before: try product(before, before), cross: try product(before, after), after: try product(after, after))
  }

  /// - Returns: W', and the roots of the relative squared errors of W₁ and W'; nil where nothing ever reaches the map.
  func solve(
    _ whole: Matrix<Double>, _ now: Matrix<Double>, _ rows: Moments,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> (weight: Matrix<Double>, before: Double, after: Double)? {
    guard let inverse = try LeastSquaresRepair.dampedInverse(rows.after, damp, parallel) else { return nil }
    let target = try MatrixProduct.product(whole, rows.cross, parallel: parallel)
    var missing = try MatrixProduct.product(now, rows.after, parallel: parallel)
    for index in missing.elements.indices { missing.elements[index] = target.elements[index] - missing.elements[index] }
    var weight = try MatrixProduct.product(missing, inverse, parallel: parallel)
    for index in weight.elements.indices { weight.elements[index] += now.elements[index] }

    let all = try Self.inner(MatrixProduct.product(whole, rows.before, parallel: parallel), whole)
    // Σ‖W x - V x̃‖² = trace(W B Wᵀ) - 2 trace(W C Vᵀ) + trace(V H̃ Vᵀ)
    func relative(_ weight: Matrix<Double>) throws(Problem) -> Double {
      let own = try Self.inner(MatrixProduct.product(weight, rows.after, parallel: parallel), weight)
      return all > 0 ? (max(0, all - 2 * Self.inner(target, weight) + own) / all).squareRoot() : 0
    }
    return (weight, try relative(now), try relative(weight))
  }

  private static func inner(_ a: Matrix<Double>, _ b: Matrix<Double>) -> Double {
    zip(a.elements, b.elements).reduce(0) { $0 + $1.0 * $1.1 }
  }
}

extension SiteRows {
  func matrix() throws(Problem) -> Matrix<Double> {
    try Matrix(rows: count, columns: width, elements: values.map(Double.init))
  }
}
