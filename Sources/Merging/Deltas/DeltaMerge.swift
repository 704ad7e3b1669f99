internal import CKernels
internal import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Task arithmetic (Ilharco et al. 2023) and all its descendants: rows of (sparsification, consensus, defaults).
///
/// ```
/// d_i = x_i - b
/// d_i <- r_i S(d_i)                     S keeps a share of the elements, r_i makes up for the rest
/// mix = sum_i m_i w_i d_i               m_i: 1, or with consensus whether w_i d_i has the elected sign
/// mix <- mix / sum_i m_i w_i            if normalize; an elected element whose divisor is 0 stays as it is
/// out = b + lambda mix
/// ```
/// The sign is elected after weighting: that of `sum_i w_i d_i`, 0 counting as positive; zeros never agree.
protocol DeltaMethod: MergeMethod {
  static var sparsification: Sparsification { get }
  static var elects: Bool { get }
  init(core: DeltaMerge)
  var core: DeltaMerge { get }
}

extension DeltaMethod {
  public static var inputs: MergeInputRule { MergeInputRule(base: .required, count: 1...Int.max) }

  public init(_ parameters: MergeParameters) throws(Problem) {
    self.init(core: try DeltaMerge(parameters, sparsification: Self.sparsification, elects: Self.elects))
  }

  public func layouts(shape: [Int]) -> [Tiling.Blocks] { [core.layout(shape)] }
  public var scratchCount: Int { core.scratchCount }
  public var passCount: Int { core.passCount }
  public func residentBytes(shape: [Int], inputs: Int) -> Int { core.residentBytes(shape: shape) }
  public func merge(_ passes: MergePasses) throws(Problem) { try core.merge(passes) }
}

struct DeltaMerge: Sendable {
  private let sparsification: Sparsification
  private let elects: Bool
  private let weights: [Double]
  private let settings: [SparsifierSettings]
  private let normalizes: Bool
  private let lambda: Double
  /// What the mix is divided by where no sign is elected.
  private let divisor: Double
  private let rescaling: Rescaling

  init(_ parameters: MergeParameters, sparsification: Sparsification, elects: Bool) throws(Problem) {
    self.sparsification = sparsification
    self.elects = elects
    weights = try parameters.numbers("weight")
    normalizes = try parameters.flag("normalize")
    lambda = try parameters.number("lambda")
    divisor = normalizes && !elects ? try requiredSum(of: weights, name: "weight") : 1
    var settings = try parameters.numbers("density").map { SparsifierSettings(density: $0) }
    if case .magnitudeWithoutOutliers = sparsification {
      for (index, gamma) in try parameters.numbers("gamma").enumerated() { settings[index].gamma = gamma }
    }
    if case .randomByRank = sparsification {
      for (index, epsilon) in try parameters.numbers("epsilon").enumerated() {
        try Self.requireProbabilities(density: settings[index].density, epsilon: epsilon)
        settings[index].epsilon = epsilon
      }
    }
    if case .random = sparsification {
      for (index, divisor) in parameters.optionalNumbers("q").enumerated() {
        if let divisor, divisor <= 0 { throw Problem(.parameterRange, "q is \(divisor) but must be above 0") }
        settings[index].divisor = divisor
      }
    }
    self.settings = settings
    rescaling =
      switch parameters.value("rescale") {
      case .flag(true), .word("l1"): .absoluteSum
      case .word("inverse_density"): .inverseDensity
      default: .none
      }
  }

  private static func requireProbabilities(density: Double, epsilon: Double) throws(Problem) {
    guard density > 0, density < 1 else { return }
    guard density - epsilon > 0, density + epsilon < 1 else {
      throw Problem(
        .parameterRange,
        "density \(density) and epsilon \(epsilon) give probabilities from \(density - epsilon) to \(density + epsilon)",
        remedy: "density - epsilon must be above 0 and density + epsilon below 1.")
    }
  }

  // MARK: - Plan

  var sparsifies: Bool {
    if case .none = sparsification { return false }
    return settings.contains { !$0.keepsAll }
  }

