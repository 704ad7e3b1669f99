internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Reduces the matrices that one site's rows reach, and measures what that costs.
struct SiteReduction {
  struct Result {
    let weight: StoredWeight
    let outcome: MatrixOutcome
  }

  let plan: ReductionPlan
  let pool: WorkerPool
  /// What each matrix loses, where all have one threshold.
  var global: GlobalPruning?

  /// - Parameters:
  ///   - statistics: of the site; nil where nothing was gathered.
  ///   - sample: of some of the rows, with a moment, where `statistics` have none.
  ///   - fold: what the factors of columns may go into.
  ///   - divisors: of matrices that factors went into already, what their rows are divided by.
  /// - Returns: the matrices, and what is divided for them.
  func reduce(
    _ matrices: [NetworkMatrix], _ statistics: SiteStatistics?, sample: SiteStatistics?, _ fold: ColumnFold? = nil,
    _ divisors: [ExactString: [Float]] = [:]
  ) throws(Problem) -> (results: [Result], divided: ColumnFold.Divided?) {
    let began = Machine.monotonicSeconds
    var chosen: [(matrix: NetworkMatrix, weight: Matrix<Float>, budget: MatrixBudget)] = []
    for matrix in matrices {
      guard let budget = global?.part(matrix.name)?.budget ?? plan.request.budget(of: matrix.name) else { continue }
      chosen.append((matrix, try plan.network.weight(of: matrix), budget))
    }
    guard !chosen.isEmpty else { return ([], nil) }
    let seen = Seen(statistics, sample, width: chosen[0].matrix.inputs)
    var divided: ColumnFold.Divided?
    let reduced: [StoredWeight]
    if plan.request.storage == .packed, case .ofMatrices(let method) = plan.treatment,
      let method = method as? any InputScaling
    {
      (reduced, divided) = try scale(chosen.map(\.matrix), chosen.map(\.weight), seen, by: method, fold, divisors)
    } else {
      reduced = try reduce(chosen.map(\.matrix), chosen.map(\.weight), seen, to: chosen.map(\.budget))
    }
    let share = (Machine.monotonicSeconds - began) / Double(chosen.count)
    var results: [Result] = []
    for (entry, result) in zip(chosen, reduced) {
      results.append(
        try self.result(
          result, of: entry.matrix, entry.weight, to: entry.budget, named: global?.part(entry.matrix.name)?.text, seen,
          rows: statistics?.count ?? 0,
          began: Machine.monotonicSeconds - share))
    }
    return (results, divided)
  }

  /// The matrices as codes of their columns times common factors, which go into what is before them; where nothing takes
  /// them, as codes of the matrices as they are. Factors are found for the matrices as the model has them; rows are divided
  /// after that.
  private func scale(
    _ matrices: [NetworkMatrix], _ weights: [Matrix<Float>], _ seen: Seen, by method: any InputScaling,
    _ fold: ColumnFold?, _ divisors: [ExactString: [Float]]
  ) throws(Problem) -> (weights: [StoredWeight], divided: ColumnFold.Divided?) {
    for (matrix, weight) in zip(matrices, weights) { try Self.requireFinite(weight, of: matrix) }
    var divided: ColumnFold.Divided?
    var stored: [StoredWeight] = []
    do throws(Problem) {
      if let fold {
        divided = try fold.divided(
          by: method.inputScales(of: weights, seen.known, sharing: fold.sharing, parallel: parallel))
      }
      let scales = divided?.scales ?? [Float](repeating: 1, count: weights[0].columns)
      for (matrix, weight) in zip(matrices, weights) {
        let own = divisors[ExactString(matrix.name)]
        do throws(Problem) {
          let codes = try method.quantized(
            own.map { weight.divided(rows: $0) } ?? weight, inputScales: scales, seen.known, parallel: parallel)
          stored.append(
            try StoredWeight(
              .quantized(codes), as: matrix.parameter.elementType, .packed, divisors: own, parallel: parallel))
        } catch { throw error.at(tensor: matrix.name) }
      }
    } catch { throw error.at(tensor: Self.name(of: matrices)) }
    return (stored, divided)
  }

  /// What is stored of a matrix with what it costs.
  ///
  /// - Parameters:
  ///   - budget: that the plain method is measured at beside.
  ///   - text: the budget in words, where it has others than its own.
  ///   - began: when the work on it began, on the clock of ``Machine``.
  func result(
    _ stored: StoredWeight, of matrix: NetworkMatrix, _ weight: Matrix<Float>, to budget: MatrixBudget,
    named text: String? = nil, _ seen: Seen, rows: Int, began: Double
  ) throws(Problem) -> Result {
    let error = try error(of: stored, weight, seen)
    let baseline = try baseline(weight, of: matrix, seen.measured, to: budget)
    return Result(
      weight: stored,
      outcome: MatrixOutcome(
        name: matrix.name, parameter: matrix.parameter.name, site: matrix.site, outputs: matrix.outputs,
        inputs: matrix.inputs, budget: text ?? plan.request.words(for: budget, of: matrix.parameter.name), error: error,
        baseline: baseline,
        numbers: stored.numbers, rows: rows, seconds: Machine.monotonicSeconds - began))
  }

