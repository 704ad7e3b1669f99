public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics
internal import EspalierReduction

/// The types that lose least within a size, or the least size within a loss: one exact choice for all tensors.
public struct TypeFit: Sendable {
  public enum Target: Sendable, Hashable {
    /// Of the whole file, in bytes.
    case bytes(Int)
    /// Bits a number, over all tensors.
    case bits(Double)
    /// In nats a token.
    case divergence(Double)
  }

  public let formats: [ExactString: WeightFormat]
  public let bytes: Int
  /// The divergence from the model as it is, in nats a token; by variance the share of the weights' variance that is lost.
  public let predicted: Double
  /// How far from the best choice this is at most.
  public let certificate: Certificate

  /// - Throws: `quantize.fit` or `reduction` for a target that cannot be reached, naming what can.
  ///
  /// - Parameter excess: bytes by which a choice for this target was too large.
  public init(_ table: TypeSensitivity, to target: Target, less excess: Int = 0) throws(Problem) {
    let items = table.rows.map { row in
      AllocationItem(
        row.name, choices: row.choices.map { .init(cost: $0.bytes, error: $0.error * row.lossOfError) })
    }
    let allocation: Allocation
    switch target {
    case .bytes(let bytes): allocation = try Self.within(bytes - table.otherBytes - excess, items)
    case .bits(let bits):
      let numbers = Double(table.rows.reduce(table.otherNumbers) { $0 + $1.numbers })
      allocation = try Self.within(Int(bits * numbers / 8) - table.otherBytes - excess, items)
    case .divergence(let limit): allocation = try BudgetAllocation.leastCost(of: items, totalError: limit)
    }
    formats = Dictionary(
      zip(table.rows, allocation.choices).map { (ExactString($0.name), $0.choices[$1].format) },
      uniquingKeysWith: { first, _ in first })
    bytes = allocation.cost + table.otherBytes
    predicted = allocation.error
    certificate = allocation.certificate
  }

  /// Bytes by which a file is beyond a target; 0 or less if it is not.
  func excess(of bytes: Int, bits: Double, over target: Target, numbers: Int) -> Int {
    switch target {
    case .bytes(let limit): bytes - limit
    case .bits(let limit): Int(((bits - limit) * Double(numbers) / 8).rounded(.up))
    case .divergence: 0
    }
  }

  private static func within(_ bytes: Int, _ items: [AllocationItem]) throws(Problem) -> Allocation {
    let least = items.reduce(0) { $0 + ($1.choices.map(\.cost).min() ?? 0) }
    guard least <= bytes else {
      throw Problem(
        .quantizationFit,
        "the smallest types take \(ByteCount.text(least)), and the target leaves \(ByteCount.text(max(0, bytes))) for them",
        remedy: "Raise the target, or allow smaller types with --types.")
    }
    return try BudgetAllocation.leastError(of: items, within: bytes)
  }
}