  private var measuresSums: Bool {
    sparsifies && rescaling == .absoluteSum && settings.contains { $0.divisor == nil }
  }

  var passCount: Int {
    guard sparsifies else { return 1 }
    let selection =
      switch sparsification {
      case .magnitude, .magnitudeWithoutOutliers: 1
      default: 0
      }
    return 1 + selection + (measuresSums ? 1 : 0)
  }

  var scratchCount: Int { sparsifies ? Sparsifier.scratchCount(sparsification) : 0 }

  /// DELLA ranks within rows; everything else sees the tensor flat.
  func layout(_ shape: [Int]) -> Tiling.Blocks {
    guard sparsifies, case .randomByRank = sparsification else { return .flat }
    let length = shape.count > 1 ? shape.dropFirst().reduce(1, *) : shape.reduce(1, *)
    return .rows(length: length)
  }

  func residentBytes(shape: [Int]) -> Int {
    let count = shape.reduce(1, *)
    let tiling = Tiling(elementCount: count, blocks: layout(shape))
    let masks = KeptMasks.bytes(models: settings.count, tiling: tiling)
    let sums = measuresSums ? 2 * settings.count * tiling.blockCount * 8 * 2 + masks : 0
    let cut = settings.filter { !$0.keepsAll }.count
    return switch sparsification {
    case .magnitude: max(sums, RankSelector.memoryBound(count: count, requests: cut))
    case .magnitudeWithoutOutliers: max(sums, RankSelector.memoryBound(count: count, requests: 2 * cut))
    default: sums
    }
  }

  // MARK: - Merge

  func merge(_ passes: MergePasses) throws(Problem) {
    let tensor = passes.tensor
    guard sparsifies else {
      try write(tensor, factors: weights, sparsify: nil)
      return
    }
    let sparsifier = try Sparsifier(sparsification, settings: settings, rescaling: rescaling, passes: passes)
    let masks =
      measuresSums ? KeptMasks(models: settings.count, tiling: tensor.tiling(layout(tensor.shape))) : nil
    var scales = try self.scales(tensor, sparsifier, masks)
    for (index, model) in settings.enumerated() where !model.keepsAll {
      if let divisor = model.divisor { scales[index] = 1 / divisor }
    }
    try write(tensor, factors: zip(weights, scales).map { $0 * $1 }) { block in
      if let masks { masks.apply(to: block) } else { sparsifier.apply(to: block) }
    }
  }

  /// r_i of the formula.
  ///
  /// - Parameter masks: receive what the pass keeps, if it makes one.
  private func scales(
    _ tensor: TensorPasses, _ sparsifier: Sparsifier, _ masks: KeptMasks?
  ) throws(Problem) -> [Double] {
    switch rescaling {
    case .none: return settings.map { _ in 1 }
    case .absoluteSum where !measuresSums: return settings.map { _ in 1 }
    case .inverseDensity:
      // DELLA divides each element by its own probability while it is sparsified.
      if case .randomByRank = sparsification { return settings.map { _ in 1 } }
      return settings.map { $0.density > 0 ? 1 / min(1, $0.density) : 1 }
    case .absoluteSum:
      let models = settings.count
      let sums = try tensor.sums(2 * models, over: layout(tensor.shape)) { block, sums in
        block.subtractBase()
        for model in 0..<models { sums[model] = es_abs_sum(block.inputs[model + 1], Int64(block.count)) }
        sparsifier.apply(to: block)
        masks?.store(block)
        for model in 0..<models { sums[models + model] = es_abs_sum(block.inputs[model + 1], Int64(block.count)) }
      }
      return (0..<models).map { model in
        let (before, after) = (sums[model], sums[models + model])
        return before < 1e-7 || after < 1e-7 ? 1 : before / after
      }
    }
  }

  /// - Parameters:
  ///   - factors: weight times rescaling of every model.
  ///   - sparsify: drops elements of a block whose base has been subtracted; nil drops none.
  private func write(
    _ tensor: TensorPasses, factors: [Double], sparsify: ((Block) -> Void)?
  ) throws(Problem) {
    if elects {
      try writeElected(tensor, factors: factors, sparsify: sparsify)
      return
    }
    let scale = lambda / divisor
    let coefficients = factors.map { $0 * scale }
    try tensor.write(layout(tensor.shape)) { block in
      guard let sparsify else {
        block.addDeltas(coefficients)
        return
      }
      block.subtractBase()
      sparsify(block)
      block.combine([1] + coefficients)
    }
  }