  /// What is known of a site's rows.
  struct Seen {
    /// What methods go by. An expert that no row reached is reduced as if all its inputs were alike.
    let known: SiteStatistics?
    /// What errors are measured on.
    let measured: SiteStatistics?

    init(_ statistics: SiteStatistics?, _ sample: SiteStatistics?, width: Int) {
      let isUnseen = statistics.map { $0.count == 0 } ?? false
      known = isUnseen ? .alike(width: width) : statistics
      measured = isUnseen ? nil : sample.flatMap { $0.count > 0 ? $0 : nil } ?? statistics
    }
  }

  /// What a problem with one of a site's matrices is told of.
  private static func name(of matrices: [NetworkMatrix]) -> String {
    matrices.count == 1 ? matrices[0].name : "\(matrices[0].site) (\(matrices.count) matrices)"
  }

  /// The matrices as they will be stored.
  func reduce(
    _ matrices: [NetworkMatrix], _ weights: [Matrix<Float>], _ seen: Seen, to budgets: [MatrixBudget]
  ) throws(Problem) -> [StoredWeight] {
    for (matrix, weight) in zip(matrices, weights) { try Self.requireFinite(weight, of: matrix) }
    if plan.request.storage == .blocks { return try blocks(matrices, weights, seen) }
    guard case .ofMatrices(let method) = plan.treatment else { throw BlockReduction.refusal(plan.request.method) }
    let reduced: [ReducedMatrix]
    do throws(Problem) {
      reduced = try method.reduce(weights, seen.known, to: budgets, parallel: parallel)
    } catch { throw error.at(tensor: Self.name(of: matrices)) }
    var stored: [StoredWeight] = []
    for (matrix, result) in zip(matrices, reduced) {
      guard result.outputShift == nil else {
        throw Problem(
          .reduction, "what was centered needs a bias, which no tensor of the model takes",
          remedy: "Reduce without `center`.", tensor: matrix.name)
      }
      stored.append(
        try StoredWeight(
          result.form, as: matrix.parameter.elementType, plan.request.storage, parallel: parallel))
    }
    return stored
  }

  static func requireFinite(_ weight: Matrix<Float>, of matrix: NetworkMatrix) throws(Problem) {
    guard let place = weight.elements.firstIndex(where: { !$0.isFinite }) else { return }
    throw Problem(
      .nonFiniteMatrix,
      "\(weight.elements[place]) at row \(place / weight.columns), column \(place % weight.columns)",
      remedy: "The model is damaged; leave the matrix out with --keep.", tensor: matrix.name)
  }

  func error(of stored: StoredWeight, _ weight: Matrix<Float>, _ seen: Seen) throws(Problem) -> Certificate {
    try OutputError.certificate(of: stored.dense, original: weight, statistics: seen.measured, parallel: parallel)
  }

  /// The error of what needs no data, at the same budget.
  private func baseline(
    _ weight: Matrix<Float>, of matrix: NetworkMatrix, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) -> Double? {
    if plan.request.storage == .blocks {
      return plan.request.measuresBaseline ? try plainBlocksError(weight, of: matrix, statistics) : nil
    }
    if plan.request.makesCodes {
      guard plan.request.measuresBaseline,
        let rounding = try CodeForm(plan.request)?.plainRounding(beside: plan.request.method)
      else { return nil }
      return try rounding.reduce(weight, statistics, to: budget, parallel: parallel).certificate.error
    }
    let plain: any ReductionMethod.Type = plan.request.makesFactors ? PlainSVD.self : MagnitudePruning.self
    guard plan.request.measuresBaseline, plain.card.name != plan.request.method else { return nil }
    let method = try plain.init(ReductionParameters([:], for: plain.card))
    return try method.reduce(weight, statistics, to: budget, parallel: parallel).certificate.error
  }

  func parallel(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    try pool.forEach(count, body)
  }
}

extension SiteStatistics {
  /// Of inputs that are all alike and know nothing of each other: methods do then what they do without data.
  fileprivate static func alike(width: Int) -> SiteStatistics {
    var statistics = SiteStatistics(width: width)
    statistics.count = 1
    statistics.squareSums = [Double](repeating: 1, count: width)
    statistics.absoluteSums = statistics.squareSums
    var identity = [Double](repeating: 0, count: width * width)
    for column in 0..<width { identity[column * width + column] = 1 }
    if let moment = try? Matrix(rows: width, columns: width, elements: identity) { statistics.moment = .full(moment) }
    return statistics
  }
}
