internal import CKernels
public import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Keeps changes that one model alone made whole, and averages those that several made.
///
/// ```
/// c = number of models with |d_i| > epsilon,   out = b + (1/c) sum of those d_i       (c = 0: b)
/// ```
public struct Ram: MergeMethod {
  public static let card = MethodCard(
    name: "ram", summary: "Keeps changes of one model whole and averages shared ones.", source: "yuan2026ram",
    parameters: [Ram.epsilonCard])
  public static let inputs = MergeInputRule(base: .required, count: 1...Int.max)
  static let epsilonCard = ParameterCard(
    "epsilon", .number(0...Double.greatestFiniteMagnitude), default: .number(1e-5),
    "Changes up to this magnitude count as none.")

  private let epsilon: Float

  public init(_ parameters: MergeParameters) throws(Problem) { epsilon = Float(try parameters.number("epsilon")) }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let factors = [Float](repeating: 1, count: passes.tensor.inputCount - 1)
    try passes.tensor.write { $0.addByOverlap(epsilon: epsilon, uniqueFactors: factors) }
  }
}

/// As ``Ram``, with unique changes enlarged by how much a model shares with others.
///
/// ```
/// λ_i = 1 + r clamp( shared_i / max(unique_i, epsilon), 0, alpha )
/// ```
public struct RamPlus: MergeMethod {
  public static let card = MethodCard(
    name: "ramplus_tl", summary: "RAM with unique changes enlarged by a tensor's overlap.", source: "yuan2026ram",
    parameters: [
      ParameterCard(
        "r", .number(0...Double.greatestFiniteMagnitude), default: .number(0.1), "Strength of the enlargement."),
      ParameterCard(
        "alpha", .number(0...Double.greatestFiniteMagnitude), default: .number(0.2), "Most overlap that counts."),
      Ram.epsilonCard,
    ],
    notes: "Counts are of elements of one tensor, as in mergekit.")
  public static let inputs = MergeInputRule(base: .required, count: 1...Int.max)

  private let strength: Double
  private let most: Double
  private let epsilon: Double

  public init(_ parameters: MergeParameters) throws(Problem) {
    strength = try parameters.number("r")
    most = try parameters.number("alpha")
    epsilon = try parameters.number("epsilon")
  }

  public var passCount: Int { 2 }

  /// Two counts a model and block, and their copy.
  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    32 * inputs * (shape.reduce(1, *) / CanonicalSum.blockLength + 1)
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let models = passes.tensor.inputCount - 1
    let counts = try passes.tensor.sums(2 * models) { block, sums in
      block.subtractBase()
      block.withReadableInputs(from: 1) {
        es_count_overlap($0, Int64(models), Float(epsilon), sums, sums + models, Int64(block.count))
      }
    }
    let factors = (0..<models).map { model in
      let overlap = counts[models + model] / max(counts[model], epsilon)
      return Float(1 + strength * min(most, max(0, overlap)))
    }
    try passes.tensor.write { $0.addByOverlap(epsilon: Float(epsilon), uniqueFactors: factors) }
  }
}

extension Block {
  fileprivate func addByOverlap(epsilon: Float, uniqueFactors: [Float]) {
    subtractBase()
    withReadableInputs(from: 1) {
      es_add_by_overlap(inputs[0], $0, uniqueFactors, Int64(inputs.count - 1), epsilon, output, Int64(count))
    }
  }
}