  private func writeElected(
    _ tensor: TensorPasses, factors: [Double], sparsify: ((Block) -> Void)?
  ) throws(Problem) {
    let shares = factors.map { Float($0) }
    let divisors = weights.map { Float($0) }
    try tensor.write(layout(tensor.shape)) { block in
      block.subtractBase()
      sparsify?(block)
      block.withReadableInputs(from: 1) {
        es_elect_sign_and_add(
          block.inputs[0], $0, shares, divisors, Int64(shares.count), Float(lambda), normalizes ? 1 : 0,
          block.output, Int64(block.count))
      }
    }
  }
}

// MARK: - Parameters that the family shares

enum DeltaCards {
  static let weight = ParameterCard(
    "weight", .number(.anyNumber), scope: .nonBase, "Weight of the model's change; a negative one takes it away.")
  static let lambda = ParameterCard("lambda", .number(.anyNumber), default: .number(1), "Factor for the mixed change.")
  static let int8Mask = ParameterCard(
    "int8_mask", .flag, default: .flag(false), "Accepted for mergekit's recipes; has no effect here.")

  static let gamma = ParameterCard(
    "gamma", .number(0...1), scope: .nonBase, default: .number(0.01), "Share of largest changes that is dropped.")
  static let epsilon = ParameterCard(
    "epsilon", .number(0...1), scope: .nonBase, default: .number(0.15),
    "Half the spread of the keep probabilities around the density.")

  static let q = ParameterCard(
    "q", .number(0...Double.greatestFiniteMagnitude), scope: .nonBase, isOptional: true,
    "What the kept elements are divided by, above 0; takes the place of rescale (DAREx-q).")
  static let dareNotes =
    "With q the method is DAREx-q (deng2024darex): at low densities a q between the density and 1 keeps the change from being blown up. Its authors search q, for the whole model or layer by layer, for the score on validation data, or without labels for the smallest change of the last layer's output; here it is given, as a number, a gradient over the layers or by filter. The paper divides by the keep probability (rescale: inverse_density); rescale: true is mergekit's rule, equal to it in expectation only approximately. Choices are keyed by seed, tensor, model and element."
  static let breadcrumbsNotes =
    "If density + gamma exceeds 1, fewer outliers are dropped, so that the density is kept, as in mergekit. Among equal magnitudes the first by index count as smaller."
  static let dellaNotes =
    "Rows are those of the tensor with its first dimension as rows; a vector is one row. rescale: true is one factor a tensor, as in mergekit, which is biased toward large changes; inverse_density divides each element by its own probability, as published. A row of one element is kept with the density."

  static func density(_ meaning: String = "Share of the change that is kept.") -> ParameterCard {
    ParameterCard("density", .number(0...1), scope: .nonBase, default: .number(1), meaning)
  }

  static func normalize(_ standard: Bool) -> ParameterCard {
    ParameterCard(
      "normalize", .flag, default: .flag(standard),
      "Divide by the sum of the weights: with elected signs, of those that took part (1 where it is 0), else of all, which must not be 0."
    )
  }

  static func rescale(_ standard: Bool) -> ParameterCard {
    ParameterCard(
      "rescale", .flagOrChoice(["l1", "inverse_density"]), default: .flag(standard),
      "true or l1: every sparsified change keeps its sum of magnitudes, mergekit's rule; inverse_density: divided by the probability of being kept, the published rule."
    )
  }

  /// Parameters in mergekit's order.
  static func all(
    normalize normalizes: Bool, rescale rescales: Bool, density meaning: String = "Share of the change that is kept.",
    more: [ParameterCard] = []
  ) -> [ParameterCard] {
    [weight, density(meaning)] + more + [normalize(normalizes), rescale(rescales), lambda, int8Mask]
  }
}
