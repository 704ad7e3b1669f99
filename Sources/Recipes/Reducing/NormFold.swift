internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// A norm that is divided by the factors of the columns of the matrices behind it, so that the model stays the same.
///
/// ```
/// W diag(s) (diag(s)⁻¹ (n(x) w + b)) = W (n(x) w + b)
/// ```
struct NormFold: Sendable {
  let norm: NormOfSite

  var parameters: [Parameter] { [norm.weight] + (norm.bias.map { [$0] } ?? []) }

  /// A norm as it will be stored.
  struct Divided {
    /// The factors of the columns.
    let scales: [Float]
    /// Of ``NormFold/parameters``.
    let parts: [ReducedEncoding.Part]
  }

  /// The norm divided by factors, and the factors that this comes to: its weight is rounded to its own type first, and
  /// s = w / w' is what the columns are multiplied by. So nothing is lost with the weight; a bias is rounded.
  ///
  /// Where w or w' is no number to divide by, s is 1 and w stays.
  func divided(by wanted: [Float]) throws(Problem) -> Divided {
    let type = norm.weight.elementType
    let weights = try norm.weight.allElements()
    let quotients = zip(weights, wanted).map { $0 / $1 }
    let rounded = try Matrix(rows: 1, columns: quotients.count, elements: quotients).rounded(to: type).elements
    var (scales, kept) = (wanted, rounded)
    for index in weights.indices {
      let scale = weights[index] / rounded[index]
      let isUsable = scale.isFinite && scale > 0 && rounded[index].isNormal
      scales[index] = isUsable ? scale : 1
      if !isUsable { kept[index] = weights[index] }
    }
    var parts = [Self.part(norm.weight, kept)]
    if let bias = norm.bias { parts.append(Self.part(bias, zip(try bias.allElements(), scales).map { $0 / $1 })) }
    return Divided(scales: scales, parts: parts)
  }

  private static func part(_ parameter: Parameter, _ values: [Float]) -> ReducedEncoding.Part {
    ReducedEncoding.Part(
      name: parameter.name, elementType: parameter.elementType, shape: parameter.shape,
      bytes: parameter.elementType.encoded(values))
  }
}

extension ReductionPlan {
  /// Of methods that scale columns, where codes are packed: sites whose factors a norm takes, and all others.
  var scaledSites: (folded: [String], left: [String])? {
    guard request.storage == .packed, case .ofMatrices(let method) = treatment, method is any InputScaling else {
      return nil
    }
    let folded = blocks.flatMap(\.folds).map(\.norm.site)
    let all = blocks.flatMap(\.matrices).map { ExactString($0.site) }.uniqued()
    let known = Set(folded.map { ExactString($0) })
    return (folded, all.filter { !known.contains($0) }.map { "\($0)" })
  }

  /// The norms of a block that may be divided: all matrices behind them are quantized.
  static func folds(
    of network: Network, block index: Int, _ targets: [ReductionTarget]
  ) throws(Problem) -> [NormFold] {
    let taken = Set(targets.flatMap(\.matrices).map { ExactString($0.name) })
    return try network.norms(ofBlock: index).filter { norm in
      norm.readers.allSatisfy { taken.contains(ExactString($0)) }
    }.map { NormFold(norm: $0) }
  }
}
