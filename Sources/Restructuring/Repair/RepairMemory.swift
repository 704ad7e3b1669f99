internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks

/// Bytes that least squares hold at once. They are those of matrices of float64 with n inputs and m outputs, counted in the
/// code that holds them.
enum RepairMemory {
  private static let number = MemoryLayout<Double>.stride

  /// Of ``ColumnElimination`` for all readers of a group, while the last is prepared or a head is tried.
  static func eliminating(_ readers: [UnitGroup.Member]) -> Int {
    let sizes = readers.map(size)
    let kept = sizes.reduce(0) { $0 + $1.inputs * ($1.inputs + $1.outputs) }
    return number * (kept + (sizes.map { $0.inputs * (4 * $0.inputs + 2 * $0.outputs) }.max() ?? 0))
  }

  /// Of one solution of ``LeastSquaresRepair`` or ``SequentialRepair``, the largest.
  static func solving(_ readers: [UnitGroup.Member]) -> Int {
    number * (readers.map(size).map { 6 * $0.inputs * ($0.inputs + $0.outputs) }.max() ?? 0)
  }

  /// Of what ``SequentialRepair`` runs: two networks, block by block, and the rows that reach one map in both, as they are
  /// gathered and in float64.
  static func running(_ readers: [UnitGroup.Member], _ network: Network, lengths: [Int]) throws(Problem) -> Int {
    let tokens = lengths.reduce(0, +)
    let widest = readers.map { size($0).inputs }.max() ?? 0
    let block = try network.blocks().map(\.weightBytes).max() ?? 0
    // Arrays that grow take up to twice what they hold.
    let row = 2 * (2 * MemoryLayout<Float>.stride + number) * widest
    return tokens * (row + 2 * network.carriedBytesPerToken)
      + 2 * (block + network.groupBytes(longest: lengths.max() ?? 0))
  }

  private static func size(_ reader: UnitGroup.Member) -> (inputs: Int, outputs: Int) {
    let inputs = reader.stored.shape[reader.dimension]
    return (inputs, reader.stored.elementCount / max(1, inputs))
  }
}

extension LeastSquaresRepair {
  /// Bytes that a repair of any map of a model holds at once.
  public static func bytes(for model: any StructuralModel) -> Int {
    RepairMemory.solving(
      UnitGroup.all(of: model.description, in: model.checkpoint).flatMap(\.readers).filter {
        $0.stored.shape.count == 2
      })
  }
}
