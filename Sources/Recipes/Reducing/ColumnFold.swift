internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// What makes the rows of a site, divided by the factors of the columns of the matrices behind it, so that the model stays
/// the same.
///
/// ```
/// W diag(s) (diag(s)⁻¹ (n(x) w + b)) = W (n(x) w + b)            a norm
/// W diag(s) (a (diag(s)⁻¹ (V y + b))) = W (a (V y + b))           values V before attention, which takes their means
/// W diag(s) (f(g) * diag(s)⁻¹ (U y + b)) = W (f(g) * (U y + b))   a gated feed-forward; relu(U y + b) likewise
/// ```
struct ColumnFold: Sendable {
  let source: SiteSource

  var site: String { source.site }

  /// Parameters that change beside matrices: a norm's weight and bias, a matrix's bias.
  var parameters: [Parameter] {
    switch source.maker {
    case .norm(let weight, _, let bias): [weight] + (bias.map { [$0] } ?? [])
    case .matrix(_, _, let bias, _): bias.map { [$0] } ?? []
    }
  }

  /// The name of what is divided.
  var target: String {
    switch source.maker {
    case .norm(let weight, _, _): weight.name
    case .matrix(let name, _, _, _): name
    }
  }

  /// Columns of one number have one factor, as query heads have that share values; nil where each has its own.
  var sharing: [Int]? {
    guard case .matrix(_, _, _, let rows) = source.maker, Set(rows).count < rows.count else { return nil }
    return rows
  }

  /// What comes of a division.
  struct Divided {
    /// The factors of the columns.
    var scales: [Float]
    /// Of ``ColumnFold/parameters``, as they will be stored.
    var parts: [ReducedEncoding.Part] = []
    /// Of the matrix that is divided: by what, row by row.
    var divisors: [Float]?
  }

  /// The parameters divided by factors, and the factors that this comes to: numbers are rounded to their own type first,
  /// and s = w / w' is what the columns are multiplied by. So nothing is lost with a norm's weight or a matrix's bias; the
  /// bias of a norm is rounded. A matrix is divided in float32, before it is rounded to codes.
  ///
  /// Where w or w' is no number to divide by, or a norm's bias would be beyond its type, s is 1 and w stays.
  ///
  /// - Parameter wanted: one a column, those that ``sharing`` joins alike.
  func divided(by wanted: [Float]) throws(Problem) -> Divided {
    switch source.maker {
    case .norm(let weight, let added, let bias):
      let (kept, scales) = try Self.quotients(of: weight, adding: added, by: wanted)
      guard let bias else { return Divided(scales: scales, parts: [Self.part(weight, kept)]) }
      let quotients = try Self.rounded(zip(try bias.allElements(), scales).map { $0 / $1 }, to: bias)
      // Where the bias would be beyond its type nothing is divided.
      let possible = zip(wanted, quotients).map { $1.isFinite ? $0 : 1 }
      guard possible == wanted else { return try divided(by: possible) }
      return Divided(scales: scales, parts: [Self.part(weight, kept), Self.part(bias, quotients)])
    case .matrix(_, let outputs, let bias, let rows):
      var divisors = [Float](repeating: 1, count: outputs)
      for (row, scale) in zip(rows, wanted) where scale.isNormal && scale > 0 { divisors[row] = scale }
      var parts: [ReducedEncoding.Part] = []
      if let bias {
        let (kept, scales) = try Self.quotients(of: bias, adding: 0, by: divisors, isZeroFree: true)
        divisors = scales
        parts.append(Self.part(bias, kept))
      }
      return Divided(scales: rows.map { divisors[$0] }, parts: parts, divisors: divisors)
    }
  }

  /// What of a vector is stored when w + added was divided, and by what it was divided then.
  ///
  /// - Parameter isZeroFree: whether what is 0 may be divided by anything.
  private static func quotients(
    of parameter: Parameter, adding added: Float, by wanted: [Float], isZeroFree: Bool = false
  ) throws(Problem) -> (kept: [Float], scales: [Float]) {
    let values = try parameter.allElements()
    var kept = try rounded(zip(values, wanted).map { ($0 + added) / $1 - added }, to: parameter)
    var scales = wanted
    for index in values.indices {
      if wanted[index] == 1 {
        kept[index] = values[index]
        continue
      }
      let (before, after) = (values[index] + added, kept[index] + added)
      if isZeroFree, before == 0 { continue }
      let scale = before / after
      let isUsable = scale.isNormal && scale > 0 && after.isNormal
      scales[index] = isUsable ? scale : 1
      if !isUsable { kept[index] = values[index] }
    }
    return (kept, scales)
  }

  /// Numbers in a parameter's type.
  private static func rounded(_ values: [Float], to parameter: Parameter) throws(Problem) -> [Float] {
    try Matrix(rows: 1, columns: values.count, elements: values).rounded(to: parameter.elementType).elements
  }

  private static func part(_ parameter: Parameter, _ values: [Float]) -> ReducedEncoding.Part {
    ReducedEncoding.Part(
      name: parameter.name, elementType: parameter.elementType, shape: parameter.shape,
      bytes: parameter.elementType.encoded(values))
  }
}

extension Matrix<Float> {
  /// diag(s)⁻¹ W, rounded to float32.
  func divided(rows divisors: [Float]) -> Matrix<Float> { mapRows(divisors) { $0 / $1 } }

  /// diag(s) W, rounded to float32.
  func multiplied(rows factors: [Float]) -> Matrix<Float> { mapRows(factors) { $0 * $1 } }

  private func mapRows(_ values: [Float], _ body: (Float, Float) -> Float) -> Matrix<Float> {
    var result = self
    let columns = columns
    result.elements.withUnsafeMutableBufferPointer { elements in
      for (row, value) in values.enumerated() where value != 1 {
        for place in row * columns..<(row + 1) * columns { elements[place] = body(elements[place], value) }
      }
    }
    return result
  }
}

/// Sites at which a method scales columns, and what is divided for it.
struct ScaledSites: Sendable {
  let folded: [(site: String, target: String, isNorm: Bool)]
  /// Those where nothing can be divided: their columns stay as they are.
  let left: [String]

  /// For people: how many sites by what.
  var counts: String {
    let norms = folded.count(where: \.isNorm)
    return "\(norms) by the norm before, \(folded.count - norms) by the matrix before"
  }
}

extension ReductionPlan {
  /// Nil for a method that scales none, and where codes are not packed.
  var scaledSites: ScaledSites? {
    guard request.storage == .packed, case .ofMatrices(let method) = treatment, method is any InputScaling else {
      return nil
    }
    let folds = blocks.flatMap(\.folds)
    let known = Set(folds.map { ExactString($0.site) })
    let all = blocks.flatMap(\.matrices).map { ExactString($0.site) }.uniqued()
    return ScaledSites(
      folded: folds.map { fold in
        if case .norm = fold.source.maker { return (fold.site, fold.target, true) }
        return (fold.site, fold.target, false)
      }, left: all.filter { !known.contains($0) }.map { "\($0)" })
  }

  /// What may be divided in a block: all matrices behind it are quantized, and it is a norm or quantized too.
  static func folds(
    of network: Network, block index: Int, _ targets: [ReductionTarget]
  ) throws(Problem) -> [ColumnFold] {
    let taken = Set(targets.flatMap(\.matrices).map { ExactString($0.name) })
    return try network.sources(ofBlock: index).filter { source in
      if case .matrix(let name, _, _, _) = source.maker, !taken.contains(ExactString(name)) { return false }
      return source.readers.allSatisfy { taken.contains(ExactString($0)) }
    }.map { ColumnFold(source: $0) }
  }
}
